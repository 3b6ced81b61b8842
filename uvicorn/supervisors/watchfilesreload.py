"""Door: `WatchFilesReload`."""

from uvicorn.reloading import WatchFilesReload as WatchFilesReload

__all__ = ["WatchFilesReload"]
