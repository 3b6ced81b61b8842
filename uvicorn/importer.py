"""`"module:attribute"` → object.

Owns: the two ways such a string can be wrong, told apart from a fault inside the module it names; and knowing that an
import is under way, for what a module does although it is only imported. Must not: touch
`sys.path` (that is `Config`'s business) or log. Fails by: `ImportFromStringError`, whose `__cause__` is the
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
    """Whether this thread is inside `importing_for_us`: our caller is a module that somebody imports."""
    return getattr(_thread, "depth", 0) > 0


@contextmanager
def importing_for_us() -> Iterator[None]:
    """Inside, what modules of the application do although they are only imported can be told."""
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        yield
    finally:
        _thread.depth -= 1


class ImportFromStringError(StartupError, ImportError):
    """The string does not lead to an object. Callers that know Python's ImportError catch it, too."""


def import_from_string(import_str: Any) -> Any:
    """Return what `"<module>:<attribute>"` names; anything that is not a string is returned as it is.

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
    """Whether it cannot be a module, or is a file that stands there; a package may have a module `py`."""
    return "/" in module_name or "\\" in module_name or os.path.exists(module_name)


def _like(missing: str) -> str:
    """The end of a sentence: with the module beside the missing one that has nearly its name."""
    import pkgutil

    package, _, name = missing.rpartition(".")
    places = getattr(sys.modules.get(package), "__path__", None) if package else sys.path[:1]
    return nearest(name, [found.name for found in pkgutil.iter_modules(places or [])]) or "."


_USUAL = ("app", "application", "api", "asgi", "wsgi", "create_app")


def _nearest(name: str, holder: Any) -> str:
    """What was meant, perhaps: a name like it, or one that applications usually have."""
    known = [one for one in dir(holder) if not one.startswith("_")]
    guess = nearest(name, known) or next((f"; did you mean {one}?" for one in _USUAL if one in known), "")
    return guess.replace("; d", "D", 1)
