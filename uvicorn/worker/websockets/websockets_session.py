"""A session over the package websockets: the default where it is installed."""

from __future__ import annotations

from uvicorn.worker.websockets import codec_websockets
from uvicorn.worker.websockets.session import Session


class WebSocketsSansIOProtocol(Session):
    __slots__ = ()
    codec_class = codec_websockets.Codec
    library = "websockets"
