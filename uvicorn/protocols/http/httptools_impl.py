"""A door: the connection whose heads httptools parses."""

from __future__ import annotations

from uvicorn.config import Config
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.net.addresses import get_client_addr, get_local_addr, get_path_with_query_string, get_remote_addr, is_ssl
from uvicorn.worker.familiar.flow import CLOSE_HEADER, HIGH_WATER_LIMIT, FlowControl, service_unavailable
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.cycles import HttptoolsCycle as RequestResponseCycle
from uvicorn.worker.http1.httptools_connection import HttpToolsProtocol

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
