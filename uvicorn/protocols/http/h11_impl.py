"""A door: the connection whose heads h11 parses."""

from __future__ import annotations

from uvicorn.config import Config
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.net.addresses import get_client_addr, get_local_addr, get_path_with_query_string, get_remote_addr, is_ssl
from uvicorn.worker.familiar.flow import CLOSE_HEADER, HIGH_WATER_LIMIT, FlowControl, service_unavailable
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.cycles import H11Cycle as RequestResponseCycle
from uvicorn.worker.http1.h11_connection import H11Protocol

__all__ = [
    "CLOSE_HEADER",
    "HIGH_WATER_LIMIT",
    "TRACE_LOG_LEVEL",
    "Config",
    "FlowControl",
    "H11Protocol",
    "RequestResponseCycle",
    "ServerState",
    "get_client_addr",
    "get_local_addr",
    "get_path_with_query_string",
    "get_remote_addr",
    "is_ssl",
    "service_unavailable",
]
