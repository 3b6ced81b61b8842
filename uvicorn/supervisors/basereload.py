"""A door: `BaseReload`, a loop for programs that reload in their own way."""

from __future__ import annotations

from uvicorn._subprocess import get_subprocess
from uvicorn.config import Config, logger
from uvicorn.launch.reloading import BaseReload, _display_path
from uvicorn.worker.signals import HANDLED_SIGNALS

__all__ = ["HANDLED_SIGNALS", "BaseReload", "Config", "_display_path", "get_subprocess", "logger"]
