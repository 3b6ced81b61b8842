"""One call of an application: admission, the task, its end, and what a failure means.

The same on every wire. An HTTP exchange or a WebSocket session (`Served`) is passed to `serve` with its `Host`, which
is the connection that it belongs to: the host has the event loop and the server's state. The request counts as in
flight (`ServerState.in_flight`) until its application has returned, or until `leave` is called: a WebSocket counts only
until its handshake is answered.

    serve(host, served)            calls the application, queues the request, or calls `served.unavailable()`
    serve(host, served, True)      calls the application; the request was admitted before
    leave(host, served)            the request is no longer in flight, although its application still runs
    forget(host, served)           takes the request out of the queue

`serve` can be used as a method (`_start = call.serve` in the class of a host), which costs no extra call. When the
application has ended, `served.failed` is called if it raised or was cancelled (this is logged first), else
`served.returned` if the response is not complete.

Owns: admission, the task of the application, the question whose fault its end is, and the log lines about that. Must
not: know a wire, a transport, or ASGI messages. Fails by: nothing; an exception of an application goes no further.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from uvicorn.worker.http.departure import is_departure
from uvicorn.worker.loop.tasks import begin, raised

if TYPE_CHECKING:
    from uvicorn.worker.http.state import ServerState

_log = logging.getLogger("uvicorn.error")


class Host(Protocol):
    """The connection of an exchange or a session. `Carrier` and `Familiar` have these attributes."""

    loop: asyncio.AbstractEventLoop
    _app: Any
    _state: ServerState

    def soon(self, callback: Callable[[], object]) -> None: ...


class Served(Protocol):
    """What an application is called for.

    `phase` is SETTLED once the application may return without further messages. This module sets `in_flight`, which is
    False at first.
    """

    SETTLED: ClassVar[int]
    phase: int
    in_flight: bool
    scope: dict[str, Any]

    async def receive(self) -> Any: ...

    async def send(self, message: Any) -> None: ...

    @property
    def client_gone(self) -> bool:
        """Whether the client has disconnected, or the application was told so."""

    def named(self) -> str:
        """The request, for log lines about failures."""

    def unavailable(self) -> None:
        """The concurrency limit was exceeded (this is logged already): answer 503."""

    def returned(self) -> bool:
        """The application has returned too early. Logs it and returns True if that is the application's fault."""

    def failed(self, departed: bool) -> None:
        """The application has raised or was cancelled (logged already). `departed`: because its client has left."""


def serve(host: Host, served: Served, admitted: bool = False) -> None:
    """Call the application, now or when there is room. If the loop has eager tasks, it starts at once, and most
    applications have ended when this returns.
    """
    state = host._state
    admission = state.admission
    if admission is not None and not admitted and not admission.has_room(state.in_flight):
        if not admission.wait(served, partial(serve, host, served, True), state.now):
            refuse(served)
        return
    state.in_flight += 1
    served.in_flight = True
    task = begin(host._app, served.scope, served.receive, served.send, host.loop, state.context)
    if task.done():
        finish(host, served, task)
        del task  # as there: this frame is below the application's
        return
    tasks = state.tasks
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(partial(finish, host, served))


def refuse(served: Served) -> None:
    """There is no room in the queue, or the request has waited too long in it."""
    _log.warning("Exceeded concurrency limit.")
    served.unavailable()


def leave(host: Host, served: Served) -> None:
    """The request is no longer in flight."""
    if served.in_flight:
        served.in_flight = False
        host._state.left(host.soon)


def forget(host: Host, served: Served) -> None:
    """Take the request out of the queue: its connection was lost, or it was answered."""
    if host._state.admission is not None:
        host._state.admission.leave(served)


def finish(host: Host, served: Served, task: asyncio.Task[Any]) -> None:
    """The application has ended."""
    if served.in_flight:
        served.in_flight = False
        state = host._state
        if state.admission is None:
            state.in_flight -= 1
        else:
            state.left(host.soon)
    try:
        result = task.result()
    except asyncio.CancelledError as exc:
        del task  # as below
        gone = served.client_gone
        if not (gone or host._state.gave_up):
            _log.error("ASGI callable was cancelled.\n%s", served.named(), exc_info=exc)
        _fail(served, gone)
    except BaseException as exc:
        # This frame is in the traceback now. If it held the task, the exception and the task would keep each other, and
        # what the application had open with them: a generator's `finally` would wait for the garbage collector.
        del task
        _fail(served, served.client_gone and is_departure(raised(exc)), raised(exc))
    else:
        if served.phase != served.SETTLED and served.returned():
            return
        if result is not None:
            _log.error("ASGI callable should return None, but returned '%s'.", result)


def _fail(served: Served, departed: bool, exc: BaseException | None = None) -> None:
    if departed:
        _log.debug("The client left before the response was complete.")
    elif exc is not None:
        _log.error("Exception in ASGI application\n%s", served.named(), exc_info=exc)
    served.failed(departed)
