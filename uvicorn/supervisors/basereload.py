"""Door: `BaseReload`."""

from uvicorn.reloading import BaseReload as BaseReload

__all__ = ["BaseReload"]
