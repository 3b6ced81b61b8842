"""A door: the reloaders and the master as programs call them."""

from __future__ import annotations

from uvicorn.launch.embedding import Multiprocess
from uvicorn.launch.reloading import BaseReload, ChangeReload, StatReload, WatchFilesReload
from uvicorn.surface.later import submodules

__all__ = ["BaseReload", "ChangeReload", "Multiprocess", "StatReload", "WatchFilesReload"]

__getattr__, __dir__ = submodules(__name__)
