"""A door: the reloader over the package watchfiles."""

from __future__ import annotations

from uvicorn.config import Config
from uvicorn.launch.reloading import BaseReload, FileFilter, WatchFilesReload

__all__ = ["BaseReload", "Config", "FileFilter", "WatchFilesReload"]
