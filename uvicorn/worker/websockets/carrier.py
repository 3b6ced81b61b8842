"""What a session has of its transport: bytes that are held back, who waits for room, whether it reads.

Answers leave with those of other sessions at the end of the loop's turn (`worker/outbox`). Owns: the transport, and
what was not given to it yet. Must not: know ASGI, a frame, or why a session ends. Fails by: nothing. Once the
transport closes nobody finds room any more, until the connection is lost.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from uvicorn.worker.outbox import GAP
from uvicorn.worker.state import ServerState

JOIN_LIMIT = 1 << 15
"""Bytes that are held back to be written together."""


class Carrier(asyncio.Protocol):
    """The base of a session. `active_at`: when the peer last took or sent something that counts."""

    __slots__ = (
        "_held",
        "_more",
        "_out",
        "_reading",
        "_state",
        "_writable",
        "_write_waiter",
        "active_at",
        "loop",
        "transport",
    )

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until take_over
        self.loop = loop
        self.active_at = state.now
        self._state = state
        self._reading = self._writable = True
        self._write_waiter: asyncio.Future[None] | None = None
        self._out = b""
        self._more: list[bytes] = []
        self._held = 0

    # -- out ---------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write at the end of this turn of the loop, or now if nobody wrote for a while."""
        if self._out:
            self._more.append(data)
            self._held += len(data)
            if self._held > JOIN_LIMIT:
                self.flush()
            return
        outbox = self._state.outbox
        before, outbox.last = outbox.last, monotonic()
        if outbox.last - before > GAP:
            outbox.flush()
            self._write(data)
        elif len(data) > JOIN_LIMIT:
            self._write(data)
        else:
            self._out = data
            outbox.add(self, self.loop.call_soon)

    def flush(self) -> None:
        """Write what was held back."""
        data = self._out
        if not data:
            return
        self._out = b""
        if self._more:
            data = b"".join((data, *self._more))
            self._more.clear()
            self._held = 0
        self._write(data)

    def _write(self, data: bytes) -> None:
        """A transport that closes takes everything: a `send` that always finds room would never let it be gone."""
        if self.transport.is_closing():
            self._writable = False
        else:
            self.transport.write(data)

    def _drop(self) -> None:
        """The connection is lost."""
        self._out = b""
        self._more.clear()
        self._wake_writer()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self.active_at = self._state.now
        self._wake_writer()

    async def _drained(self) -> None:
        """There is room, or there will be none any more."""
        if self._write_waiter is None:
            self._write_waiter = self.loop.create_future()
        await asyncio.shield(self._write_waiter)

    def _wake_writer(self) -> None:
        waiter, self._write_waiter = self._write_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- in ----------------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading:
            self._reading = True
            if not self.transport.is_closing():
                self.transport.resume_reading()
