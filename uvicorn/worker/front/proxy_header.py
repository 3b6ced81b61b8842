"""Connections that a PROXY header introduces: the header is read from the accepted socket, before anything else is.

The bytes are peeked at and only those of the header are taken, so whatever comes next finds the socket as if the
header had never been there: TLS as well as plain HTTP, in every loop. Without `--proxy-protocol` none of this exists.

A socket that waits for its header is among the server's connections: idle for a drain, late for a sweep. The proxy has
to be a trusted one. Whom it names is the client from then on, also for the question whether forwarded fields are
believed: the proxy may pass on what that client wrote.

Owns: an accepted socket until it becomes a connection. Must not: know the header's form, or what the connection does.
Fails by: closing the socket, with one line at a low level; silently where the peer never sent a byte.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.net.addresses import address
from uvicorn.net.proxies import TrustedProxies
from uvicorn.net.proxy_protocol import LONGEST, Header, HeaderReader, Malformed
from uvicorn.worker.access.log import shown
from uvicorn.worker.http.state import ServerState

_log = logging.getLogger("uvicorn.error")

Factory = Callable[[], asyncio.Protocol]


class Introductions:
    """For an acceptor: from an accepted socket to what makes its protocol."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, factory: Factory, state: ServerState, trusted: TrustedProxies
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._state = state
        self._trusted = trusted

    async def __call__(self, sock: socket.socket, peer: Any) -> Factory | None:
        """Read the header. None when there is no acceptable one: the socket is closed then."""
        if not self._trusted.trusts(address(peer), address(sock.getsockname())):
            sock.close()
            _refused(peer, "not from a trusted proxy (--forwarded-allow-ips)", b"")
            return None
        waiting = Waiting(self._loop, self._state, sock, peer)
        header = await waiting.header()
        return None if header is None else partial(_Introduced, self._factory, header)


class Waiting:
    """A socket whose header is not complete. Has the methods that a server calls on its connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, state: ServerState, sock: socket.socket, peer: Any) -> None:
        self._loop = loop
        self._state = state
        self._sock = sock
        self._peer = peer
        self._reader = HeaderReader()
        self._since = state.now
        self._ended = False
        self._changed: asyncio.Future[None] | None = None

    async def header(self) -> Header | None:
        """None when it was refused, did not come in time, or nobody has time for it any more: closed then."""
        self._state.connections.add(self)
        try:
            while self._reader.header is None and not self._ended:
                if not self._take():
                    await self._readable()
            return self._reader.header
        except (Malformed, OSError) as exc:
            if isinstance(exc, Malformed) or self._reader.taken:
                _refused(self._peer, str(exc), self._reader.taken)
            return None
        finally:
            self._state.connections.discard(self)
            if self._reader.header is None:
                self._sock.close()

    def _take(self) -> bool:
        """Take what is there of the header. False when nothing is."""
        try:
            data = self._sock.recv(LONGEST, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            raise ConnectionResetError("the connection ended within the header")
        self._sock.recv(self._reader.take(data))
        return True

    async def _readable(self) -> None:
        self._changed = self._loop.create_future()
        self._loop.add_reader(self._sock.fileno(), self._wake)
        try:
            await self._changed
        finally:
            self._loop.remove_reader(self._sock.fileno())

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    # -- the server's calls ------------------------------------------------------------------------------------

    def sweep(self, now: float, keep_alive: float) -> None:
        """End what takes longer than a request's head may."""
        if now - self._since > self._state.limits.header_time and not self._ended:
            if self._reader.taken:
                _refused(self._peer, "not complete in time", self._reader.taken)
            self.shutdown()

    def shutdown(self) -> None:
        """Nothing was asked yet: it ends now."""
        self._ended = True
        self._wake()

    abort = shutdown

    def retire(self) -> None:
        """A header that still comes is followed by one request."""

    def disconnect(self) -> None:
        """Nobody to tell."""


class _Introduced(asyncio.Protocol):
    """Stands at a connection's beginning and leaves it at once to the protocol proper, which it tells the header."""

    def __init__(self, factory: Factory, header: Header) -> None:
        self._factory = factory
        self._header = header

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        protocol = self._factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        introduce = getattr(protocol, "introduce", None)  # a foreign class (`http=`) has no such method
        if introduce is not None and not self._header.local:
            introduce(self._header.source, self._header.destination, self._header.tls)


def _refused(peer: Any, reason: str, begin: bytes) -> None:
    _log.info("PROXY header refused. %s - %s: %r", shown(address(peer)), reason, begin[:64])
