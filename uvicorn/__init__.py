"""Uvicorn: an ASGI server with its own supervising master.

Public names: `run`, `main`, `Config`, `Server`. They are imported when first asked for, so that `import uvicorn` is
cheap and the master never loads what only a worker needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.main import main, run
    from uvicorn.worker.server import Server

__version__ = "0.100.0"
__all__ = ["Config", "Server", "main", "run"]

_HOMES = {
    "Config": "uvicorn.config",
    "Server": "uvicorn.worker.server",
    "main": "uvicorn.main",
    "run": "uvicorn.main",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
