"""A door: the reloader that looks at every file."""

from __future__ import annotations

from uvicorn.config import Config, logger
from uvicorn.launch.reloading import BaseReload, StatReload

__all__ = ["BaseReload", "Config", "StatReload", "logger"]
