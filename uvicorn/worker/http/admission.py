"""Which requests may be served now (`--limit-concurrency`): a limited number in flight, and a queue with a time limit.

Idle connections are not load: only requests whose application has not returned are counted. A request that arrives
while others wait is queued behind them even if a place is free at that moment: the place is the first one's.

Owns: the queue. Pure: the number in flight and the time are arguments. Must not: know a connection or a loop.
Fails by: saying no; the response (503) is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable


class Admission:
    """`waiting` has the requests that wait, in order: since when (seconds), and the function that admits it."""

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
        """Put `waiter` in the queue; `admit` is called when it is its turn. False when the queue is full."""
        if len(self.waiting) >= self._places:
            return False
        self.waiting[waiter] = now, admit
        return True

    def leave(self, waiter: object) -> None:
        """Take `waiter` out of the queue, if it is in there."""
        self.waiting.pop(waiter, None)

    def overdue(self, waiter: object, now: float) -> bool:
        """Whether `waiter` has waited too long; then it is taken out of the queue."""
        since, _ = self.waiting.get(waiter, (now, None))
        if now - since <= self._seconds:
            return False
        del self.waiting[waiter]
        return True

    def next(self, in_flight: int) -> Callable[[], object] | None:
        """Take the first one out of the queue if there is room, and return the function that admits it."""
        if in_flight >= self._limit or not self.waiting:
            return None
        waiter = next(iter(self.waiting))
        _, admit = self.waiting.pop(waiter)
        return admit
