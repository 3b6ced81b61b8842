"""Door: `StatReload`."""

from uvicorn.reloading import StatReload as StatReload

__all__ = ["StatReload"]
