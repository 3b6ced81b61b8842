"""Whether an application raised only because its client has disconnected: then it is not at fault.

Asked only for a request whose client is gone, or which was told so. Frameworks wrap such exceptions; what they make of
them is recognized: an explicit cause, a group of nothing else, and the classes in `WRAPPERS`. The context of an
exception was being handled when it was raised: a real fault there stays one, as when a framework tries to answer 500
and finds the client gone.

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
"""Names of exception classes by which frameworks say that the client has disconnected."""

_LITESTAR = "client disconnected prematurely"
"""The message of Litestar, whose class is the same for every internal error."""

_HARMLESS = (asyncio.CancelledError, GeneratorExit, StopIteration, StopAsyncIteration)
_HANDLED = frozenset(("RequestValidationError", "Http404", "PermissionDenied"))


def is_departure(exc: BaseException) -> bool:
    """Whether `exc` says that the client has disconnected, and nothing else."""
    return _is_departure(exc, set())


def _is_departure(exc: BaseException, seen: set[int]) -> bool:
    if id(exc) in seen:
        return False
    seen.add(id(exc))
    members = getattr(exc, "exceptions", None)
    if isinstance(members, tuple) and members:  # an ExceptionGroup, or the package's of that name
        # A member that was taken out of its group and raised again has the group as its context.
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
    """Whether what was being handled is a cancellation, an exception of anyio's, or a response below 500."""
    answer = getattr(context, "status_code", getattr(context, "code", None))
    answered = (isinstance(answer, int) and 400 <= answer < 500) or type(context).__name__ in _HANDLED
    if answered or isinstance(context, _HARMLESS) or type(context).__module__.partition(".")[0] == "anyio":
        return True
    return _is_departure(context, seen)
