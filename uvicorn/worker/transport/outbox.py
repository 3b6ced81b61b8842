"""Responses that are ready in one turn of the loop leave together, at its end.

A write wakes the client, and while the kernel delivers it the interpreter's caches go cold. A loop that has 64
requests to answer in a turn does better to answer them all and then write them all (a quarter less CPU per request,
measured), and what one connection has to say in a turn (pipelined answers, the parts of a stream) becomes one write. No
answer waits for a slow neighbour: after a pause of `GAP` seconds without a write, a write is not held back.

Owns: which connections hold something back. Must not: know bytes or transports. Fails by: nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

JOIN_LIMIT = 32768
"""Bytes that are joined to be written together; what is larger is not copied."""
GAP = 0.0005
"""Seconds since the last write after which the next one goes out at once: these requests are no quick ones."""


class Holder(Protocol):
    """Whoever holds something back, and lets the server's context be the one in which others write."""

    def flush(self) -> None: ...

    def soon(self, callback: Callable[[], object]) -> None: ...

    def as_server(self, call: Callable[[], object]) -> None: ...


class Outbox:
    """`last` is when somebody last wrote, in seconds of the monotonic clock."""

    __slots__ = ("_holders", "last")

    def __init__(self) -> None:
        self._holders: list[Holder] = []
        self.last = 0.0

    def takes(self, holder: Holder) -> bool:
        """Whether `holder`, who has something to write, should wait for `flush()` at the end of this turn of the loop.

        If not, everybody else has been flushed, and it writes now.
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
        """Let everybody write now."""
        holders, self._holders = self._holders, []
        for holder in holders:
            holder.flush()
