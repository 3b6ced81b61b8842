"""What a program replaces and nobody calls here: said once, when the settings are loaded.

A class of ours names its methods of that kind (`never_called`): methods that uvicorn 0.54 has on the class of that
name, and that are steps of a work which is done otherwise here. The modules of `uvicorn.protocols` have functions of
that kind (`FUNCTIONS`): they are there for who calls them. Owns: the warning. Must not: import a class. Fails by:
nothing.
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
"""Which have them. They are named here because going through `sys.modules` copies 300 KB into each worker."""

_told: WeakSet[type[Any]] = WeakSet()
_told_functions: set[str] = set()


def is_ours(made: Any, home: str = "uvicorn") -> bool:
    """Whether a class or function is as the module `home` (or one below it) has it, and nobody has wrapped it."""
    module = getattr(made, "__module__", None) or ""
    return f"{module}.".startswith(f"{home}.") and not hasattr(made, "__wrapped__")


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


def warn_of_functions() -> None:
    """A warning for each that was replaced in one of the modules, once."""
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
