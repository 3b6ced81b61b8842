"""`Server`: one event loop that serves one application. A worker runs it, and so does a program that embeds it.

States: new → starting (lifespan) → started (accepting) → draining → stopped; `startup` may follow `shutdown` again.
Who decides: a signal, the embedding program (`should_exit`), or the master, over the channel that this process has
(`channel.take`). Who does: this module; `signals` hears, `acceptor` accepts, `pulse` keeps time, `drain` says when what
happens.
Must not: decide anything about other workers. Fails by: SystemExit with a code of `errors.ExitCode` when it cannot
start, with `failure` set and the cause told (to the master, or the log); `running()` raises the StartupError itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, nullcontext
from functools import cached_property, partial
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from uvicorn.config import Config, announce
from uvicorn.errors import ExitCode, StartupError, describe_failure
from uvicorn.logs import files as logfiles
from uvicorn.net.proxies import TrustedProxies
from uvicorn.net.sockets import Listener, describe_for_clients, listen_all
from uvicorn.process import channel
from uvicorn.process.channel import ChannelClosed, Drain, Drained, DrainMode, Failed, Phase, Ready, Spent, WorkerLink
from uvicorn.process.interrupts import Interrupts
from uvicorn.surface.later import Later
from uvicorn.surface.replaceable import replaceable
from uvicorn.worker import debugging, faults
from uvicorn.worker.drain import IDLE_GRACE, timetable
from uvicorn.worker.front.acceptor import Acceptor
from uvicorn.worker.hanging import in_flight, listed
from uvicorn.worker.http.defaults import http_date
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.loop.kinds import is_uvloop, refuse_nested, run_in_loop
from uvicorn.worker.loop.pulse import INTERVAL, Pulse
from uvicorn.worker.signals import SignalHearing
from uvicorn.worker.transport.outbox import Outbox

if TYPE_CHECKING:
    import asyncio
    import contextvars

    from uvicorn.process.terminal import Terminal
else:
    asyncio = Later("asyncio", globals())
    contextvars = Later("contextvars", globals())

SWEEP_TICKS = 5
"""Ticks between two looks at idle and slow connections: half a second."""
CERTIFICATE_TICKS = 50
"""Ticks between two looks at the certificate's files."""
FAILED_SECONDS = 1.0
"""What is left to end has so long where the application could not be started."""
LATE = 2.0
"""Seconds between two ticks that say that the loop stood still."""

_log = logging.getLogger("uvicorn.error")

_Self = TypeVar("_Self", bound="Server")


