"""A door: what other programs import from here lives in `uvicorn.worker`."""

from __future__ import annotations

from uvicorn.worker.server import Server
from uvicorn.worker.signals import HANDLED_SIGNALS
from uvicorn.worker.state import ServerState

__all__ = ["HANDLED_SIGNALS", "Server", "ServerState"]
