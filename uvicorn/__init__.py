"""Uvicorn: an ASGI server with its own supervising master.

Public names: `run`, `main`, `Config`, `Server`, and the modules (`uvicorn.config`, …). They are imported when first
asked for, so that `import uvicorn` is cheap and the master never loads what only a worker needs.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.main import main, run
    from uvicorn.worker.server import Server

__version__ = "0.100.0"
__all__ = ["Config", "Server", "main", "run"]

_HOMES = {"Config": "uvicorn.config", "Server": "uvicorn.worker.server", "run": "uvicorn.main"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        from uvicorn.surface.later import submodule

        return submodule(__name__, name)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from uvicorn.surface.later import names_in

    return names_in(__name__)


class _Package(types.ModuleType):
    """This package. Its attribute `main` is the command, although a module of that name is in it.

    An import of that module makes the import system set the attribute to it, which is ignored here.
    """

    @property
    def main(self) -> Any:
        if "_main" not in self.__dict__:
            self.__dict__["_main"] = importlib.import_module("uvicorn.main").main
        return self.__dict__["_main"]

    @main.setter
    def main(self, value: Any) -> None:
        if not isinstance(value, types.ModuleType):
            self.__dict__["_main"] = value

    @main.deleter
    def main(self) -> None:
        self.__dict__.pop("_main", None)


sys.modules[__name__].__class__ = _Package
