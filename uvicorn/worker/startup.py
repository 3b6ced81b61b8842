"""How a server starts: the application first, then its sockets.

    lifespan's startup → bind, or take the sockets that were passed → listen → accept

Below a master the sockets are bound already and shared with other workers. A worker reports Ready; the master listens
when the first one has, and the worker accepts once it hears of that: to an event loop a socket that is only bound looks
as if every peer had hung up.

Owns: the sockets until acceptors have them. Must not: say what a failure means for the process; that is `Server._fail`.
Fails by: SystemExit from there, after the application was shut down.
"""

from __future__ import annotations

import logging
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from uvicorn.errors import StartupError
from uvicorn.net.sockets import Listener, listen_all
from uvicorn.process.channel import Drained
from uvicorn.surface.later import Later
from uvicorn.worker.front.acceptor import Acceptor
from uvicorn.worker.loop.kinds import is_uvloop
from uvicorn.worker.loop.pulse import EACH_TICK, INTERVAL, NEVER, Pulse
from uvicorn.worker.masterlink import MasterLink
from uvicorn.worker.shutdown import Shutdown
from uvicorn.worker.transport.outbox import Outbox

if TYPE_CHECKING:
    import asyncio
    import contextvars

    from uvicorn.config import Config
    from uvicorn.worker.server import Server
else:
    asyncio = Later("asyncio", globals())
    contextvars = Later("contextvars", globals())

_log = logging.getLogger("uvicorn.error")


def preload(config: Config) -> None:
    """Import what a server with these settings needs beside their components, but not for a plain request.

    A master does this before it forks, so that its workers share the memory and import nothing; a server without one
    does it once it accepts, so that it starts sooner, and nobody's request waits for it.
    """
    from uvicorn.worker.websockets import upgrade  # noqa: F401

    if config._serves_http2:
        from uvicorn.worker.http2 import takeover  # noqa: F401
    try:
        getattr(config.ws_protocol_class, "codec_class", None)
    except ImportError as exc:
        _log.error("WebSockets are not served: %s.", exc)
        config.ws_protocol_class = None


class Startup:
    """The start of one server, which may start and stop more than once."""

    def __init__(self, server: Server, pulse: Pulse, master: MasterLink, shutdown: Shutdown) -> None:
        self._server = server
        self._master = master
        self._shutdown = shutdown
        self._unused: list[socket.socket] = []
        self._released = False
        pulse.every(EACH_TICK, self._look_at_acceptors)
        self._preloading = pulse.every(EACH_TICK, self._preload)

    def expect(self, sockets: list[socket.socket] | None) -> None:
        """These were passed to the server, which has not started yet."""
        self._unused, self._released = list(sockets or ()), False

    def release(self) -> None:
        """Stop before it has started: a worker closes its copies of the sockets at once, or clients would be queued
        for nobody."""
        if self._master.exists and self._unused:
            for sock in self._unused:
                sock.close()
            self._unused = []
            self._released = True
            self._master.report(Drained())

    def prepare(self) -> None:
        """What has to be there before the first tick."""
        from uvicorn.worker.websockets.upgrade import upgrade

        server = self._server
        state = server.server_state
        state.draining = state.gave_up = False
        state.on_uvloop = is_uvloop(asyncio.get_running_loop())
        state.outbox = Outbox()  # one that waits for a loop which has ended would wait for ever
        state.configure(server.config)
        state.upgrade = upgrade
        if server.config._serves_http2:
            from uvicorn.worker.http2.takeover import take_over

            state.http2 = take_over
        state.context = contextvars.copy_context()

    async def run(self, sockets: list[socket.socket] | None) -> bool:
        """Start the application and accept. False when it was to stop before that."""
        server = self._server
        if not await self._start_lifespan():
            return False
        if server.lifespan.should_exit:
            failure = getattr(server.lifespan, "failure", None)  # a lifespan class of somebody else's may have none
            server._fail(failure or StartupError("Application startup failed. Exiting."), logged=failure is not None)
        if self._released:  # while the loop was blocked
            await self._end_lifespan()
            return False
        try:
            listeners = [self._listener_of(sock) for sock in sockets or ()]
            if not listeners:
                listeners = server._bound = server.config.bind()
            await self._accept(listeners)
        except StartupError as exc:
            server._report_failure(exc)
            await self._end_lifespan()
            server._leave(exc)
        server._log_started_message([listener.sock for listener in listeners])
        return True

    async def _start_lifespan(self) -> bool:
        """Wait for the application's startup, or for the word to stop. False when that came first."""
        server = self._server
        server.lifespan.tells_failure = not self._master.exists
        startup = asyncio.ensure_future(server.lifespan.startup())
        try:
            while not startup.done():
                if self._master.says_leave():
                    server.should_exit = True
                if server.should_exit:
                    self.release()
                    startup.cancel()
                    while not startup.done() and time.monotonic() < self._shutdown.leave_by():
                        await asyncio.wait({startup}, timeout=INTERVAL)
                    _log.info("Asked to stop before the application had started.")
                    return False
                await asyncio.wait({startup}, timeout=INTERVAL)
        finally:
            startup.cancel()  # for when we are cancelled; nothing happens to one that is done
        startup.result()
        return True

    async def _end_lifespan(self) -> None:
        await self._shutdown.end_lifespan(time.monotonic() + self._server.config.drain_seconds)

    def _listener_of(self, sock: socket.socket) -> Listener:
        known = (one for one in self._server._known_listeners if one.sock is sock)
        return next(known, None) or Listener(sock, backlog=self._server.config.backlog)

    async def _accept(self, listeners: list[Listener]) -> None:
        server, master = self._server, self._master
        self._unused = []  # from here on they are the acceptors'
        acceptors = self._acceptors(listeners)
        server.servers = []
        master.listen()
        if not master.exists or server._bound:
            listen_all(listeners)
        elif not all(listener.listens for listener in listeners):
            master.report_ready()
            if not await master.wait_until_listening():
                return
        for acceptor, listener in zip(acceptors, listeners, strict=True):
            await acceptor.start(listener.backlog)
            server.servers.append(acceptor)
        master.report_ready()

    def _acceptors(self, listeners: list[Listener]) -> list[Acceptor]:
        loop = asyncio.get_running_loop()
        server = self._server
        config, state = server.config, server.server_state
        state.logs_access = state.access.settle(config.access_log)  # as the application has left it
        protocol: Any = config.http_protocol_class
        factory = partial(protocol, config=config, server_state=state, app_state=server.lifespan.state, _loop=loop)
        read_header = None
        if config.proxy_protocol:
            from uvicorn.net.proxies import TrustedProxies
            from uvicorn.worker.front.proxy_header import ProxyHeaders

            read_header = ProxyHeaders(loop, factory, state, TrustedProxies(config.forwarded_allow_ips))
        return [
            Acceptor(loop, listener.sock, factory, config.ssl, listener.inherited, read_header)
            for listener in listeners
        ]

    def _preload(self, now: float) -> None:
        if self._server.started:
            self._preloading.seconds = NEVER
            preload(self._server.config)

    def _look_at_acceptors(self, now: float) -> None:
        for acceptor in self._server.servers:
            acceptor.resume_if_possible()
