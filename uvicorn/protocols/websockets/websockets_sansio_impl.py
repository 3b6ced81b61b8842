"""A door: the session over the package websockets."""

from __future__ import annotations

from uvicorn.config import Config
from uvicorn.errors import ClientDisconnected
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.net.addresses import get_client_addr, get_local_addr, get_path_with_query_string, get_remote_addr, is_ssl
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.websockets.websockets_session import WebSocketsSansIOProtocol

__all__ = [
    "TRACE_LOG_LEVEL",
    "ClientDisconnected",
    "Config",
    "ServerState",
    "WebSocketsSansIOProtocol",
    "get_client_addr",
    "get_local_addr",
    "get_path_with_query_string",
    "get_remote_addr",
    "is_ssl",
]