class Server(SignalHearing):
    """Serves `config.app`. `run()` makes its own loop, `await serve()` uses the running one, and so does the block
    `async with server.running():`. It may be used again once it has stopped.

    From any thread: `started` says that it accepts (and stays true when it stops: it could be started),
    `should_exit = True` ends it, `force_exit = True` ends it now, `reopen_logs = True` opens log files that were moved
    away anew.
    """

    instead_of_a_master = "Use --supervise (supervise=True), or more than one worker."
    """What to do for limits that a master alone can keep."""

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
        """How it stops, and in how many seconds, where no master says; None: as what asked it to stop wants."""
        self._passed: list[socket.socket] = []
        self._released = False
        self._known: Collection[Listener] = ()
        """What is known of `serve`'s sockets: which of them the next process is given as well, and their backlog."""
        self._taken: WorkerLink | None = None
        self._own_listeners: list[Listener] = []
        self._asked_to_be_replaced = self._told_fault = False
        self._leaving: Drain | None = None
        self._terminal: Terminal | None = None
        self._pulse = Pulse(self._tick)
        self._ticks = 0
        self._phase = Phase.BOOTING
        self._date_second = 0
        self._notifying: asyncio.Task[None] | None = None

    @property
    def _master(self) -> WorkerLink | None:
        """The channel to the master, for the first server in a worker; None for any other."""
        if self._taken is None:
            self._taken = channel.take()
        return self._taken

    @property
    def _supervised(self) -> bool:
        return self._master is not None

    @cached_property
    def limit_max_requests(self) -> int | None:
        """Requests after which it stops by itself, with a part drawn at random: siblings do not stop together."""
        limit, jitter = self.config.limit_max_requests, self.config.limit_max_requests_jitter
        if not limit:
            return None
        import random

        # Not the shared generator: an application that seeds it while it is imported does so in every worker.
        return limit + random.SystemRandom().randint(0, limit // 10 if jitter is None else jitter)

    @replaceable
    def urls(self) -> list[str]:
        """What a client on this machine opens, one for each address; empty while it does not accept."""
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
        """Serve in a new event loop until asked to stop. `sockets` listen already, or are bound.

        Leaves by SystemExit(3) when it cannot start. Raises RuntimeError in a loop that runs: `serve` is for that.
        """
        refuse_nested()
        with nullcontext() if self._installs_its_own else self.capture_signals():
            self._load(sockets)  # in no loop yet: a module may call asyncio.run()
        try:
            with self.config.raising():
                factory = self.config.get_loop_factory()
        except StartupError as exc:
            self._give_up(exc)
        run_in_loop(self.serve(sockets), factory, limit=self.leave_by)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve in the running loop until asked to stop.

        In the main thread SIGINT and SIGTERM end it and are raised again afterwards; a program that wants them
        for itself replaces `install_signal_handlers`, on the object or in a subclass. Leaves by SystemExit(3) when it
        cannot start.
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

        Raises StartupError when it cannot start. The end of the block stops it gracefully, closing idle connections
        at once; what ended the serving unexpectedly is raised then. Cancelled while it stops, it stops now.
        """
        self.should_exit = self.force_exit = False
        try:
            accepts = await self._begin(sockets)
        except SystemExit:
            if self.failure is None:
                raise
            accepts = False
        if not accepts:
            raise self.failure or StartupError("Asked to stop before the application had started.")
        serving = asyncio.create_task(self._go_on(sockets))
        try:
            yield self
        finally:
            self.should_exit = True
            self._pulse.wake()
            await serving

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        if await self._begin(sockets):
            await self._go_on(sockets)

    def _load(self, sockets: list[socket.socket] | None) -> None:
        self.failure = None
        self._passed, self._released = list(sockets or ()), False
        try:
            if not self.config.loaded:
                with self.config.raising():
                    self.config.load()
        except StartupError as exc:
            self._give_up(exc)

    async def _begin(self, sockets: list[socket.socket] | None) -> bool:
        """Load and start. False when it does not accept, because a stop was wanted meanwhile."""
        self.started, self.failure = False, None
        self._interrupts = Interrupts()
        self._load(sockets)
        in_vain = self.config.for_a_master
        if in_vain and self._master is None:
            _log.warning("%s: no effect without a master. %s", ", ".join(in_vain), self.instead_of_a_master)
        self.lifespan = self.config.lifespan_class(self.config)
        _log.info("Started server process [%d]", os.getpid(), extra={"color_message": _STARTED})
        try:
            await self.startup(sockets)
        except BaseException:
            self._let_go()
            raise
        if not self.started:
            self._stop_pulse()
        return self.started

    async def _go_on(self, sockets: list[socket.socket] | None) -> None:
        try:
            await self.main_loop()
            await self._outlast_debugger()
            await self._delay()
            await self.shutdown(sockets)
        finally:
            self._let_go()
        _log.info("Finished server process [%d]", os.getpid(), extra={"color_message": _FINISHED})

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and accept. Afterwards `started` is true, or a stop was wanted meanwhile.

        Leaves by SystemExit(3) when it cannot start.
        """
        try:
            await self._start(sockets)
        except BaseException:
            self._let_go()
            raise

    async def _start(self, sockets: list[socket.socket] | None) -> None:
        self._phase = Phase.BOOTING
        self.started, self.failure = False, None
        self._told_fault = False
        self._prepare_state()
        self._pulse.start()
        logfiles.hold(self)
        if not await self._start_lifespan():
            return
        if self.lifespan.should_exit:
            failure = getattr(self.lifespan, "failure", None)  # a lifespan class of somebody's may have none
            self._give_up(failure or StartupError("Application startup failed. Exiting."), logged=failure is not None)
        if self._released:  # while the loop stood still
            await self._shut_down_lifespan(time.monotonic() + self.config.drain_seconds)
            return
        try:
            passed = [self._listener_of(sock) for sock in sockets or ()]
            listeners = passed or self.config.bind()
            if not passed:
                self._own_listeners = listeners
            await self._accept(listeners)
        except StartupError as exc:
            self._tell_failure(exc)
            await self._shut_down_lifespan(time.monotonic() + self.config.drain_seconds)
            self._leave(exc)
        self._log_started_message([listener.sock for listener in listeners])
        self.started = True

    def _listener_of(self, sock: socket.socket) -> Listener:
        known = (one for one in self._known if one.sock is sock)
        return next(known, None) or Listener(sock, backlog=self.config.backlog)

    async def _start_lifespan(self) -> bool:
        """Wait for the application's startup, and for an order to leave. False when that came first."""
        self.lifespan.tells_failure = not self._supervised
        startup = asyncio.ensure_future(self.lifespan.startup())
        try:
            while not startup.done():
                link = self._master
                if link is not None and (not link.poll() or link.drain is not None):
                    self.should_exit = True
                if self.should_exit:
                    self._release()
                    startup.cancel()
                    while not startup.done() and time.monotonic() < self.leave_by():
                        await asyncio.wait({startup}, timeout=INTERVAL)
                    _log.info("Asked to stop before the application had started.")
                    return False
                await asyncio.wait({startup}, timeout=INTERVAL)
        finally:
            startup.cancel()  # somebody cancelled us; nothing happens to one that is done
        startup.result()
        return True

    def _release(self) -> None:
        """A worker that is told to leave while it starts closes its copies of the listeners at once: clients would wait
        at them for nobody."""
        if self._supervised and self._passed:
            for sock in self._passed:
                sock.close()
            self._passed = []
            self._released = True
            self._say(Drained())

    async def _accept(self, listeners: list[Listener]) -> None:
        """Listen and accept. A worker says Ready, and its master listens when the first one has: before that a socket
        looks to the loop as if everybody had hung up."""
        self._passed = []  # from here on they are the acceptors'
        acceptors = self._acceptors(listeners)
        self.servers = []
        link = self._master
        if link is not None:
            asyncio.get_running_loop().add_reader(link.endpoint.fileno(), self._hear_master)
        if link is None or self._own_listeners:
            listen_all(listeners)
        elif not all(listener.listens for listener in listeners):
            self._serving()
            if not await self._told_to_accept(link):
                return
        for acceptor, listener in zip(acceptors, listeners, strict=True):
            await acceptor.start(listener.backlog)
            self.servers.append(acceptor)
        if self._phase is not Phase.SERVING:
            self._serving()

    def _serving(self) -> None:
        self._phase = Phase.SERVING
        self._say(Ready())

    async def _told_to_accept(self, link: WorkerLink) -> bool:
        """False when the word is that it should leave."""
        while not link.listening and not self.should_exit:
            await self._pulse.beat()
        return link.listening

    def _acceptors(self, listeners: list[Listener]) -> list[Acceptor]:
        loop = asyncio.get_running_loop()
        config, state, lifespan_state = self.config, self.server_state, self.lifespan.state
        state.logs_access = state.access.settle(config.access_log)  # as the application has left it
        protocol: Any = config.http_protocol_class

        factory = partial(protocol, config=config, server_state=state, app_state=lifespan_state, _loop=loop)
        introduced = None
        if config.proxy_protocol:
            from uvicorn.worker.front.proxy_header import Introductions

            introduced = Introductions(loop, factory, state, TrustedProxies(config.forwarded_allow_ips))
        return [
            Acceptor(loop, listener.sock, factory, config.ssl, listener.given, introduced) for listener in listeners
        ]

    def _prepare_state(self) -> None:
        state = self.server_state
        state.draining = state.gave_up = False
        state.on_uvloop = is_uvloop(asyncio.get_running_loop())
        state.outbox = Outbox()  # one that waits for a loop which is gone would wait for ever
        state.configure(self.config)
        state.context = contextvars.copy_context()

    def _log_started_message(self, listeners: list[socket.socket]) -> None:
        if self._master is None:  # a master says it once for all of its workers
            for sock in listeners:
                announce(self.config, sock)

    def _give_up(self, failure: StartupError, logged: bool = False) -> NoReturn:
        self._tell_failure(failure, logged)
        self._leave(failure)

    def _tell_failure(self, failure: StartupError, logged: bool = False) -> None:
        """To the master, which says it once for all of its workers; else to the log, unless it is there already."""
        self.failure = failure
        self.should_exit = True
        text = describe_failure(failure)
        if self._master is not None:
            logged = self._say(Failed(int(failure.exit_code), text))
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
        """Called ten times a second. True ends the main loop. The date is kept up here for whoever calls it himself."""
        if counter % 10 == 0:
            self._renew_default_headers()
        self._check_request_limit()
        self._check_lifespan()
        return self.should_exit

    def _notify_when_due(self) -> None:
        """Call the program back every `timeout_notify` seconds, also while the application starts and shuts down:
        gunicorn's heartbeat hangs on it, and a worker whose loop turns is alive."""
        callback, now = self.config.callback_notify, time.time()
        if callback is None or 0 <= now - self.last_notified <= self.config.timeout_notify:
            return
        if self._notifying is None or self._notifying.done():
            self.last_notified = now
            self._notifying = asyncio.get_running_loop().create_task(self._notify(callback))

    async def _notify(self, callback: Callable[..., Awaitable[None]]) -> None:
        try:
            await callback()
        except Exception:
            _log.exception("callback_notify raised; it is called again in %g s.", self.config.timeout_notify)

    def _check_request_limit(self) -> None:
        """The limit of requests is reached: be replaced, or end where there is nobody to do that."""
        limit, total = self.limit_max_requests, self.server_state.total_requests
        if limit is None or total < limit or self.should_exit or self._asked_to_be_replaced:
            return
        self._asked_to_be_replaced = True
        _log.warning("Maximum request limit of %d exceeded. Terminating process.", limit)
        if self._supervised:
            self._say(Spent(f"has served {total} requests"))
        else:
            self.should_exit = True

    def _check_lifespan(self) -> None:
        """What the application opened is closed: be replaced, or go on where there is nobody to do that."""
        if not self._lifespan_fault or self._told_fault or self.should_exit:
            return
        self._told_fault = True
        if self._supervised:
            self._say(Spent("has lost the application's lifespan", fault=True))
        else:
            at_the_end = (
                "" if self.reraise_signals else " The exit status will be 1."
            )  # else it is the program's affair
            _log.error("Serving goes on without the application's lifespan.%s", at_the_end)

    async def _outlast_debugger(self) -> None:
        """Under `--reload`, go on for as long as a debugger has stopped a thread; the time to leave begins then."""
        link = self._master
        if link is None or not self.config.should_reload:
            return
        since = time.monotonic()
        while debugging.is_asking() and link.poll() and not self.force_exit:
            await self._pulse.beat()
        if link.drain is not None:
            link.drain = link.drain._replace(deadline=link.drain.deadline + time.monotonic() - since)

    async def _delay(self) -> None:
        """Go on serving for the delay that a TERM may have, or until an INT; a master has waited for it before it told
        us."""
        delay = self.config.shutdown_delay
        if not delay or self._supervised or self.drain_as is not None or self._captured[:1] != [signal.SIGTERM]:
            return
        _log.info("Accepting for %g s more, then stopping.", delay)
        until = time.monotonic() + delay
        while not self.force_exit and signal.SIGINT not in self._captured and time.monotonic() < until:
            await self._pulse.beat()

    def _renew_default_headers(self) -> None:
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self.server_state.default_headers = self._default_headers(second)

    def _tick(self) -> None:
        state = self.server_state
        now = time.monotonic()
        if now - state.now > LATE:
            self._ticks = 0  # the loop stood still: what came meanwhile is read before anybody is judged slow
        state.now = now
        self._ticks += 1
        self._renew_default_headers()
        if self._ticks % SWEEP_TICKS == 0 or state.draining:  # the drain's moments are short
            self._sweep(now)
        for acceptor in self.servers:
            acceptor.look()
        if self._ticks % CERTIFICATE_TICKS == 0 and self.config._certificate is not None:
            self.config._certificate.refresh()
        master = self._master
        if master is not None:
            phase = self._phase
            if self.config.should_reload:
                debugging.take_back_interrupt(master.hear_interrupt)
                phase = Phase.ASKING if debugging.is_asking() else phase
            master.beat(now, state.in_flight, phase, state.total_requests)
            if master.reopen:
                master.reopen = False
                self.reopen_logs = True
        if self._terminal is not None:
            self._terminal.look(now)
        self._notify_when_due()
        logfiles.flush()
        if self.reopen_logs:
            self._reopen_logs()

    def _reopen_logs(self) -> None:
        self.reopen_logs = False
        level = logging.INFO if self._master is None else logging.DEBUG  # a master says it once for all of its workers
        _log.log(level, "Log files: %s", logfiles.reopen())
        faults.reopen()

    def _default_headers(self, second: int) -> list[tuple[bytes, bytes]]:
        encoded = self.config.encoded_headers
        if self.config.date_header and b"date" not in dict(encoded):
            return [(b"date", http_date(second)), *encoded]
        return list(encoded)

    def _sweep(self, now: float) -> None:
        keep_alive = self.config.timeout_keep_alive
        for connection in list(self.server_state.connections):
            sweep = getattr(connection, "sweep", None)  # a foreign protocol keeps its own time
            if sweep is not None:
                sweep(now, keep_alive)

    # -- the end -----------------------------------------------------------------------------------------------

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, finish what is in flight within the drain deadline, shut the application down."""
        if not self._supervised:
            self._check_request_limit()  # a program that stops it between two ticks hears of that, too
        _log.info("Shutting down")
        self._phase = Phase.DRAINING
        self.server_state.draining = True
        self._leaving = order = self._order()
        start = time.monotonic()
        self._retire_connections()  # first of all, so that whatever is answered from now on says that it is the last
        await self._stop_accepting(order, start, sockets)
        await self._finish_connections(order, start)
        if not self.force_exit:
            await self._shut_down_lifespan(timetable(self._order(order), start).deadline)
        self._tick()  # the last figures
        self._stop_pulse()
        if self._master is not None:
            asyncio.get_running_loop().remove_reader(self._master.endpoint.fileno())

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
        # Whoever has served its number of requests is under load, and idle clients are about to ask again.
        unhurried = signal.SIGTERM in self._captured or self._asked_to_be_replaced
        mode = DrainMode.STOP if unhurried and signal.SIGINT not in self._captured else DrainMode.INTERRUPT
        mode, seconds = self.drain_as or (mode, self.config.drain_seconds)
        order = Drain(mode, time.monotonic() + seconds)
        return order if so_far is None else so_far.merged(order)

    async def _stop_accepting(self, order: Drain, start: float, sockets: list[socket.socket] | None) -> None:
        until = timetable(order, start).refuse_at
        for acceptor in self.servers:
            # The queue is for whoever listens after us: siblings, or the next process that is given this descriptor.
            if order.mode in (DrainMode.RETIRE, DrainMode.CUT) or acceptor.given:
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

    def leave_by(self) -> float:
        """By when a process that did nothing but serve must have left, in seconds of the monotonic clock. A master
        hears meanwhile that we are not stuck."""
        now, link = time.monotonic(), self._master
        if link is not None:
            link.beat(now, 0, Phase.DRAINING, self.server_state.total_requests)
        if self.force_exit or (link is not None and self.failure is not None):
            return 0.0
        if self._leaving is None and self.failure is not None:
            self._leaving = Drain(DrainMode.INTERRUPT, now + FAILED_SECONDS)
        self._leaving = self._order(self._leaving)
        return self._leaving.deadline

    def _retire_connections(self) -> None:
        for connection in list(self.server_state.connections):
            getattr(connection, "retire", connection.shutdown)()

    async def _finish_connections(self, order: Drain, start: float) -> None:
        state = self.server_state
        self._retire_connections()
        while state.connections or state.tasks:
            order = self._order(order)
            times, now = timetable(order, start), time.monotonic()
            if self.force_exit or now >= times.end:
                await self._abort()
                return
            if now >= times.idle_until:
                grace = 0.0 if order.mode is DrainMode.INTERRUPT else IDLE_GRACE
                self._close_idle(now - grace)
            if now >= times.disconnect_at:  # each time: a request may have begun since
                for connection in list(state.connections):
                    getattr(connection, "disconnect", connection.shutdown)()
            await asyncio.sleep(0)  # what closed just now is gone after one turn of the loop
            if state.connections or state.tasks:
                await self._pulse.beat()

    def _close_idle(self, since: float) -> None:
        """Somebody else's class knows one way to be told of the end."""
        for connection in list(self.server_state.connections):
            close_idle = getattr(connection, "close_idle", None)
            if close_idle is None:
                connection.shutdown()
            else:
                close_idle(since)

    async def _abort(self) -> None:
        """End what is left: the time is over."""
        from uvicorn.worker.loop.tasks import request_of

        state = self.server_state
        tasks = set(state.tasks)
        state.gave_up = True
        if tasks:
            _log.error("Cancel %d running task(s), timeout graceful shutdown exceeded", len(tasks))
            if named := [name for task in tasks if (name := request_of(task))]:
                _log.error("They serve:\n%s", listed(sorted(named)))
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

    def _stop_pulse(self) -> None:
        self._pulse.stop()
        logfiles.release(self)  # the lines of the last tick

    def _let_go(self) -> None:
        """Hold nothing any more. Nothing is left to do after a `shutdown`; a cancelled `serve` leaves by this alone."""
        for acceptor in self.servers:
            acceptor.close()
        self.servers = []
        for listener in self._own_listeners:
            listener.close()
        self._own_listeners = []
        self.server_state.gave_up = True
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in list(self.server_state.connections):
            getattr(connection, "abort", connection.shutdown)()
        self._stop_pulse()

    # -- the master --------------------------------------------------------------------------------------------

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

    def report_in_flight(self, sig: int, frame: FrameType | None) -> None:
        """The handler for a master that suspects a hang: what is in flight, written where it looks for it."""
        link, state = self._master, self.server_state
        if link is None:
            return
        link.hear_interrupt(sig, frame)
        last = link.heartbeat.read().at
        held = debugging.is_held(frame, time.monotonic() - last)
        if held or debugging.is_asking():
            phase = Phase.HELD if held else Phase.ASKING
            link.heartbeat.beat(last, state.in_flight, phase, state.total_requests)
            return
        # A turn that works through many requests is no hang: whoever has answered since the last tick still turns.
        beat = max(last, state.outbox.last)
        link.heartbeat.beat(beat, state.in_flight, self._phase, state.total_requests)
        if link.report_fd >= 0:
            os.write(link.report_fd, in_flight(list(state.connections), time.monotonic()))

    def _say(self, message: Ready | Drained | Failed | Spent) -> bool:
        """Whether a master was there to be told."""
        if self._master is None:
            return False
        try:
            self._master.say(message)
        except ChannelClosed:
            self.should_exit = True
            return False
        return True


_STARTED = "Started server process [\x1b[36m%d\x1b[0m]"
_FINISHED = "Finished server process [\x1b[36m%d\x1b[0m]"
