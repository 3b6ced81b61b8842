"""One request in the form in which programs change how it is served: `RequestResponseCycle`.

What serves a request is a `Stream`. Programs know a class of that name in each of the modules for a parser, and replace
its methods or the class itself. Both classes here are streams, and stand for all streams where `isinstance` asks. One
is made for a request only once a program has changed it, or has put a class of its own, derived from it, in its place;
connections look when they begin, and requests pay nothing. Then the application is called by `run_asgi`.

Owns: that look, and the arguments that such a class is made with. Must not: serve anything itself. Fails by: one
warning for a class that is derived from neither, and the request is served as ever.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.worker.access.log import AccessLog
from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http.exchange import Outlet, Stream
from uvicorn.worker.http1.request_head import RequestHead

_NAME = "RequestResponseCycle"
_log = logging.getLogger("uvicorn.error")
_told: set[Any] = set()


class _Noticing(type):
    """Remembers that somebody has set an attribute of the class."""

    changed = False

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name != "changed":
            cls.changed = True

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or (cls in _OURS and isinstance(instance, Stream))


class _Cycle(Stream, metaclass=_Noticing):
    """Made in two steps: as a stream, then with the arguments that programs expect, which say nothing new to it.

    Those that have no counterpart here are None.
    """

    arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(self, scope: Any, **known: Any) -> None:
        if not hasattr(self, "phase"):
            raise TypeError(f"A {_NAME} is made by its connection, for a request: it cannot be made by hand.")


class H11Cycle(_Cycle):
    """`uvicorn.protocols.http.h11_impl.RequestResponseCycle`"""

    arguments = (
        "conn",
        "transport",
        "flow",
        "logger",
        "access_logger",
        "access_log",
        "default_headers",
        "message_event",
        "on_response",
    )


class HttptoolsCycle(_Cycle):
    """`uvicorn.protocols.http.httptools_impl.RequestResponseCycle`"""

    arguments = (
        "transport",
        "flow",
        "logger",
        "access_logger",
        "access_log",
        "default_headers",
        "message_event",
        "expect_100_continue",
        "keep_alive",
        "on_response",
    )


_OURS = (H11Cycle, HttptoolsCycle)


def replaced(door: str) -> type[_Cycle] | None:
    """The class that a program has changed, or put in the module `door`; None for neither, as nearly always."""
    found = getattr(sys.modules.get(door), _NAME, None)
    if found is None or (found in _OURS and not found.changed):
        return None
    if isinstance(found, type) and issubclass(found, _Cycle):
        return found
    if found not in _told:
        _told.add(found)
        _log.warning("%s.%s was replaced by %r, which is not derived from it, and is not used.", door, _NAME, found)
    return None


def maker(made: type[_Cycle], access: AccessLog) -> Callable[..., Stream]:
    """What makes the stream of a request by such a class, as a connection calls it."""
    kind: Any = made
    followed: Any = None
    if access.new_stream is not None:
        from uvicorn.worker.access import followed

        kind = type(made.__name__, (followed.FollowedStream, made), {})

    def new_stream(
        outlet: Outlet, request: RequestHead, scope: dict[str, Any], default: DefaultFields, body_complete: bool
    ) -> Stream:
        stream: Any = kind.__new__(kind)
        Stream.__init__(stream, outlet, request, scope, default, body_complete)
        if followed is not None:
            stream._entry = followed.Entry(access, request, scope, outlet.trusted)
        made.__init__(stream, scope=scope, **{name: getattr(stream, name, None) for name in made.arguments})
        made_stream: Stream = stream
        return made_stream

    return new_stream


def by_run_asgi(app: ASGI3Application) -> ASGI3Application:
    """`app` as it is called where a program has a word in how that is done."""

    async def call(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        cycle: Any = receive.__self__  # type: ignore[attr-defined]  # a stream's
        await cycle.run_asgi(app)

    return call
