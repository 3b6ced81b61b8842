"""A door: the server is made in `uvicorn.worker.server`."""

from __future__ import annotations

from uvicorn.config import STARTUP_FAILURE, Config, logger
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.loop.kinds import asyncio_run
from uvicorn.worker.server import Server
from uvicorn.worker.signals import HANDLED_SIGNALS

__all__ = ["HANDLED_SIGNALS", "STARTUP_FAILURE", "Config", "Server", "ServerState", "asyncio_run", "logger"]
