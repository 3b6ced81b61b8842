"""A door: the reloaders and the master as programs call them."""

from __future__ import annotations

from uvicorn._later import submodules
from uvicorn.embedding import Multiprocess
from uvicorn.reloading import BaseReload, ChangeReload, StatReload, WatchFilesReload

__all__ = ["BaseReload", "ChangeReload", "Multiprocess", "StatReload", "WatchFilesReload"]

__getattr__, __dir__ = submodules(__name__)
