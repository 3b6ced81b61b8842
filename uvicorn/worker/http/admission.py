"""Who may be served now: at most so many requests in flight, some more in a queue, each for a while.

Idle connections are not load: what is counted are requests whose application has not returned. Who comes while others
wait goes behind them, also when a place is free at that instant: it is promised to the first.

Owns: the queue. Pure: the number in flight and the time are arguments. Must not: know a connection or a loop.
Fails by: saying no; the answer (503) is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable


class Admission:
    """`waiting`: whoever waits, in order, with the time since when (seconds) and what admits it."""

    __slots__ = ("_limit", "_places", "_seconds", "waiting")

    def __init__(self, limit: int, places: int, seconds: float) -> None:
        self._limit = limit
        self._places = places
        self._seconds = seconds
        self.waiting: dict[object, tuple[float, Callable[[], object]]] = {}

    def has_room(self, in_flight: int) -> bool:
        """Whether one more may be served without waiting."""
        return in_flight < self._limit and not self.waiting

    def wait(self, waiter: object, admit: Callable[[], object], now: float) -> bool:
        """Queue up; `admit` is to be called when it is `waiter`'s turn. False when the queue is full."""
        if len(self.waiting) >= self._places:
            return False
        self.waiting[waiter] = now, admit
        return True

    def leave(self, waiter: object) -> None:
        """It does not wait any more, whatever became of it."""
        self.waiting.pop(waiter, None)

    def overdue(self, waiter: object, now: float) -> bool:
        """Whether it has waited too long; then it is no longer in the queue."""
        since, _ = self.waiting.get(waiter, (now, None))
        if now - since <= self._seconds:
            return False
        del self.waiting[waiter]
        return True

    def next(self, in_flight: int) -> Callable[[], object] | None:
        """What admits the first that waits, if there is room; it is no longer in the queue."""
        if in_flight >= self._limit or not self.waiting:
            return None
        waiter = next(iter(self.waiting))
        _, admit = self.waiting.pop(waiter)
        return admit
