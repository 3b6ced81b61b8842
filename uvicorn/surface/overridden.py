"""Warns once, when the settings are loaded, of methods and functions that a program replaces and that are never called.

Each class of ours lists such methods (`never_called`): uvicorn 0.54 has them on the class of that name, as steps of
something that is implemented differently here. The modules of `uvicorn.protocols` have such functions (`FUNCTIONS`),
for programs that call them.

Owns: the warning. Must not: import a class. Fails by: nothing.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

FUNCTIONS = ("get_client_addr", "get_local_addr", "get_path_with_query_string", "get_remote_addr", "is_ssl")
MODULES = (
    "uvicorn.protocols.utils",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvicorn.protocols.websockets.wsproto_impl",
)
"""The modules with such functions. A walk through `sys.modules` would copy 300 KB into each worker."""

_told: WeakSet[type[Any]] = WeakSet()
_told_functions: set[str] = set()


def is_ours(made: Any, home: str = "uvicorn") -> bool:
    """Whether a class or function is the original of the module `home` (or one below it), and not wrapped."""
    module = getattr(made, "__module__", None) or ""
    return f"{module}.".startswith(f"{home}.") and not hasattr(made, "__wrapped__")


def uncalled(made: type[Any]) -> Iterator[tuple[type[Any], str]]:
    """The classes among `made` and its bases that are not ours, and their methods."""
    names = sorted(getattr(made, "never_called", ()))
    for base in made.__mro__:
        if base.__module__.partition(".")[0] != "uvicorn":
            yield from ((base, name) for name in names if name in vars(base))


def warn_of_uncalled(made: Any) -> None:
    """Warn of each, once for a class."""
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


def warn_of_functions() -> None:
    """Warn once of each function that was replaced in one of the modules."""
    for module in MODULES:
        names = vars(sys.modules[module]) if module in sys.modules else {}
        for name in FUNCTIONS:
            full = f"{module}.{name}"
            if full not in _told_functions and not is_ours(names.get(name, is_ours)):
                _told_functions.add(full)
                logging.getLogger("uvicorn.error").warning(
                    "%s was replaced, and the server does not call it. What the access log shows is changed by a filter"
                    " of the logger uvicorn.access, or by --access-log-format.",
                    full,
                )
