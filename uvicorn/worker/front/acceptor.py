"""From a listening socket to connections; how accepting starts, stops, and empties the kernel's queue.

Two ways in, one interface. On uvloop, plain TCP goes through the loop's own server, which costs half of an accept made
in Python. Everything else is a reader on the listening socket: asyncio's `Server.close()` drops what it has just
accepted, the loops' Unix servers unlink the path when any process closes its copy, no loop's server says which
TLS handshakes are still on their way, and none lets anybody read a PROXY header before them.

States: new → accepting ⇄ held (descriptors run out: who comes waits in the queue, `look` goes on) → stopped (the queue
fills up for others) → closed. Owns: a copy of the socket, and the tasks that turn accepted sockets into connections.
Must not: know what a connection is. Fails by: what `accept` cannot give now (out of memory, or of descriptors for the
whole system) stays in the queue, is logged once a second at most, and is tried again.
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from uvicorn.surface.later import Later

if TYPE_CHECKING:
    import asyncio
    import ssl

    Introduced = Callable[[socket.socket, Any], Awaitable[Callable[[], asyncio.Protocol] | None]]
else:
    asyncio = Later("asyncio", globals())

from uvicorn.net.addresses import address
from uvicorn.worker.front.descriptors import Descriptors
from uvicorn.worker.loop.kinds import is_uvloop

ACCEPTS_PER_WAKE = 16
"""Siblings share the queue: a worker that took all of it at once would serve it alone."""

UNSENT = 131072
"""Bytes that the kernel takes for a connection and cannot send yet. Its own bound is megabytes: a thousand readers that
take nothing would hold gigabytes of it, and filling them would keep the loop for seconds. Connections inherit it."""
RETRY_SECONDS = 1.0
STARVED_SECONDS = 0.05
QUIET_SECONDS = 10.0
"""Seconds between two lines that say that descriptors run out."""

SETTLING = 1.0
"""Seconds that a stop waits for connections which are being set up."""
HANDSHAKE_DEADLINE = 30.0
"""Seconds that a client has for its TLS handshake."""
FAREWELL = 86400.0
"""Seconds after which a loop cuts a TLS connection that is being closed. It counts from the call of `close`, and would
cut a long response short: `Connection.sweep` ends them, once everything was sent."""

_log = logging.getLogger("uvicorn.error")


class Acceptor:
    """Accepts on one listening socket. Has the interface of `asyncio.Server` that programs use: `sockets`, `close`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
        inherited: bool = False,
        introduced: Introduced | None = None,
    ) -> None:
        """`introduced` says by which factory a socket becomes a connection; None from it: it is none, and closed."""
        sock.setblocking(False)
        self.inherited = inherited  # from the listener: decides how a server stops accepting
        if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._loop = loop
        self._sock = sock
        self._factory = factory
        self._tls = tls
        self._introduced = introduced
        self._by_loop = (
            is_uvloop(loop) and tls is None and introduced is None and sock.family in (socket.AF_INET, socket.AF_INET6)
        )
        self._server: asyncio.AbstractServer | None = None
        self._descriptors = Descriptors(sock.fileno())
        self._backlog = 0
        self._held = self._starved = False
        self._told_at = 0.0
        self._resuming: asyncio.Task[None] | None = None
        self._reading = False
        self._retry: asyncio.TimerHandle | None = None
        self._opening: dict[asyncio.Task[None], socket.socket] = {}

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return () if self._sock.fileno() < 0 else (self._sock,)

    @property
    def held(self) -> list[Any]:
        """Every socket that is no connection yet, or never will be one: whatever has a descriptor here."""
        by_loop = getattr(self._server, "sockets", ())
        return [self._sock, *by_loop, *self._opening.values()]

    def is_serving(self) -> bool:
        return self._reading or self._held or self._server is not None

    async def start(self, backlog: int) -> None:
        """Begin to accept. The socket listens already, with this backlog: uvloop's server sets it once more."""
        self._backlog = backlog
        if not self._by_loop:
            try:
                self._read()
                return
            except NotImplementedError:  # asyncio's loop on Windows: it has its server and no readers
                self._reading, self._by_loop = False, True
        tls: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls, **_farewell(self._loop)}
        self._server = await self._loop.create_server(
            self._watched_factory, sock=self._sock.dup(), backlog=backlog, **tls
        )

    def _watched_factory(self) -> asyncio.Protocol:
        """uvloop's server accepts one connection in a turn: a hold that is put into the next comes soon enough."""
        if not self._descriptors.room() and not self._held:
            self._held = True
            self._loop.call_soon(self._hold)
        return self._factory()

    def _hold(self) -> None:
        """Leave who comes in the kernel's queue."""
        if self._server is None and not self._reading:  # stopped in between
            self._held = False
            return
        self._held = True
        self._pause()
        if self._server is not None:
            self._server.close()
            self._server = None
        now = time.monotonic()
        if now - self._told_at > QUIET_SECONDS:
            _log.warning("The limit of open files is near: new connections wait until others have left (ulimit -n).")
            self._told_at = now

    def look(self) -> None:
        """Go on after a hold, if there is room again. Called by the worker's one timer."""
        if self._held and self._resuming is None and self._descriptors.room():
            self._resuming = self._loop.create_task(self._resume())

    async def _resume(self) -> None:
        try:
            self._held = False
            await self.start(self._backlog)
        except OSError as exc:
            if self._sock.fileno() >= 0:
                self._held = True
                _log.error("Cannot accept connections: %s. Trying again.", exc.strerror)
        finally:
            self._resuming = None

    def _read(self) -> None:
        self._retry = None
        self._reading = True
        self._loop.add_reader(self._sock.fileno(), self._accept_some)

    def _accept_some(self) -> None:
        for _ in range(ACCEPTS_PER_WAKE):
            if not self._descriptors.room():
                self._hold()
                return
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        self._starved = False
        try:
            sock, peer = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:
            return True  # the peer left while it waited: the next one may still be there
        except OSError as exc:
            self._starved = exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
            if self._starved and self._reading:
                _log.error("Cannot accept a connection: %s. Trying again.", exc.strerror)
                self._pause()
                self._retry = self._loop.call_later(RETRY_SECONDS, self._read)
            return False
        sock.setblocking(False)
        task = self._loop.create_task(self._open(sock, peer))
        self._opening[task] = sock
        task.add_done_callback(self._opening.pop)
        return True

    async def _open(self, sock: socket.socket, peer: Any) -> None:
        try:
            factory = self._factory if self._introduced is None else await self._introduced(sock, peer)
            if factory is None:
                return
            if self._tls is None:
                await self._loop.connect_accepted_socket(factory, sock)
            else:
                await self._loop.connect_accepted_socket(
                    factory,
                    sock,
                    ssl=self._tls,
                    ssl_handshake_timeout=HANDSHAKE_DEADLINE,
                    **_farewell(self._loop),
                )
        except OSError as exc:  # an SSLError is one: no TLS (plain HTTP, a scanner), no certificate, no time left
            _log.debug("A connection from %s was lost while it was set up: %s", address(peer), exc)
            sock.close()

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    async def stop(self) -> None:
        """Accept no more and leave the queue to whoever else listens; what was accepted becomes a connection."""
        await self._stop_reading()
        await self._settle()

    async def _stop_reading(self) -> None:
        self._held = False
        self._pause()
        if self._resuming is not None:
            await asyncio.wait({self._resuming})
            self._pause()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            await asyncio.sleep(0)

    async def _settle(self) -> None:
        """Let what was accepted become a connection. A client that is slow with its handshake is not waited for."""
        if self._opening:
            await asyncio.wait(set(self._opening), timeout=SETTLING)

    async def drain(self, until: float) -> None:
        """Accept what waits in the queue, and close our copy right after the queue was seen empty.

        Clients that come back at once can keep it from ever being empty: at `until` (seconds, monotonic) it is closed
        all the same.
        """
        await self._stop_reading()
        while time.monotonic() < until:
            taken = 0
            while taken < ACCEPTS_PER_WAKE and self._accept_one():
                taken += 1
            if self._starved:
                await asyncio.sleep(STARVED_SECONDS)  # some leave while the server drains
            elif not taken:
                break
            await asyncio.sleep(0)
        self._sock.close()
        await self._settle()

    def close(self) -> None:
        """Close at once. `stop` or `drain` first, or what was just accepted is lost."""
        self._held = False
        self._pause()
        if self._server is not None:
            self._server.close()
            self._server = None
        self._sock.close()

    async def wait_closed(self) -> None:
        """As `asyncio.Server` has it; `close` leaves nothing to wait for."""


def _farewell(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """asyncio has that setting from Python 3.11 on; before, it waits for ever by itself."""
    old = sys.version_info < (3, 11) and not is_uvloop(loop)
    return {} if old else {"ssl_shutdown_timeout": FAREWELL}
