"""Methods that a program's class replaces, and that nobody calls here: said once, when the class is loaded.

A class of ours names them (`never_called`): methods that uvicorn 0.54 has on the class of that name, and that are steps
of a work which is done otherwise here. Owns: the warning. Must not: import a class. Fails by: nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

_told: WeakSet[type[Any]] = WeakSet()


def uncalled(made: type[Any]) -> Iterator[tuple[type[Any], str]]:
    """The classes of others among `made` and its bases, and the methods of theirs."""
    names = sorted(getattr(made, "never_called", ()))
    for base in made.__mro__:
        if base.__module__.partition(".")[0] != "uvicorn":
            yield from ((base, name) for name in names if name in vars(base))


def warn_of_uncalled(made: Any) -> None:
    """A warning for each, once for a class."""
    if not isinstance(made, type) or made in _told:
        return
    _told.add(made)
    for base, name in uncalled(made):
        logging.getLogger("uvicorn.error").warning(
            "%s.%s.%s is never called: what it does in uvicorn 0.54 is done otherwise here (docs/moving.md).",
            base.__module__,
            base.__qualname__,
            name,
        )
