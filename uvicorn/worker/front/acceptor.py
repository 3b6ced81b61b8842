"""From a listening socket to connections: how accepting starts and stops, and how the kernel's queue is emptied.

Two implementations behind one interface. On uvloop, plain TCP goes through the loop's own server, which costs half as
much as an accept in Python. Everything else uses a reader on the listening socket, because asyncio's `Server.close()`
drops connections that it has just accepted, the loops' Unix servers remove the path when any process closes its copy,
no loop's server says which TLS handshakes are in progress, and none lets us read a PROXY header before TLS.

States: new → accepting ⇄ paused (few descriptors are left: clients wait in the queue) → stopped (the queue is for other
processes) → closed. Owns: a copy of the socket, and the tasks that turn accepted sockets into connections. Must not:
know what a connection is. Fails by: when `accept` fails for want of memory or descriptors, the client stays in the
queue, an error is logged once a second at most, and it is tried again.
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

    ReadHeader = Callable[[socket.socket, Any], Awaitable[Callable[[], asyncio.Protocol] | None]]
else:
    asyncio = Later("asyncio", globals())

from uvicorn.net.addresses import address
from uvicorn.worker.front.descriptors import Descriptors
from uvicorn.worker.loop.kinds import is_uvloop

ACCEPTS_PER_WAKE = 16
"""Most connections that are accepted at once. Workers share the queue: one that emptied it would serve it alone."""

UNSENT = 131072
"""Bytes that the kernel buffers for a connection before they are sent (TCP_NOTSENT_LOWAT); connections inherit it. The
kernel's default is megabytes: a thousand clients that read nothing would cost gigabytes, and filling those buffers
would block the loop for seconds."""
RETRY_SECONDS = 1.0
"""Seconds until `accept` is tried again after it failed for want of memory or descriptors."""
DRAIN_RETRY_SECONDS = 0.05
"""The same while the queue is emptied."""
WARNING_SECONDS = 10.0
"""The least time between two warnings that descriptors run out."""

SETUP_SECONDS = 1.0
"""How long a stop waits for connections that are being set up."""
HANDSHAKE_SECONDS = 30.0
"""How long a client has for its TLS handshake."""
TLS_SHUTDOWN_SECONDS = 86400.0
"""When the loop aborts a TLS connection that is being closed. The loop counts from the call of `close` and would cut a
long response short, so this is out of reach: `Connection.sweep` ends such connections once everything was sent."""

_log = logging.getLogger("uvicorn.error")


class Acceptor:
    """Accepts on one listening socket. Has what programs use of `asyncio.Server`: `sockets`, `close`, `is_serving`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
        inherited: bool = False,
        read_header: ReadHeader | None = None,
    ) -> None:
        """`read_header` reads a PROXY header. It gives the connection's factory; None: it has closed the socket."""
        sock.setblocking(False)
        self.inherited = inherited  # from the listener: decides how a server stops accepting
        if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._loop = loop
        self._sock = sock
        self._factory = factory
        self._tls = tls
        self._read_header = read_header
        plain_tcp = tls is None and read_header is None and sock.family in (socket.AF_INET, socket.AF_INET6)
        self._uses_server = is_uvloop(loop) and plain_tcp
        self._server: asyncio.AbstractServer | None = None
        self._descriptors = Descriptors(sock.fileno())
        self._backlog = 0
        self._paused = self._exhausted = False
        self._warned_at = 0.0
        self._resuming: asyncio.Task[None] | None = None
        self._reading = False
        self._retry: asyncio.TimerHandle | None = None
        self._being_set_up: dict[asyncio.Task[None], socket.socket] = {}

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return () if self._sock.fileno() < 0 else (self._sock,)

    @property
    def open_sockets(self) -> list[Any]:
        """Every socket that is open here and not a connection's: the listener, its copies, and those being set up."""
        copies = getattr(self._server, "sockets", ())
        return [self._sock, *copies, *self._being_set_up.values()]

    def is_serving(self) -> bool:
        return self._reading or self._paused or self._server is not None

    async def start(self, backlog: int) -> None:
        """Begin to accept. The socket listens already, with this backlog; uvloop's server sets it again."""
        self._backlog = backlog
        if not self._uses_server:
            try:
                self._read()
                return
            except NotImplementedError:  # asyncio's loop on Windows has no readers
                self._reading, self._uses_server = False, True
        tls: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls, **_tls_shutdown(self._loop)}
        self._server = await self._loop.create_server(
            self._counting_factory, sock=self._sock.dup(), backlog=backlog, **tls
        )

    def _counting_factory(self) -> asyncio.Protocol:
        """uvloop's server accepts one connection in a turn of the loop, so to pause in the next turn is soon enough."""
        if not self._descriptors.room() and not self._paused:
            self._paused = True
            self._loop.call_soon(self._pause)
        return self._factory()

    def _pause(self) -> None:
        """Leave new clients in the kernel's queue."""
        if self._server is None and not self._reading:  # it was stopped in the meantime
            self._paused = False
            return
        self._paused = True
        self._stop_reading()
        if self._server is not None:
            self._server.close()
            self._server = None
        now = time.monotonic()
        if now - self._warned_at > WARNING_SECONDS:
            _log.warning("The limit of open files is near: new connections wait until others have left (ulimit -n).")
            self._warned_at = now

    def resume_if_possible(self) -> None:
        """Accept again after a pause, once there are descriptors. Called by the worker's one timer."""
        if self._paused and self._resuming is None and self._descriptors.room():
            self._resuming = self._loop.create_task(self._resume())

    async def _resume(self) -> None:
        try:
            self._paused = False
            await self.start(self._backlog)
        except OSError as exc:
            if self._sock.fileno() >= 0:
                self._paused = True
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
                self._pause()
                return
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        self._exhausted = False
        try:
            sock, peer = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:
            return True  # that client left while it waited; others may be behind it
        except OSError as exc:
            self._exhausted = exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
            if self._exhausted and self._reading:
                _log.error("Cannot accept a connection: %s. Trying again.", exc.strerror)
                self._stop_reading()
                self._retry = self._loop.call_later(RETRY_SECONDS, self._read)
            return False
        sock.setblocking(False)
        task = self._loop.create_task(self._set_up(sock, peer))
        self._being_set_up[task] = sock
        task.add_done_callback(self._being_set_up.pop)
        return True

    async def _set_up(self, sock: socket.socket, peer: Any) -> None:
        """Make an accepted socket a connection."""
        try:
            factory = self._factory if self._read_header is None else await self._read_header(sock, peer)
            if factory is None:
                return
            if self._tls is None:
                await self._loop.connect_accepted_socket(factory, sock)
            else:
                await self._loop.connect_accepted_socket(
                    factory,
                    sock,
                    ssl=self._tls,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS,
                    **_tls_shutdown(self._loop),
                )
        except OSError as exc:  # SSLError is one: not TLS (plain HTTP, a scanner), no certificate, or too slow
            _log.debug("A connection from %s was lost while it was set up: %s", address(peer), exc)
            sock.close()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    async def stop(self) -> None:
        """Stop accepting, and leave the queue to other processes. Sockets that were accepted become connections."""
        await self._stop_accepting()
        await self._finish_setting_up()

    async def _stop_accepting(self) -> None:
        self._paused = False
        self._stop_reading()
        if self._resuming is not None:
            await asyncio.wait({self._resuming})
            self._stop_reading()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            await asyncio.sleep(0)

    async def _finish_setting_up(self) -> None:
        """Let accepted sockets become connections. A client that is slow with its TLS handshake is not waited for."""
        if self._being_set_up:
            await asyncio.wait(set(self._being_set_up), timeout=SETUP_SECONDS)

    async def drain(self, until: float) -> None:
        """Accept what is in the queue, and close our copy of the socket as soon as the queue is empty.

        Clients that connect again at once can keep the queue from ever being empty, so the socket is closed at `until`
        (seconds of the monotonic clock) in any case.
        """
        await self._stop_accepting()
        while time.monotonic() < until:
            taken = 0
            while taken < ACCEPTS_PER_WAKE and self._accept_one():
                taken += 1
            if self._exhausted:
                await asyncio.sleep(DRAIN_RETRY_SECONDS)  # connections close while the server drains
            elif not taken:
                break
            await asyncio.sleep(0)
        self._sock.close()
        await self._finish_setting_up()

    def close(self) -> None:
        """Close at once. Call `stop` or `drain` first, or connections that were just accepted are lost."""
        self._paused = False
        self._stop_reading()
        if self._server is not None:
            self._server.close()
            self._server = None
        self._sock.close()

    async def wait_closed(self) -> None:
        """For programs that treat this as an `asyncio.Server`; `close` leaves nothing to wait for."""


def _tls_shutdown(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """asyncio has this option since Python 3.11; before, it waits without bound."""
    old = sys.version_info < (3, 11) and not is_uvloop(loop)
    return {} if old else {"ssl_shutdown_timeout": TLS_SHUTDOWN_SECONDS}
