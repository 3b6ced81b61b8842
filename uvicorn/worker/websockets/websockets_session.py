"""A session over the package websockets: the default where it is installed."""

from __future__ import annotations

from uvicorn.worker.websockets import codec_websockets
from uvicorn.worker.websockets.protocol import SessionProtocol


class WebSocketsSansIOProtocol(SessionProtocol):
    __slots__ = ()
    codec_class = codec_websockets.Codec
    library = "websockets"
