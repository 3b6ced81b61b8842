"""The base of our protocols: its transport, the bytes that were not written yet, and flow control both ways.

Responses leave with those of other connections at the end of the loop's turn (`outbox`). Owns: the transport, and what
it was not given yet. Must not: know HTTP, a frame, ASGI, or why a connection ends. Fails by: nothing. Once the
transport closes it counts as full, until the connection is lost.

Applications run in a context of their own, and asyncio calls back in the context in which it was asked to. What
happens in such a callback may be another client's request. So everything that is asked of the loop or of a transport is
asked in the server's context. Transports of uvloop keep the context in which they were made.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uvicorn.net.addresses import address
from uvicorn.worker.transport.outbox import JOIN_LIMIT
from uvicorn.worker.transport.tls import extension

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.worker.http.scope import Endpoints
    from uvicorn.worker.http.state import ServerState


class Carrier(asyncio.Protocol):
    """The base of an HTTP connection and of a WebSocket session. `writable`: the transport has room.

    It has a `__dict__` and can be weakly referenced, because programs set attributes on it and keep references to it.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_held",
        "_more",
        "_out",
        "_reading",
        "_state",
        "loop",
        "transport",
        "writable",
    )

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until there is one
        self.loop = loop
        self._state = state
        self._reading = self.writable = True
        self._out = b""
        self._more: list[bytes] | None = None
        self._held = 0

    def soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call `callback` in the next turn of the loop, in the server's context."""
        self.loop.call_soon(callback, *arguments, context=self._state.context.copy())

    def as_server(self, call: Callable[..., object], *arguments: Any) -> None:
        """Call `call` now, in the server's context."""
        self._state.context.copy().run(call, *arguments)

    # -- out ---------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write at the end of this turn of the loop, or now if nothing was written for a while (see `outbox`)."""
        if self._out:
            self._append(data)
        elif len(data) <= JOIN_LIMIT and self._state.outbox.takes(self):
            self._out = data
        else:
            self._write(data)

    def write_large(self, head: bytes, body: bytes, more: bool) -> None:
        """The same without a copy of `body`, which is large. With `more`, other parts follow and this one is written
        now, because their sender has to see whether the transport is full.
        """
        parts = (head, body) if head else (body,)
        if more:
            self._flush_now()
            self._write_all(parts)
        elif self._out:
            self._more = [*(self._more or ()), *parts]
            self._flush_now()
        elif not self._state.outbox.takes(self):
            self._write_all(parts)
        elif head:
            self._out, self._more, self._held = head, [body], len(body)
        else:
            self._out = body

    def _append(self, data: bytes) -> None:
        if self._more is None:
            self._more = []
        self._more.append(data)
        self._held += len(data)
        if self._held > JOIN_LIMIT:
            self._flush_now()

    def flush(self) -> None:
        """Write what was held back. To be called in the server's context."""
        data, more = self._out, self._more
        if not data:
            return
        self._out = b""
        if more is None:
            self._put(data)
            return
        self._more, self._held = None, 0
        if len(more[-1]) >= JOIN_LIMIT:
            self._put_all((data, *more))
        else:
            self._put(b"".join((data, *more)))

    def _flush_now(self) -> None:
        """The same, in whatever context."""
        if self._out:
            self._by_transport(self.flush)

    def _write(self, data: bytes) -> None:
        self._by_transport(self._put, data)

    def _write_all(self, parts: tuple[bytes, ...]) -> None:
        self._by_transport(self._put_all, parts)

    def _by_transport(self, call: Callable[..., object], *arguments: Any) -> None:
        if self._state.on_uvloop:
            call(*arguments)
        else:
            self.as_server(call, *arguments)

    def _put(self, data: bytes) -> None:
        """A transport that closes accepts everything, and reports its end only in a later turn of the loop. An
        application that sends while there is room would never let that turn come: so there is none.
        """
        if self.transport.is_closing():
            self.writable = False
        else:
            self.transport.write(data)

    def _put_all(self, parts: tuple[bytes | memoryview, ...]) -> None:
        if self.transport.is_closing():
            self.writable = False
            return
        self.transport.writelines(parts)
        if not self._state.on_uvloop:  # asyncio forgets to pause its protocol there (3.12, 3.13): this makes it check
            self.transport.set_write_buffer_limits()

    def pause_writing(self) -> None:
        self.writable = False

    def drop(self) -> None:
        """Forget what was not written: the peer is gone."""
        self._out = b""
        self._more, self._held = None, 0

    def close(self) -> None:
        """Close once everything is written."""
        self._flush_now()
        if not self.transport.is_closing():  # asyncio's TLS transport could not be aborted after a second `close`
            self.as_server(self.transport.close)

    def end_writing(self) -> bool:
        """Close our half once everything is written, and read on: to close both would reset the connection of a peer
        that still sends, which then loses what it has not read. False if the transport has no halves (TLS).
        """
        if not self.transport.can_write_eof():
            return False
        self._flush_now()
        try:
            self.transport.write_eof()
        except OSError:
            self.as_server(self.transport.abort)  # the peer is gone, and the loop has not noticed it yet
        self._resume()
        return True

    # -- in ----------------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading:
            self._reading = True
            if not self.transport.is_closing():
                self.as_server(self.transport.resume_reading)


def meet(ends: Endpoints, transport: asyncio.BaseTransport, config: Config) -> Any:
    """Fill in `ends` from the transport of a new connection. Returns its TLS object, None without TLS."""
    ends.client = address(transport.get_extra_info("peername"))
    ends.server = address(transport.get_extra_info("sockname"))
    ends.proxies = config._proxies
    tls = transport.get_extra_info("ssl_object")
    if tls is not None:
        ends.scheme = "https"
        ends.tls = extension(tls, config.server_cert)
    return tls


def reset_at_close(transport: asyncio.Transport) -> None:
    """Closing resets the connection, and drops what the kernel holds: it would keep that for minutes, for a peer that
    takes nothing.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
