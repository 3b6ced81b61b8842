"""A door: the session over the package websockets."""

from __future__ import annotations

from uvicorn.worker.websockets.websockets_session import WebsocketsSession as WebSocketsSansIOProtocol

__all__ = ["WebSocketsSansIOProtocol"]
