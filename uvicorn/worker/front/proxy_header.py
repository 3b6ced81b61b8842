"""The PROXY header in front of a connection: it is read from the accepted socket, before anything else is.

The bytes are peeked at, and only those of the header are consumed, so TLS or HTTP finds the socket as if there had been
no header, in every loop. Without `--proxy-protocol` none of this runs.

A socket that waits for its header is one of the server's connections: a drain treats it as idle, and a sweep ends it
when it is late. The proxy must be a trusted one. The client that it names is the peer from then on, also when it is
decided whether forwarded fields are believed: the proxy may pass on fields that this client wrote.

Owns: an accepted socket until it becomes a connection. Must not: know the header's form, or what the connection does.
Fails by: closing the socket, with one log line at level info; without a line if the peer never sent a byte.
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


class ProxyHeaders:
    """For an acceptor: reads the header of an accepted socket, and gives what makes its protocol."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, factory: Factory, state: ServerState, trusted: TrustedProxies
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._state = state
        self._trusted = trusted

    async def __call__(self, sock: socket.socket, peer: Any) -> Factory | None:
        """Read the header. None without an acceptable one; the socket is closed then."""
        if not self._trusted.trusts(address(peer), address(sock.getsockname())):
            sock.close()
            _log_refusal(peer, "not from a trusted proxy (--forwarded-allow-ips)", b"")
            return None
        header = await PendingSocket(self._loop, self._state, sock, peer).header()
        return None if header is None else partial(_FirstProtocol, self._factory, header)


class PendingSocket:
    """A socket whose header is not complete yet. Has the methods that a server calls on its connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, state: ServerState, sock: socket.socket, peer: Any) -> None:
        self._loop = loop
        self._state = state
        self._sock = sock
        self._peer = peer
        self._reader = HeaderReader()
        self._since = state.now
        self._ended = False
        self._readable_or_ended: asyncio.Future[None] | None = None

    async def header(self) -> Header | None:
        """None if it was refused, did not come in time, or the server stops; the socket is closed then."""
        self._state.connections.add(self)
        try:
            while self._reader.header is None and not self._ended:
                if not self._read():
                    await self._wait()
            return self._reader.header
        except (Malformed, OSError) as exc:
            if isinstance(exc, Malformed) or self._reader.taken:
                _log_refusal(self._peer, str(exc), self._reader.taken)
            return None
        finally:
            self._state.connections.discard(self)
            if self._reader.header is None:
                self._sock.close()

    def _read(self) -> bool:
        """Read what has arrived of the header. False if nothing has."""
        try:
            data = self._sock.recv(LONGEST, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            raise ConnectionResetError("the connection ended within the header")
        self._sock.recv(self._reader.take(data))
        return True

    async def _wait(self) -> None:
        """Wait until the socket is readable, or the server ends this."""
        self._readable_or_ended = self._loop.create_future()
        self._loop.add_reader(self._sock.fileno(), self._wake)
        try:
            await self._readable_or_ended
        finally:
            self._loop.remove_reader(self._sock.fileno())

    def _wake(self) -> None:
        if self._readable_or_ended is not None and not self._readable_or_ended.done():
            self._readable_or_ended.set_result(None)

    # -- what the server calls --------------------------------------------------------------------------------

    def sweep(self, now: float, keep_alive: float) -> None:
        """Close if the header takes longer than the head of a request may."""
        if now - self._since > self._state.limits.header_time and not self._ended:
            if self._reader.taken:
                _log_refusal(self._peer, "not complete in time", self._reader.taken)
            self.shutdown()

    def shutdown(self) -> None:
        """Close now: there was no request yet."""
        self._ended = True
        self._wake()

    abort = shutdown

    def retire(self) -> None:
        """Nothing to do: the connection that follows the header answers one request, and closes."""

    def disconnect(self) -> None:
        """Nothing to do: no application was called."""


class _FirstProtocol(asyncio.Protocol):
    """The first protocol of a connection: replaces itself at once by the real one, and gives that the header."""

    def __init__(self, factory: Factory, header: Header) -> None:
        self._factory = factory
        self._header = header

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        protocol = self._factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        apply = getattr(protocol, "apply_proxy_header", None)  # a program's own class (`http=`) has no such method
        if apply is not None and not self._header.local:
            apply(self._header.source, self._header.destination, self._header.tls)


def _log_refusal(peer: Any, reason: str, begin: bytes) -> None:
    _log.info("PROXY header refused. %s - %s: %r", shown(address(peer)), reason, begin[:64])
