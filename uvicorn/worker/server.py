"""`Server`: one event loop that serves one application. A worker runs it, and so does a program that embeds it.

States: new → starting (lifespan) → started (accepting) → draining → stopped; `startup` may follow `shutdown` again.
Who decides: a signal, the embedding program (`should_exit`), or the master, over the channel that this process has
(`channel.take`). Who does: this module; `acceptor` accepts, `pulse` keeps time, `drain` says when what happens.
Must not: decide anything about other workers. Fails by: `failure` set and `started` false when it cannot start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from uvicorn import channel
from uvicorn.channel import ChannelClosed, Drain, Drained, DrainMode, Phase, Ready, Spent, WorkerLink
from uvicorn.config import Config, log_address
from uvicorn.errors import ExitCode, StartupError, describe_failure
from uvicorn.sockets import Listener, describe
from uvicorn.worker.acceptor import Acceptor
from uvicorn.worker.drain import timetable
from uvicorn.worker.http.framing import http_date
from uvicorn.worker.loops import run_in_loop
from uvicorn.worker.outbox import Outbox
from uvicorn.worker.pulse import INTERVAL, Pulse
from uvicorn.worker.state import ServerState

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)

REPORTED = 20
"""Requests that are named in the report of a hang; of the others only their number."""

SWEEP_TICKS = 5
"""Ticks between two looks at idle and slow connections: half a second."""

_log = logging.getLogger("uvicorn.error")


class Server:
    """Serves `config.app`. `run()` makes its own loop, `await serve()` uses the running one.

    From any thread: `started` says that it accepts, `should_exit = True` ends it, `force_exit = True` ends it now.
    """

    reraise_signals = True
    """Whether a captured signal is raised again after serving, for the program around us."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.server_state = ServerState()
        self.started = False
        self.should_exit = False
        self.force_exit = False
        self.servers: list[Acceptor] = []
        self.failure: StartupError | None = None
        self.lifespan: Any = None
        self._taken: WorkerLink | None = None
        self._own_listeners: list[Listener] = []
        self._captured: list[int] = []
        self._max_requests = 0
        self._pulse = Pulse(self._tick)
        self._ticks = 0
        self._phase = Phase.BOOTING
        self._date_second = 0

    @property
    def _master(self) -> WorkerLink | None:
        """The channel to the master, for the first server in a worker; None for any other."""
        if self._taken is None:
            self._taken = channel.take()
        return self._taken

    # -- running -----------------------------------------------------------------------------------------------

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in a new event loop until asked to stop. `sockets` listen already, or are bound."""
        try:
            factory = self.config.get_loop_factory()
        except StartupError as exc:
            self._fail(exc)
            return
        run_in_loop(self.serve(sockets), factory)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in the running loop until asked to stop.

        In the main thread SIGINT and SIGTERM end it and are raised again afterwards; a program that wants them
        for itself sets `install_signal_handlers` to anything callable.
        """
        if getattr(self, "install_signal_handlers", None) is not None:
            await self._serve(sockets)
            return
        with self.capture_signals():
            await self._serve(sockets)

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            if not self.config.loaded:
                self.config.load()
        except StartupError as exc:
            self._fail(exc)
            return
        self.lifespan = self.config.lifespan_class(self.config)
        _log.info("Started server process [%d]", os.getpid(), extra={"color_message": _STARTED})
        await self.startup(sockets)
        if not self.started:
            self._pulse.stop()
            return
        try:
            await self.main_loop()
            await self._delay()
            await self.shutdown(sockets)
        finally:
            self._let_go()
        _log.info("Finished server process [%d]", os.getpid(), extra={"color_message": _FINISHED})

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and accept. Afterwards `started` is true, or `failure` says why not."""
        self._phase = Phase.BOOTING
        self._prepare_state()
        self._pulse.start()
        if not await self._start_lifespan():
            return
        if self.lifespan.should_exit:
            self.should_exit = True
            self._fail(self.lifespan.failure)
            return
        try:
            given = [Listener(sock) for sock in sockets or ()]
            listeners = given or self.config.bind()
            if not given:
                self._own_listeners = listeners
            await self._accept(listeners)
        except StartupError as exc:
            self._fail(exc)
            await self.lifespan.shutdown()
            return
        self._log_started_message([listener.sock for listener in listeners])
        self._phase = Phase.SERVING
        self._max_requests = self.config.max_requests
        self.started = True
        link = self._master
        if link is not None:
            asyncio.get_running_loop().add_reader(link.endpoint.fileno(), self._hear_master)
            self._say(Ready())

    async def _start_lifespan(self) -> bool:
        """Wait for the application's startup, and for an order to leave. False when that came first."""
        startup = asyncio.ensure_future(self.lifespan.startup())
        while not startup.done():
            link = self._master
            if link is not None and (not link.poll() or link.drain is not None):
                self.should_exit = True
            if self.should_exit:
                startup.cancel()
                await asyncio.wait({startup})
                _log.info("Asked to stop before the application had started.")
                return False
            await asyncio.wait({startup}, timeout=INTERVAL)
        startup.result()
        return True

    async def _accept(self, listeners: list[Listener]) -> None:
        loop = asyncio.get_running_loop()
        config, state, lifespan_state = self.config, self.server_state, self.lifespan.state
        protocol: Any = config.http_protocol_class

        def factory() -> asyncio.Protocol:
            made: asyncio.Protocol = protocol(config, state, lifespan_state, loop)
            return made

        self.servers = []
        for listener in listeners:
            acceptor = Acceptor(loop, listener.sock, factory)
            await acceptor.start(config.backlog)
            self.servers.append(acceptor)

    def _prepare_state(self) -> None:
        state = self.server_state
        access = logging.getLogger("uvicorn.access")
        state.draining = False
        state.outbox = Outbox()  # one that waits for a loop which is gone would wait for ever
        state.logs_access = self.config.access_log and access.hasHandlers() and access.isEnabledFor(logging.INFO)
        state.limit_concurrency = self.config.limit_concurrency

    def _log_started_message(self, listeners: list[socket.socket]) -> None:
        if self._master is None:  # a master says it once for all of its workers
            for sock in listeners:
                log_address(describe(sock))

    def _fail(self, failure: StartupError | None) -> None:
        self.failure = failure or StartupError("Application startup failed. Exiting.")
        self.should_exit = True
        if self._master is None:  # a master is told, and says it once for all of its workers
            _log.error("%s", describe_failure(self.failure))

    @property
    def exit_code(self) -> ExitCode:
        """What a process that did nothing but serve should leave with."""
        return self.failure.exit_code if self.failure is not None else ExitCode.OK

    # -- while it serves ---------------------------------------------------------------------------------------

    async def main_loop(self) -> None:
        """Return once the server should stop."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % 864000
            await self._pulse.beat()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second. True ends the main loop."""
        return self.should_exit

    async def _delay(self) -> None:
        """Go on serving for the delay that a TERM may have; under a master it has passed already when we hear of it."""
        delay = self.config.shutdown_delay
        if not delay or self._master is not None or self._captured[:1] != [signal.SIGTERM]:
            return
        _log.info("Accepting for %g s more, then stopping.", delay)
        until = time.monotonic() + delay
        while not self.force_exit and time.monotonic() < until:
            await self._pulse.beat()

    def _tick(self) -> None:
        state = self.server_state
        now = state.now = time.monotonic()
        self._ticks += 1
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            state.default_headers = self._default_headers(second)
        if self._ticks % SWEEP_TICKS == 0 or state.draining:  # the drain's moments are short
            self._sweep(now)
        if self._max_requests and state.total_requests >= self._max_requests:
            self._spent()
        if self._master is not None:
            self._master.heartbeat.beat(now, state.in_flight, self._phase)

    def _spent(self) -> None:
        """The limit of requests is reached: be replaced, or end where there is nobody to do that."""
        self._max_requests = 0
        cause = f"has served {self.server_state.total_requests} requests"
        if self._master is not None:
            self._say(Spent(cause))
        else:
            _log.info("This process %s, which is its limit: stopping.", cause)
            self.should_exit = True

    def _default_headers(self, second: int) -> list[tuple[bytes, bytes]]:
        pairs = []
        if self.config.date_header:
            pairs.append((b"date", http_date(second)))
        if self.config.server_header:
            pairs.append((b"server", b"uvicorn"))
        return pairs

    def _sweep(self, now: float) -> None:
        keep_alive = self.config.timeout_keep_alive
        for connection in list(self.server_state.connections):
            sweep = getattr(connection, "sweep", None)  # a foreign protocol keeps its own time
            if sweep is not None:
                sweep(now, keep_alive)

    # -- the end -----------------------------------------------------------------------------------------------

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, finish what is in flight within the drain deadline, shut the application down."""
        _log.info("Shutting down")
        self._phase = Phase.DRAINING
        self.server_state.draining = True
        order = self._order()
        start = time.monotonic()
        self._retire_connections()  # first of all, so that whatever is answered from now on says that it is the last
        await self._stop_accepting(order, start, sockets)
        await self._finish_connections(order, start)
        if not self.force_exit:
            await self._shut_down_lifespan(timetable(self._order(order), start).deadline)
        self._pulse.stop()
        if self._master is not None:
            asyncio.get_running_loop().remove_reader(self._master.endpoint.fileno())
        self.started = False

    def _order(self, so_far: Drain | None = None) -> Drain:
        """How to leave, and by when; a later order can only be more urgent."""
        link = self._master
        if link is not None:
            alive = link.poll()
            # Without an order it is a TERM from outside: siblings take the queue.
            order = link.drain or Drain(DrainMode.RETIRE, time.monotonic() + self.config.drain_seconds)
            if not alive:  # nobody takes the queue, and nobody shall find us here a second later
                order = order.merged(Drain(DrainMode.INTERRUPT, order.deadline))
            return order if so_far is None else so_far.merged(order)
        mode = DrainMode.STOP if signal.SIGTERM in self._captured else DrainMode.INTERRUPT
        return so_far or Drain(mode, time.monotonic() + self.config.drain_seconds)

    async def _stop_accepting(self, order: Drain, start: float, sockets: list[socket.socket] | None) -> None:
        until = timetable(order, start).refuse_at
        # The queue is for whoever listens after us: siblings, or the next process that is given this descriptor.
        leave_queue = order.mode is DrainMode.RETIRE or self.config.fd is not None
        for acceptor in self.servers:
            if leave_queue:
                await acceptor.stop()
                acceptor.close()
            else:
                await acceptor.drain(until)
        self.servers = []
        for listener in self._own_listeners:
            listener.close()
        self._own_listeners = []
        for sock in sockets or ():
            sock.close()
        if order.mode is not DrainMode.RETIRE or (self._master is not None and self._master.drain is None):
            self._say(Drained())  # a worker that leaves unasked is replaced when its master hears of it

    def _retire_connections(self) -> None:
        for connection in list(self.server_state.connections):
            getattr(connection, "retire", connection.shutdown)()

    async def _finish_connections(self, order: Drain, start: float) -> None:
        state = self.server_state
        self._retire_connections()
        told = False
        while state.connections or state.tasks:
            order = self._order(order)
            times, now = timetable(order, start), time.monotonic()
            if self.force_exit or now >= times.end:
                await self._abort()
                return
            if now >= times.idle_until:
                for connection in list(state.connections):
                    connection.shutdown()
            if now >= times.disconnect_at and not told:
                told = True
                for connection in list(state.connections):
                    getattr(connection, "disconnect", connection.shutdown)()
            await asyncio.sleep(0)  # what closed just now is gone after one turn of the loop
            if state.connections or state.tasks:
                await self._pulse.beat()

    async def _abort(self) -> None:
        """End what is left: the time is over."""
        state = self.server_state
        tasks = set(state.tasks)
        if tasks:
            _log.error("Cancel %d running task(s), timeout graceful shutdown exceeded", len(tasks))
        for task in tasks:
            task.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")
        if tasks:
            await asyncio.wait(tasks, timeout=0.5)
        for connection in list(state.connections):
            getattr(connection, "abort", connection.shutdown)()
        await asyncio.sleep(0)

    async def _shut_down_lifespan(self, deadline: float) -> None:
        deadline = max(deadline, time.monotonic() + INTERVAL)
        shutdown = asyncio.ensure_future(self.lifespan.shutdown())
        while not shutdown.done() and not self.force_exit and time.monotonic() < deadline:
            await asyncio.wait({shutdown}, timeout=INTERVAL)
        if shutdown.done():
            shutdown.result()
            return
        shutdown.cancel()
        await asyncio.wait({shutdown}, timeout=INTERVAL)
        _log.error("Application shutdown not complete in time. Exiting.")

    def _let_go(self) -> None:
        """Hold nothing any more. Nothing is left to do after a `shutdown`; a cancelled `serve` leaves by this alone."""
        for acceptor in self.servers:
            acceptor.close()
        self.servers = []
        for listener in self._own_listeners:
            listener.close()
        self._own_listeners = []
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in list(self.server_state.connections):
            getattr(connection, "abort", connection.shutdown)()
        self._pulse.stop()
        self.started = False

    # -- signals and the master --------------------------------------------------------------------------------

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM inside, restore what was there, raise again what came (last one first)."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals can only be handled in the main thread
            return
        # Under a master a Ctrl-C reaches the whole group, and the master decides.
        wanted: tuple[signal.Signals, ...] = (signal.SIGTERM,) if self._master is not None else HANDLED_SIGNALS
        before = {number: signal.signal(number, self.handle_exit) for number in wanted}
        if self._master is not None and self._master.report_signal:
            signal.signal(self._master.report_signal, self._report)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.reraise_signals:
            for captured in reversed(self._captured):
                signal.raise_signal(captured)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The handler: stop; a second one stops now (not the master's, which repeats itself to be more urgent).

        Raises KeyboardInterrupt when the application is still being imported: no loop looks at a flag then.
        """
        self._captured.append(sig)
        if self.should_exit and self._master is None:
            self.force_exit = True
        self.should_exit = True
        if not self.config.loaded:
            raise KeyboardInterrupt

    def _hear_master(self) -> None:
        link = self._master
        if link is None:
            return
        if not link.poll():
            asyncio.get_running_loop().remove_reader(link.endpoint.fileno())
            _log.error("The master is gone: finishing what is in flight.")
            self.should_exit = True
        elif link.drain is not None:
            self.should_exit = True
        self._pulse.wake()

    def _report(self, sig: int, frame: FrameType | None) -> None:
        """The handler for a master that suspects a hang: what is in flight, written where it looks for it.

        It runs in a loop that does not turn, as long as that is busy in Python or waits in a call that Python restarts.
        (Rejected: a dormant thread that could also speak for blocked C code. Every process that an application
        forks would then be the fork of a process with threads.)
        """
        link = self._master
        if link is None:
            return
        if sys.gettrace() is not None:
            link.heartbeat.beat(link.heartbeat.read().at, self.server_state.in_flight, Phase.HELD)
            return
        link.heartbeat.beat(link.heartbeat.read().at, self.server_state.in_flight, self._phase)
        now = time.monotonic()
        told = [getattr(connection, "in_work", _unknown)(now) for connection in list(self.server_state.connections)]
        lines = [f"  {text}" for text in told if text]
        if lines:
            more = [f"  and {len(lines) - REPORTED} more"] if len(lines) > REPORTED else []
            text = "\n".join(["In flight:", *lines[:REPORTED], *more, ""])
            os.write(link.report_fd, text.encode("utf-8", "backslashreplace"))

    def _say(self, message: Ready | Drained | Spent) -> None:
        if self._master is None:
            return
        try:
            self._master.endpoint.send(message)
        except ChannelClosed:
            self.should_exit = True


def _unknown(now: float) -> str:
    """What a foreign protocol has in work."""
    return ""


_STARTED = "Started server process [\x1b[36m%d\x1b[0m]"
_FINISHED = "Finished server process [\x1b[36m%d\x1b[0m]"
