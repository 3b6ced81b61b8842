"""`Server`: one event loop that serves one application. A worker process runs it, and so does a program that embeds it.

States: new → starting (the application's lifespan) → started (accepting connections) → draining → stopped; `startup`
may be called again after `shutdown`. Who decides: a signal, the program around it (`should_exit`), or the master.

Owns: the class as programs know it, subclass it and change it: its attributes, its life from `run` to the end, and what
is done from time to time while it serves. Its parts: `startup` opens, `shutdown` closes, `masterlink` speaks with the
master, `signals` hears SIGINT and SIGTERM, `loop.pulse` keeps time.
Must not: decide anything about other workers. Fails by: SystemExit with a code of `errors.ExitCode` when it cannot
start, with `failure` set and the cause reported to the master or logged; `running()` raises the StartupError itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from uvicorn.config import Config, announce
from uvicorn.errors import ExitCode, StartupError, describe_failure
from uvicorn.logs import files as logfiles
from uvicorn.net.sockets import Listener, describe_for_clients
from uvicorn.process.channel import Failed, Spent
from uvicorn.process.drainmode import DrainMode
from uvicorn.process.interrupts import Interrupts
from uvicorn.process.page import Phase
from uvicorn.surface.later import Later
from uvicorn.surface.replaceable import replaceable
from uvicorn.worker import faults
from uvicorn.worker.front.acceptor import Acceptor
from uvicorn.worker.http.defaults import http_date
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.loop.kinds import refuse_nested, run_in_loop
from uvicorn.worker.loop.pulse import EACH_TICK, Pulse
from uvicorn.worker.masterlink import MasterLink
from uvicorn.worker.shutdown import Shutdown
from uvicorn.worker.signals import SignalHearing
from uvicorn.worker.startup import Startup

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Later("asyncio", globals())

SWEEP_SECONDS = 0.5
"""Seconds between two looks at idle and slow connections."""
CERTIFICATE_SECONDS = 5.0
"""Seconds between two looks at the certificate's files."""

_log = logging.getLogger("uvicorn.error")

_Self = TypeVar("_Self", bound="Server")


