"""Names for what ASGI passes around (ASGI specification 3.0; HTTP and WebSocket message format 2.5).

`Scope` and `Message` are mappings, not exact shapes: applications build and mutate them, and extensions add to them.
The exact shapes, for annotations in applications, are in `_shapes` and imported when one is asked for: nobody else
needs to wait for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from uvicorn._shapes import (
        ASGIReceiveEvent as ASGIReceiveEvent,
    )
    from uvicorn._shapes import (
        ASGISendEvent as ASGISendEvent,
    )
    from uvicorn._shapes import (
        ASGIVersions as ASGIVersions,
    )
    from uvicorn._shapes import (
        HTTPDisconnectEvent as HTTPDisconnectEvent,
    )
    from uvicorn._shapes import (
        HTTPRequestEvent as HTTPRequestEvent,
    )
    from uvicorn._shapes import (
        HTTPResponseBodyEvent as HTTPResponseBodyEvent,
    )
    from uvicorn._shapes import (
        HTTPResponseDebugEvent as HTTPResponseDebugEvent,
    )
    from uvicorn._shapes import (
        HTTPResponseEarlyHintEvent as HTTPResponseEarlyHintEvent,
    )
    from uvicorn._shapes import (
        HTTPResponseStartEvent as HTTPResponseStartEvent,
    )
    from uvicorn._shapes import (
        HTTPResponseTrailersEvent as HTTPResponseTrailersEvent,
    )
    from uvicorn._shapes import (
        HTTPScope as HTTPScope,
    )
    from uvicorn._shapes import (
        HTTPServerPushEvent as HTTPServerPushEvent,
    )
    from uvicorn._shapes import (
        LifespanScope as LifespanScope,
    )
    from uvicorn._shapes import (
        LifespanShutdownCompleteEvent as LifespanShutdownCompleteEvent,
    )
    from uvicorn._shapes import (
        LifespanShutdownEvent as LifespanShutdownEvent,
    )
    from uvicorn._shapes import (
        LifespanShutdownFailedEvent as LifespanShutdownFailedEvent,
    )
    from uvicorn._shapes import (
        LifespanStartupCompleteEvent as LifespanStartupCompleteEvent,
    )
    from uvicorn._shapes import (
        LifespanStartupEvent as LifespanStartupEvent,
    )
    from uvicorn._shapes import (
        LifespanStartupFailedEvent as LifespanStartupFailedEvent,
    )
    from uvicorn._shapes import (
        WebSocketAcceptEvent as WebSocketAcceptEvent,
    )
    from uvicorn._shapes import (
        WebSocketCloseEvent as WebSocketCloseEvent,
    )
    from uvicorn._shapes import (
        WebSocketConnectEvent as WebSocketConnectEvent,
    )
    from uvicorn._shapes import (
        WebSocketDisconnectEvent as WebSocketDisconnectEvent,
    )
    from uvicorn._shapes import (
        WebSocketEvent as WebSocketEvent,
    )
    from uvicorn._shapes import (
        WebSocketReceiveEvent as WebSocketReceiveEvent,
    )
    from uvicorn._shapes import (
        WebSocketResponseBodyEvent as WebSocketResponseBodyEvent,
    )
    from uvicorn._shapes import (
        WebSocketResponseStartEvent as WebSocketResponseStartEvent,
    )
    from uvicorn._shapes import (
        WebSocketScope as WebSocketScope,
    )
    from uvicorn._shapes import (
        WebSocketSendEvent as WebSocketSendEvent,
    )
    from uvicorn._shapes import (
        WWWScope as WWWScope,
    )

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
    from uvicorn import _shapes

    if name not in _shapes.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_shapes, name)
