"""Who may be served now: at most so many requests in flight, some more in a queue, each for a while.

Idle connections are not load: what is counted are requests whose application has not returned. Who comes while others
wait goes behind them, also when a place is free at that instant: it is promised to the first.

Owns: the queue. Pure: the number in flight and the time are arguments. Must not: know a connection or a loop.
Fails by: saying no; the answer (503) is the connection's.
"""

from __future__ import annotations

from typing import Protocol


class Waiter(Protocol):
    """Whoever has a request to be served."""

    def admit(self) -> None: ...


class Admission:
    """`waiting` says since when each one waits, in order."""

    __slots__ = ("_limit", "_places", "_seconds", "waiting")

    def __init__(self, limit: int, places: int, seconds: float) -> None:
        self._limit = limit
        self._places = places
        self._seconds = seconds
        self.waiting: dict[Waiter, float] = {}

    def has_room(self, in_flight: int) -> bool:
        """Whether one more may be served without waiting."""
        return in_flight < self._limit and not self.waiting

    def wait(self, waiter: Waiter, now: float) -> bool:
        """Queue up. False when the queue is full."""
        if len(self.waiting) >= self._places:
            return False
        self.waiting[waiter] = now
        return True

    def leave(self, waiter: Waiter) -> None:
        """It does not wait any more, whatever became of it."""
        self.waiting.pop(waiter, None)

    def overdue(self, waiter: Waiter, now: float) -> bool:
        """Whether it has waited too long; then it is no longer in the queue."""
        since = self.waiting.get(waiter)
        if since is None or now - since <= self._seconds:
            return False
        del self.waiting[waiter]
        return True

    def next(self, in_flight: int) -> Waiter | None:
        """Whose turn it is, if there is room; it is no longer in the queue."""
        if in_flight >= self._limit or not self.waiting:
            return None
        waiter = next(iter(self.waiting))
        del self.waiting[waiter]
        return waiter
