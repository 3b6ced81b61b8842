"""How a server stops: in which order, and within which time.

    connections answer "close" → stop accepting → finish what is in flight → abort the rest → the application's shutdown

`drain` says when each step is over. How urgent it is may change on the way: a later order can only be more urgent.

Owns: these steps, and the order that is being carried out. Must not: decide to stop; a signal, the master or the
program around the server does. Fails by: nothing; what has not ended in time is cut off, with a line in the log.
"""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING

from uvicorn.process.channel import Drain, Drained
from uvicorn.process.drainmode import DrainMode
from uvicorn.process.page import Phase
from uvicorn.surface.later import Later
from uvicorn.worker.drain import IDLE_GRACE, timetable
from uvicorn.worker.loop.pulse import INTERVAL, Pulse
from uvicorn.worker.masterlink import MasterLink, listed

if TYPE_CHECKING:
    import asyncio
    import socket

    from uvicorn.worker.server import Server
else:
    asyncio = Later("asyncio", globals())

FAILED_SECONDS = 1.0
"""How long what is left may take to end when the application could not be started."""
CANCELLED_SECONDS = 0.5
"""How long cancelled tasks may take to end."""

_log = logging.getLogger("uvicorn.error")


class Shutdown:
    """The shutdown of one server, which may start and stop more than once."""

    def __init__(self, server: Server, pulse: Pulse, master: MasterLink) -> None:
        self._server = server
        self._pulse = pulse
        self._master = master
        self._order: Drain | None = None

    # -- how, and by when --------------------------------------------------------------------------------------

    def order(self) -> Drain:
        """How to stop, and by when, as of now."""
        order = self._master.order(self._server.config.drain_seconds)
        if order is None:
            mode, seconds = self._server._choose_drain()
            order = Drain(mode, time.monotonic() + seconds)
        self._order = order if self._order is None else self._order.merged(order)
        return self._order

    def leave_by(self) -> float:
        """When a process that did nothing but serve must have ended, in seconds of the monotonic clock.

        The caller asks repeatedly, which shows the master that this process is not stuck.
        """
        server = self._server
        self._master.beat_after_serving()
        if server.force_exit or (self._master.exists and server.failure is not None):
            return 0.0
        if self._order is None and server.failure is not None:
            self._order = Drain(DrainMode.INTERRUPT, time.monotonic() + FAILED_SECONDS)
        return self.order().deadline

    async def delay(self) -> None:
        """Go on serving for `--shutdown-delay` after a TERM, or until an INT. A master has waited before it told us."""
        server = self._server
        delay = server.config.shutdown_delay
        if not delay or self._master.exists or server.drain_as is not None or server._captured[:1] != [signal.SIGTERM]:
            return
        _log.info("Accepting for %g s more, then stopping.", delay)
        until = time.monotonic() + delay
        while not server.force_exit and signal.SIGINT not in server._captured and time.monotonic() < until:
            await self._pulse.beat()

    # -- the steps ---------------------------------------------------------------------------------------------

    async def run(self, sockets: list[socket.socket] | None) -> None:
        """Stop accepting, finish what is in flight, shut the application down."""
        server = self._server
        _log.info("Shutting down")
        self._master.phase = Phase.DRAINING
        server.server_state.draining = True
        server._sweeping.seconds = INTERVAL  # the times of a drain are short
        self._order = None
        order, start = self.order(), time.monotonic()
        self._retire_connections()  # first, so that every response from now on says that it is the last
        await self._stop_accepting(order, start, sockets)
        await self._finish_connections(start)
        if not server.force_exit:
            await self.end_lifespan(self.order().deadline)
        self._pulse.tick()  # the last figures
        server._stop_pulse()
        self._master.stop_listening()

    async def _stop_accepting(self, order: Drain, start: float, sockets: list[socket.socket] | None) -> None:
        until = timetable(order, start).refuse_at
        for acceptor in self._server.servers:
            # Queued connections are for the next listener: other workers, or the next process with this descriptor.
            if order.mode in (DrainMode.RETIRE, DrainMode.CUT) or acceptor.inherited:
                await acceptor.stop()
                acceptor.close()
            else:
                await acceptor.drain(until)
        self._close_listeners()
        for sock in sockets or ():
            sock.close()
        if order.mode is not DrainMode.RETIRE or not self._master.has_ordered:
            self._master.report(Drained())  # a worker that leaves unasked is replaced when its master hears of it

    def _close_listeners(self) -> None:
        server = self._server
        for acceptor in server.servers:
            acceptor.close()
        server.servers = []
        bound, server._bound = server._bound, []
        for listener in bound:
            listener.close()

    def _retire_connections(self) -> None:
        for connection in list(self._server.server_state.connections):
            getattr(connection, "retire", connection.shutdown)()

    async def _finish_connections(self, start: float) -> None:
        state = self._server.server_state
        self._retire_connections()
        while state.connections or state.tasks:
            order = self.order()
            times, now = timetable(order, start), time.monotonic()
            if self._server.force_exit or now >= times.end:
                await self._abort()
                return
            if now >= times.idle_until:
                grace = 0.0 if order.mode is DrainMode.INTERRUPT else IDLE_GRACE
                self._close_idle(now - grace)
            if now >= times.disconnect_at:  # each time: a request may have begun since
                for connection in list(state.connections):
                    getattr(connection, "disconnect", connection.shutdown)()
            await asyncio.sleep(0)  # what has just closed is gone after one turn of the loop
            if state.connections or state.tasks:
                await self._pulse.beat()

    def _close_idle(self, since: float) -> None:
        """A protocol class of a program has only `shutdown` for this."""
        for connection in list(self._server.server_state.connections):
            close_idle = getattr(connection, "close_idle", None)
            if close_idle is None:
                connection.shutdown()
            else:
                close_idle(since)

    async def _abort(self) -> None:
        """The time is over: end what is left."""
        from uvicorn.worker.loop.tasks import request_of

        state = self._server.server_state
        tasks = set(state.tasks)
        state.gave_up = True
        if tasks:
            _log.error("Cancel %d running task(s), timeout graceful shutdown exceeded", len(tasks))
            if named := [name for task in tasks if (name := request_of(task))]:
                _log.error("They serve:\n%s", listed(sorted(named)))
        for task in tasks:
            task.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")
        if tasks:
            await asyncio.wait(tasks, timeout=CANCELLED_SECONDS)
        for connection in list(state.connections):
            getattr(connection, "abort", connection.shutdown)()
        await asyncio.sleep(0)

    async def end_lifespan(self, deadline: float) -> None:
        """Shut the application down, until `deadline` (seconds, monotonic) at the latest."""
        server = self._server
        deadline = max(deadline, time.monotonic() + INTERVAL)
        shutdown = asyncio.ensure_future(server.lifespan.shutdown())
        while not shutdown.done() and not server.force_exit and time.monotonic() < deadline:
            await asyncio.wait({shutdown}, timeout=INTERVAL)
        if shutdown.done():
            shutdown.result()
            return
        shutdown.cancel()
        await asyncio.wait({shutdown}, timeout=INTERVAL)
        _log.error("Application shutdown not complete in time. Exiting.")

    def close_everything(self) -> None:
        """Close at once whatever is open. Nothing is, after `run`; a start that failed, or a `serve` that was
        cancelled, ends by this alone."""
        state = self._server.server_state
        self._close_listeners()
        state.gave_up = True
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            getattr(connection, "abort", connection.shutdown)()
        self._server._stop_pulse()
