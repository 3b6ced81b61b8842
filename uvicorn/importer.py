"""`"module:attribute"` → object.

Owns: the two errors of such a string, kept apart from an error inside the module it names; and whether such an import
is running, to recognize a module that starts a server when it is imported. Must not: touch `sys.path` (`Config` does)
or log. Fails by: `ImportFromStringError`, whose `__cause__` is the
application's own exception when there was one.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn.errors import StartupError
from uvicorn.surface import foreign
from uvicorn.surface.phrases import nearest

_thread = threading.local()


def importing() -> bool:
    """Whether this thread is inside `importing_for_us`: we are called by a module that is being imported."""
    return getattr(_thread, "depth", 0) > 0


@contextmanager
def importing_for_us() -> Iterator[None]:
    """Marks an import of the application: `importing` is true in this thread while it lasts."""
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        yield
    finally:
        _thread.depth -= 1


class ImportFromStringError(StartupError, ImportError):
    """The string does not lead to an object. It is an ImportError, so callers may catch that."""


def import_from_string(import_str: Any) -> Any:
    """Return the object that `"<module>:<attribute>"` names; anything but a string is returned unchanged.

    `<attribute>` may be dotted. Raises ImportFromStringError when the string has another form, when the module is not
    found, when it raises while being imported, or when it has no such attribute.
    """
    if not isinstance(import_str, str):
        return import_str
    module_name, _, attribute = import_str.partition(":")
    advice = foreign.application(import_str)
    if not module_name or not attribute or (advice and _is_a_path(module_name)):
        sentence = f'Import string "{import_str}" must be in format "<module>:<attribute>".'
        raise ImportFromStringError(f"{sentence} {advice}".rstrip())
    try:
        with importing_for_us():
            value = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not (module_name + ".").startswith(exc.name + "."):
            raise ImportFromStringError(f'Could not import module "{module_name}".') from exc
        raise ImportFromStringError(
            f'Could not import module "{module_name}": there is no module "{exc.name}" on the path{_like(exc.name)}'
        ) from None
    except Exception as exc:
        raise ImportFromStringError(f'Could not import module "{module_name}".') from exc
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            sentence = f'Attribute "{attribute}" not found in module "{module_name}".'
            advice = advice or _nearest(name, value)
            raise ImportFromStringError(f"{sentence} {advice}".rstrip()) from None
    return value


def _is_a_path(module_name: str) -> bool:
    """Whether it cannot be a module name, or is an existing file; a package may have a module `py`."""
    return "/" in module_name or "\\" in module_name or os.path.exists(module_name)


def _like(missing: str) -> str:
    """The end of a message: a module beside the missing one with a similar name."""
    import pkgutil

    package, _, name = missing.rpartition(".")
    places = getattr(sys.modules.get(package), "__path__", None) if package else sys.path[:1]
    return nearest(name, [found.name for found in pkgutil.iter_modules(places or [])]) or "."


_USUAL = ("app", "application", "api", "asgi", "wsgi", "create_app")


def _nearest(name: str, holder: Any) -> str:
    """The end of a message: an attribute with a similar name, or one that applications usually have."""
    known = [one for one in dir(holder) if not one.startswith("_")]
    guess = nearest(name, known) or next((f"; did you mean {one}?" for one in _USUAL if one in known), "")
    return guess.replace("; d", "D", 1)