class Server(SignalHearing):
    """Serves `config.app`. `run()` makes its own loop, `await serve()` uses the running one, and so does the block
    `async with server.running():`. It may be used again once it has stopped.

    From any thread: `started` says that it accepts connections (and stays true when it stops: it could be started),
    `should_exit = True` stops it, `force_exit = True` stops it now, `reopen_logs = True` opens its log files anew, for
    when they were moved away.
    """

    instead_of_a_master = "Use --supervise (supervise=True), or more than one worker."
    """What to do about limits that only a master can enforce."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.server_state = ServerState()
        self.started = False
        self.should_exit = False
        self.force_exit = False
        self.reopen_logs = False
        self.last_notified = 0.0
        self.servers: list[Acceptor] = []
        self.failure: StartupError | None = None
        self.lifespan: Any = None
        self.drain_as: tuple[DrainMode, float] | None = None
        """How it stops, and in how many seconds, without a master; None: that depends on what asked it to stop."""
        self._known_listeners: Collection[Listener] = ()
        """What is known of the sockets that `serve` is given, beyond what they say themselves: whether the next process
        is given them as well, and their backlog."""
        self._bound: list[Listener] = []
        """The listeners that it has bound itself, and closes."""
        self._date_second = 0
        self._has_reached_limit = self._has_told_fault = False
        self._notifying: asyncio.Task[None] | None = None
        self._pulse = Pulse()
        self._pulse.every(EACH_TICK, self._set_clock)
        self._pulse.every(EACH_TICK, self._renew_default_headers)
        self._sweeping = self._pulse.every(SWEEP_SECONDS, self._sweep)
        self._pulse.every(CERTIFICATE_SECONDS, self._renew_certificate)
        self._pulse.every(EACH_TICK, self._notify_when_due)
        self._master = MasterLink(self, self._pulse)
        self._shutdown_steps = Shutdown(self, self._pulse, self._master)
        self._startup_steps = Startup(self, self._pulse, self._master, self._shutdown_steps)
        self._pulse.every(EACH_TICK, self._flush_logs)

    @property
    def _supervised(self) -> bool:
        return self._master.exists

    @cached_property
    def limit_max_requests(self) -> int | None:
        """Requests after which it stops by itself. A part of it is drawn at random: workers do not stop together."""
        limit, jitter = self.config.limit_max_requests, self.config.limit_max_requests_jitter
        if not limit:
            return None
        import random

        # Not the shared generator: an application that seeds it while it is imported does so in every worker.
        return limit + random.SystemRandom().randint(0, limit // 10 if jitter is None else jitter)

    @replaceable
    def urls(self) -> list[str]:
        """What a client on this machine opens, one for each address; empty while it does not accept connections."""
        scheme = "https" if self.config.is_ssl else "http"
        return [describe_for_clients(sock, scheme) for acceptor in self.servers for sock in acceptor.sockets]

    @replaceable
    def url(self) -> str:
        """The first of `urls`. Raises RuntimeError while there is none."""
        urls = self.urls
        if not urls:
            raise RuntimeError("The server does not accept connections now, so it has no URL.")
        return urls[0]

    # -- running -----------------------------------------------------------------------------------------------

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in a new event loop until it is asked to stop. `sockets` are bound, and may listen already.

        Raises SystemExit(3) when it cannot start, and RuntimeError inside a running loop: use `serve` there.
        """
        refuse_nested()
        with nullcontext() if self._installs_its_own else self.capture_signals():
            self._load(sockets)  # before there is a loop: a module may call asyncio.run()
        try:
            with self.config.raising():
                factory = self.config.get_loop_factory()
        except StartupError as exc:
            self._fail(exc)
        run_in_loop(self.serve(sockets), factory, limit=self._shutdown_steps.leave_by)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in the running loop until it is asked to stop.

        In the main thread SIGINT and SIGTERM stop it and are raised again afterwards; a program that handles them
        itself replaces `install_signal_handlers`, on the object or in a subclass. Raises SystemExit(3) when it cannot
        start.
        """
        if self._installs_its_own:
            self.install_signal_handlers()
            await self._serve(sockets)
            return
        with self.capture_signals():
            await self._serve(sockets)

    @asynccontextmanager
    async def running(self: _Self, sockets: list[socket.socket] | None = None) -> AsyncIterator[_Self]:
        """Serve in the running loop for as long as the block lasts; signals are left to the program.

        Raises StartupError when it cannot start. At its end the block stops the server gracefully, closing idle
        connections at once; what ended the serving unexpectedly is raised then. Cancelled while it stops, it stops now.
        """
        self.should_exit = self.force_exit = False
        try:
            accepts = await self._start_serving(sockets)
        except SystemExit:
            if self.failure is None:
                raise
            accepts = False
        if not accepts:
            raise self.failure or StartupError("Asked to stop before the application had started.")
        serving = asyncio.create_task(self._serve_until_stopped(sockets))
        try:
            yield self
        finally:
            self.should_exit = True
            self._pulse.wake()
            await serving

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        if await self._start_serving(sockets):
            await self._serve_until_stopped(sockets)

    def _load(self, sockets: list[socket.socket] | None) -> None:
        self.failure = None
        self._startup_steps.expect(sockets)
        try:
            if not self.config.loaded:
                with self.config.raising():
                    self.config.load()
        except StartupError as exc:
            self._fail(exc)

    async def _start_serving(self, sockets: list[socket.socket] | None) -> bool:
        """Load and start. False when it does not accept, because it was asked to stop in the meantime."""
        self.started, self.failure = False, None
        self._interrupts = Interrupts()
        self._load(sockets)
        in_vain = self.config.for_a_master
        if in_vain and not self._supervised:
            _log.warning("%s: no effect without a master. %s", ", ".join(in_vain), self.instead_of_a_master)
        self.lifespan = self.config.lifespan_class(self.config)
        _log.info("Started server process [%d]", os.getpid(), extra={"color_message": _STARTED})
        try:
            await self.startup(sockets)
        except BaseException:
            self._shutdown_steps.close_everything()
            raise
        if not self.started:
            self._stop_pulse()
        return self.started

    async def _serve_until_stopped(self, sockets: list[socket.socket] | None) -> None:
        try:
            await self.main_loop()
            await self._master.outlast_debugger()
            await self._shutdown_steps.delay()
            await self.shutdown(sockets)
        finally:
            self._shutdown_steps.close_everything()
        _log.info("Finished server process [%d]", os.getpid(), extra={"color_message": _FINISHED})

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and accept. Afterwards `started` is true, unless it was asked to stop in the meantime.

        Raises SystemExit(3) when it cannot start.
        """
        self._master.phase = Phase.BOOTING
        self.started, self.failure = False, None
        self._has_told_fault = False
        self._sweeping.seconds = SWEEP_SECONDS
        try:
            self._startup_steps.prepare()
            self._pulse.start()
            logfiles.hold(self)
            self.started = await self._startup_steps.run(sockets)
        except BaseException:
            self._shutdown_steps.close_everything()
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, finish what is in flight within the time for that, shut the application down."""
        if not self._supervised:
            self._check_request_limit()  # also for a program that stops it between two ticks
        await self._shutdown_steps.run(sockets)

    def _release_sockets(self) -> None:
        self._startup_steps.release()

    def _stop_pulse(self) -> None:
        self._pulse.stop()
        logfiles.release(self)  # the lines of the last tick

    def _choose_drain(self) -> tuple[DrainMode, float]:
        """How to stop, and in how many seconds, without a master."""
        # A server that has served its number of requests is under load, and idle clients are about to ask again.
        unhurried = signal.SIGTERM in self._captured or self._has_reached_limit
        mode = DrainMode.STOP if unhurried and signal.SIGINT not in self._captured else DrainMode.INTERRUPT
        return self.drain_as or (mode, self.config.drain_seconds)

    def _log_started_message(self, listeners: list[socket.socket]) -> None:
        if not self._supervised:  # a master says it once for all workers
            for sock in listeners:
                announce(self.config, sock)

    # -- failures ----------------------------------------------------------------------------------------------

    def _fail(self, failure: StartupError, logged: bool = False) -> NoReturn:
        self._report_failure(failure, logged)
        self._leave(failure)

    def _report_failure(self, failure: StartupError, logged: bool = False) -> None:
        """To the master, which logs it once for all workers; else to the log, unless it is there already."""
        self.failure = failure
        self.should_exit = True
        text = describe_failure(failure)
        if self._supervised:
            logged = self._master.report(Failed(int(failure.exit_code), text))
        if not logged:
            _log.error("%s", text)

    def _leave(self, failure: StartupError) -> NoReturn:
        raise SystemExit(int(failure.exit_code)) from failure

    def _exit_status(self) -> ExitCode:
        if self.failure is not None:
            return self.failure.exit_code
        return ExitCode.INTERNAL if self._lifespan_fault else ExitCode.OK

    @property
    def _lifespan_fault(self) -> str:
        """How the lifespan ended while the application was served, "" if it did not. Another class may not say."""
        return getattr(self.lifespan, "fault", "")

    # -- while it serves ---------------------------------------------------------------------------------------

    async def main_loop(self) -> None:
        """Return once the server should stop."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % 864000
            await self._pulse.beat()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second. True ends the main loop. It also renews the date, for programs that call it."""
        if counter % 10 == 0:
            self._renew_default_headers(self._pulse.now)
        self._check_request_limit()
        self._check_lifespan()
        return self.should_exit

    def _check_request_limit(self) -> None:
        """At the limit of requests: ask to be replaced, or stop if there is no master."""
        limit, total = self.limit_max_requests, self.server_state.total_requests
        if limit is None or total < limit or self.should_exit or self._has_reached_limit:
            return
        self._has_reached_limit = True
        _log.warning("Maximum request limit of %d exceeded. Terminating process.", limit)
        if self._supervised:
            self._master.report(Spent(f"has served {total} requests"))
        else:
            self.should_exit = True

    def _check_lifespan(self) -> None:
        """What the application had opened is closed: ask to be replaced, or go on if there is no master."""
        if not self._lifespan_fault or self._has_told_fault or self.should_exit:
            return
        self._has_told_fault = True
        if self._supervised:
            self._master.report(Spent("has lost the application's lifespan", fault=True))
        else:  # a program that handles the signals sets the exit status itself
            exits = "" if self.reraise_signals else " The exit status will be 1."
            _log.error("Serving goes on without the application's lifespan.%s", exits)

    # -- from time to time (`Pulse.every`) ---------------------------------------------------------------------

    def _set_clock(self, now: float) -> None:
        self.server_state.now = now

    def _renew_default_headers(self, now: float) -> None:
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self.server_state.default_headers = self._default_headers(second)

    def _default_headers(self, second: int) -> list[tuple[bytes, bytes]]:
        encoded = self.config.encoded_headers
        if self.config.date_header and b"date" not in dict(encoded):
            return [(b"date", http_date(second)), *encoded]
        return list(encoded)

    def _sweep(self, now: float) -> None:
        """Have each connection look whether it has been idle, or its peer slow, for too long."""
        keep_alive = self.config.timeout_keep_alive
        for connection in list(self.server_state.connections):
            sweep = getattr(connection, "sweep", None)  # a protocol class of a program has its own timers
            if sweep is not None:
                sweep(now, keep_alive)

    def _renew_certificate(self, now: float) -> None:
        if self.config._certificate is not None:
            self.config._certificate.refresh()

    def _notify_when_due(self, now: float) -> None:
        """Call the program back every `timeout_notify` seconds, also while the application starts and shuts down:
        that is gunicorn's heartbeat, and a worker whose loop turns is alive."""
        callback, at = self.config.callback_notify, time.time()
        if callback is None or 0 <= at - self.last_notified <= self.config.timeout_notify:
            return
        if self._notifying is None or self._notifying.done():
            self.last_notified = at
            self._notifying = asyncio.get_running_loop().create_task(self._notify(callback))

    async def _notify(self, callback: Callable[..., Awaitable[None]]) -> None:
        try:
            await callback()
        except Exception:
            _log.exception("callback_notify raised; it is called again in %g s.", self.config.timeout_notify)

    def _flush_logs(self, now: float) -> None:
        logfiles.flush()
        if self.reopen_logs:
            self.reopen_logs = False
            level = logging.DEBUG if self._supervised else logging.INFO  # a master says it once for all workers
            _log.log(level, "Log files: %s", logfiles.reopen())
            faults.reopen()


_STARTED = "Started server process [\x1b[36m%d\x1b[0m]"
_FINISHED = "Finished server process [\x1b[36m%d\x1b[0m]"
