"""A door: the ends of a connection, and what `send` raises when the peer has left."""

from __future__ import annotations

from uvicorn.errors import ClientDisconnected
from uvicorn.net.addresses import get_client_addr, get_local_addr, get_path_with_query_string, get_remote_addr, is_ssl

__all__ = [
    "ClientDisconnected",
    "get_client_addr",
    "get_local_addr",
    "get_path_with_query_string",
    "get_remote_addr",
    "is_ssl",
]
