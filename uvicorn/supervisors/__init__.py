"""Door: the reloaders that programs import from here."""

from uvicorn.reloading import BaseReload as BaseReload
from uvicorn.reloading import ChangeReload as ChangeReload
from uvicorn.reloading import StatReload as StatReload
from uvicorn.reloading import WatchFilesReload as WatchFilesReload

__all__ = ["BaseReload", "ChangeReload", "StatReload", "WatchFilesReload"]
