"""A session over the package wsproto."""

from __future__ import annotations

from uvicorn.worker.websockets import codec_wsproto
from uvicorn.worker.websockets.protocol import SessionProtocol


class WSProtocol(SessionProtocol):
    __slots__ = ()
    codec_class = codec_wsproto.Codec
    library = "wsproto"
