"""A door: the master as programs call it, and a process for those that supervise by themselves."""

from __future__ import annotations

from uvicorn._subprocess import get_subprocess
from uvicorn.config import STARTUP_FAILURE, Config, logger
from uvicorn.launch.embedding import Multiprocess
from uvicorn.launch.spawned import Process
from uvicorn.worker.server import Server

__all__ = ["STARTUP_FAILURE", "Config", "Multiprocess", "Process", "Server", "get_subprocess", "logger"]
