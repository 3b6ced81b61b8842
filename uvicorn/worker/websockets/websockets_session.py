"""A session over the package websockets."""

from __future__ import annotations

from uvicorn.worker.websockets import codec_websockets
from uvicorn.worker.websockets.session import Session


class WebsocketsSession(Session):
    codec = codec_websockets
