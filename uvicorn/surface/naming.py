"""Objects that are passed to another process by name, and which modules are the application's.

A class, a function or an object of a module travels to another interpreter as "module:attribute", and is looked up
there. An application's modules are those that a developer edits: everything that is neither the interpreter's, nor
ours, nor installed (in a folder `site-packages` or `dist-packages`), and the package that the application is in,
wherever that is installed.

Owns: both judgements, and forgetting such modules. Must not: import anything. Fails by: `Unnamed`, for an object that
is not an attribute of a module.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from types import MethodType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_STANDARD = os.path.dirname(os.__file__) + os.sep
_PROGRAM = ("__main__", "__mp_main__")
_INSTALLED = ("site-packages", "dist-packages")


class Unnamed(Exception):
    """The object is not an attribute of a module."""

    def __init__(self, value: object) -> None:
        kind = type(value).__name__
        name = getattr(value, "__qualname__", "")
        super().__init__(f"the {kind} {name}" if name else f"an object of the class {kind}")


def plain(value: Any, name: Callable[[Any], Any]) -> Any:
    """`value` as built-in types, for `marshal`; `name` returns a replacement for any other object, and may raise."""
    if value is None or isinstance(value, (bool, bytes)):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind.__str__(value) if kind is str else kind(value)
    if isinstance(value, dict):
        return {plain(key, name): plain(one, name) for key, one in value.items()}
    for many in (list, tuple, set, frozenset):
        if isinstance(value, many):
            return many(plain(one, name) for one in value)
    return os.fspath(value) if isinstance(value, os.PathLike) else name(value)


def name_of(value: Any) -> str:
    """The "module:attribute" by which another interpreter finds `value`. Raises Unnamed."""
    own, qualified = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(own, str) and isinstance(qualified, str) and own in sys.modules:
        found: Any = sys.modules[own]
        for part in qualified.split("."):
            found = getattr(found, part, None)
        if found is value or (isinstance(value, MethodType) and found == value):
            return f"{_importable(own, value)}:{qualified}"
    for module in _places():
        for attribute, one in list(vars(module).items()):
            if one is value:
                return f"{_importable(module.__name__, value)}:{attribute}"
    raise Unnamed(value)


def _places() -> Iterable[ModuleType]:
    """Where an object without a name of its own may be an attribute: the application's modules, and the standard
    streams'."""
    yield sys
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name == module.__name__ and not is_installed(name):
            yield module


def _importable(module: str, value: Any) -> str:
    """The name under which another interpreter imports the module that is `__main__` here."""
    if module != "__main__":
        return module
    main = sys.modules[module]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    path = getattr(main, "__file__", None) or ""
    stem = os.path.splitext(os.path.basename(path))[0]
    there = _find_spec(stem) if stem.isidentifier() and stem not in sys.modules else None
    origin = there.origin if there is not None else getattr(sys.modules.get(stem), "__file__", None)
    if not origin or os.path.realpath(origin) != os.path.realpath(path):
        raise Unnamed(value)
    return stem


def is_applications(module: str, app: str) -> bool:
    """Whether `module` is one that the developer of `app` ("module:attribute") edits. True if it is not found."""
    return _top(module) == _top(app.partition(":")[0]) or not is_installed(module)


def _find_spec(module: str) -> ModuleSpec | None:
    from importlib.util import find_spec  # not when this module is imported: naming `Config` does not need it

    return find_spec(module)


def is_installed(module: str) -> bool:
    """Whether `module` is the interpreter's, ours, or in an installed package, judged by its top-level package."""
    top = _top(module)
    if top in sys.builtin_module_names or top == "uvicorn":
        return True
    try:
        spec = _find_spec(top)
    except (ImportError, ValueError):  # the second: a module that was made by hand, or the program itself
        return False
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or [])
    return not places or all(_is_installed_path(path or "") for path in places)


def _is_installed_path(path: str) -> bool:
    parts = os.path.normpath(path).split(os.sep)
    return path.startswith(_STANDARD) or any(name in parts for name in _INSTALLED)


def _top(module: str) -> str:
    return module.partition(".")[0]


def forget(app: str) -> None:
    """Remove the application's modules, so that they are imported again. Extension modules and the program itself
    stay."""
    for name, module in list(sys.modules.items()):
        source = getattr(module, "__file__", None) or ""
        if name not in _PROGRAM and source.endswith(".py") and is_applications(name, app) and _top(name) != "uvicorn":
            del sys.modules[name]
    importlib.invalidate_caches()
