"""One run of an application: admission, the task, its end, and what a failure means.

The same for every wire. Whoever has something to serve (`Served`: an HTTP exchange, a WebSocket session) gives it to
`serve`, together with its `Host`: the protocol that has the loop and the server's state, one for all the exchanges of
its connection. Every call counts as load (`ServerState.in_flight`) until `leave`: when the application has returned, or
earlier, when its host says so (a WebSocket that was accepted is no load).

    serve(host, served)            there may be no room: then it waits in the queue, or `served.unavailable()`
    serve(host, served, True)      it was admitted already
    leave(host, served)            it is no load any more, although its application still runs
    forget(host, served)           its connection is lost: it waits no longer

`serve` has the parameters of a method, so that a host class can take it as one (`_start = call.serve`), at no cost. At
the end `served` hears either `failed` (the application has raised or was cancelled; the log has it already) or, if it
is not settled, `returned`.

Owns: who is served now, the application's task, whose fault an end is, and the log lines about that. Must not: know a
wire, a transport, or a message of ASGI. Fails by: nothing: what an application raises ends here.
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
    """The connection that something is served on. Its attributes are those of `Carrier` and `Familiar`."""

    loop: asyncio.AbstractEventLoop
    _app: Any
    _state: ServerState

    def soon(self, callback: Callable[[], object]) -> None: ...


class Served(Protocol):
    """What an application is called for.

    `phase` is SETTLED when the application owes nothing any more; then its return ends nothing. `in_flight` belongs to
    this module, and is False at first.
    """

    SETTLED: ClassVar[int]
    phase: int
    in_flight: bool
    scope: dict[str, Any]

    async def receive(self) -> Any: ...

    async def send(self, message: Any) -> None: ...

    @property
    def client_gone(self) -> bool:
        """Whether the client has left, or the application was told that it has."""

    def named(self) -> str:
        """The request, as a line about a fault names it."""

    def unavailable(self) -> None:
        """There is no room for it (the log has it already): answer 503."""

    def returned(self) -> bool:
        """The application has returned before this was settled. True for a fault of its, which is logged then."""

    def failed(self, departed: bool) -> None:
        """The application has raised, or was cancelled; the log has it. `departed`: only because its client left."""


def serve(host: Host, served: Served, admitted: bool = False) -> None:
    """Call the application now, or when there is room. Where the loop allows it runs at once, and most are done when
    this returns.
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
    """There is no room, or none in time."""
    _log.warning("Exceeded concurrency limit.")
    served.unavailable()


def leave(host: Host, served: Served) -> None:
    """It counts as load no more."""
    if served.in_flight:
        served.in_flight = False
        host._state.left(host.soon)


def forget(host: Host, served: Served) -> None:
    """It waits for its place no longer: its connection is lost, or it was answered."""
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
