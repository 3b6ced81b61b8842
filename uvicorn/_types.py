"""Names for what ASGI passes around (ASGI specification 3.0; HTTP and WebSocket message format 2.5).

`Scope` and `Message` are mappings, not exact shapes: applications build and mutate them, and extensions add to them.
The exact shapes, for annotations in applications, are in `surface.shapes` and are imported when one is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from uvicorn.surface.shapes import *  # noqa: F403

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

ASGIReceiveCallable = Callable[[], Awaitable[Message]]
ASGISendCallable = Callable[[Message], Awaitable[None]]

ASGI3Application = Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]
ASGI2Application = Callable[[Scope], Callable[[ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]]
ASGIApplication = ASGI2Application | ASGI3Application


class ASGI2Protocol(Protocol):
    """A class whose instances are the second half of an ASGI 2 application."""

    def __init__(self, scope: Scope) -> None: ...

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None: ...


SSLContextFactory = Callable[[Any, Callable[[], Any]], Any]
"""(config, what makes the default context) → an `ssl.SSLContext`; the module ssl is not imported for its name."""

# -- WSGI (PEP 3333) -------------------------------------------------------------------------------------------

Environ = MutableMapping[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, Any]
StartResponse = Callable[[str, Iterable[tuple[str, str]], "ExcInfo | None"], None]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes] | BaseException]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # the import system asks for __path__
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from uvicorn.surface import shapes as _shapes

    if name not in _shapes.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_shapes, name)
