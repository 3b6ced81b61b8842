"""A door: the connection whose heads httptools parses."""

from __future__ import annotations

from uvicorn.addresses import get_client_addr, get_local_addr, get_path_with_query_string, get_remote_addr, is_ssl
from uvicorn.config import Config
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.http.cycle import HttptoolsCycle as RequestResponseCycle
from uvicorn.worker.http.flow import CLOSE_HEADER, HIGH_WATER_LIMIT, FlowControl, service_unavailable
from uvicorn.worker.http.httptools_connection import HttpToolsProtocol
from uvicorn.worker.state import ServerState

__all__ = [
    "CLOSE_HEADER",
    "HIGH_WATER_LIMIT",
    "TRACE_LOG_LEVEL",
    "Config",
    "FlowControl",
    "HttpToolsProtocol",
    "RequestResponseCycle",
    "ServerState",
    "get_client_addr",
    "get_local_addr",
    "get_path_with_query_string",
    "get_remote_addr",
    "is_ssl",
    "service_unavailable",
]
