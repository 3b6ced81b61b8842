"""Whether an application has ended because its client left: then nobody is at fault.

Asked only of a request whose client is gone, or was told to be. It sees through what frameworks make of it: an explicit
cause, a group that holds nothing else, and the classes in `WRAPPERS`. What a disconnect was raised from inside of (its
context) was being handled: a real fault there stays one, as when a framework wants to answer 500 and nobody is left.

Must not: know a connection. Fails by: nothing.
"""

from __future__ import annotations

import asyncio

WRAPPERS = frozenset(
    (
        "ClientDisconnect",  # starlette.requests: of `send`'s OSError, or of http.disconnect
        "WebSocketDisconnect",  # starlette.websockets, litestar.exceptions
        "RequestAborted",  # django.core.exceptions
        "UnreadablePostError",  # django.http: of an OSError while the body was read
        "ClientDisconnected",  # ours; werkzeug.exceptions: an upload that was cut short
    )
)
"""Names of classes by which frameworks say that the client has left."""

_LITESTAR = "client disconnected prematurely"
"""What Litestar says, with the class that it has for every internal error."""

_HARMLESS = (asyncio.CancelledError, GeneratorExit, StopIteration, StopAsyncIteration)
_HANDLED = frozenset(("RequestValidationError", "Http404", "PermissionDenied"))


def is_departure(exc: BaseException) -> bool:
    """Whether the departure of the client is all that `exc` says."""
    return _is_departure(exc, set())


def _is_departure(exc: BaseException, seen: set[int]) -> bool:
    if id(exc) in seen:
        return False
    seen.add(id(exc))
    members = getattr(exc, "exceptions", None)
    if isinstance(members, tuple) and members:  # an ExceptionGroup, or the package's of that name
        # One that was taken out of its group and raised again has the group for its context.
        return all(id(member) in seen or _is_departure(member, seen) for member in members)
    if exc.__cause__ is not None:
        return _is_departure(exc.__cause__, seen)
    if not _says_so(exc):
        return False
    context = None if exc.__suppress_context__ else exc.__context__
    return context is None or _is_harmless(context, seen)


def _says_so(exc: BaseException) -> bool:
    if any(kind.__name__ in WRAPPERS for kind in type(exc).__mro__):
        return True
    return type(exc).__name__ == "InternalServerException" and str(exc).endswith(_LITESTAR)


def _is_harmless(context: BaseException, seen: set[int]) -> bool:
    """Whether what was being handled is a way of ending, of a framework's inner workings, or an answer below 500."""
    answer = getattr(context, "status_code", getattr(context, "code", None))
    answered = (isinstance(answer, int) and 400 <= answer < 500) or type(context).__name__ in _HANDLED
    if answered or isinstance(context, _HARMLESS) or type(context).__module__.partition(".")[0] == "anyio":
        return True
    return _is_departure(context, seen)
