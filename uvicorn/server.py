"""A door: the server is made in `uvicorn.worker.server`."""

from __future__ import annotations

from uvicorn.config import Config
from uvicorn.worker.server import HANDLED_SIGNALS, Server
from uvicorn.worker.state import ServerState

__all__ = ["HANDLED_SIGNALS", "Config", "Server", "ServerState"]
