"""Imports on first use, so that a program which only imports `uvicorn` does not pay for what it does not use.

Owns: `Later`, which stands for a module; afterwards its name is bound to the module itself. `imported_when_asked`, for
names that are in a module because programs look for them there. And `submodules`, by which `import uvicorn` is enough
to name `uvicorn.protocols.http.h11_impl`; the import system then binds each of the names.
Must not: be used for what every program needs. Fails by: the ImportError, at the first use; `submodules` by an
AttributeError, so that `hasattr` works, whose cause is the ImportError of a missing package.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def imported_when_asked(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """`__getattr__` of `module` for names that are in other modules; `homes` maps each name to its module."""

    def find(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
        setattr(sys.modules[module], name, value)
        return value

    return find


class Later:
    """`asyncio = Later("asyncio", globals())`: stands for the module until one of its attributes is used."""

    def __init__(self, name: str, namespace: dict[str, Any]) -> None:
        self._name = name
        self._namespace = namespace

    def __getattr__(self, attribute: str) -> Any:
        module = self._namespace[self._name] = importlib.import_module(self._name)
        return getattr(module, attribute)


def submodules(package: str) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """`__getattr__, __dir__ = submodules(__name__)`, in a package whose modules can be named without importing them."""

    def find(name: str) -> ModuleType:
        return submodule(package, name)

    def names() -> list[str]:
        return names_in(package)

    return find, names


def submodule(package: str, name: str) -> ModuleType:
    """The module `name` of `package`. Raises AttributeError."""
    full = f"{package}.{name}"
    absent = AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
    if name.startswith("__") or not name.isidentifier():
        raise absent
    try:
        return importlib.import_module(full)
    except ImportError as exc:
        if exc.name == full:
            raise absent from None
        raise AttributeError(f"module {full!r} cannot be imported: {exc}", name=name, obj=absent.obj) from exc


def names_in(package: str) -> list[str]:
    """What `dir` shows of `package`: its `__all__` and its public modules, imported or not."""
    import pkgutil

    module = sys.modules[package]
    own = {name for name in vars(module) if name.startswith("__")}
    modules = {found.name for found in pkgutil.iter_modules(module.__path__) if not found.name.startswith("_")}
    return sorted({*own, *vars(module).get("__all__", ()), *modules})
