"""How long a peer may take to send a body, and to take what is written to it.

One clock for each exchange, or for each thing that is written to: a connection that carries many exchanges has many of
these. They are asked at every sweep of the worker's one timer (every half second), so they are coarse, and a request
pays nothing for them. Pure: times (seconds of the monotonic clock) and sizes in, a judgement out. Must not: read a
clock, know asyncio, a transport or a wire. Fails by: nothing.
"""

from __future__ import annotations

from math import inf

from uvicorn.worker.http.limits import PeerLimits

RATE_GRACE = 5.0
"""Seconds of a body before its rate is judged: connections begin slowly."""


class BodyClock:
    """The time that the peer takes for the body of one request."""

    __slots__ = ("_asked_at", "_seconds")

    def __init__(self, now: float) -> None:
        self._asked_at = now
        self._seconds = 0.0

    def is_late(self, now: float, limits: PeerLimits, awaited: bool, since: float, received: int) -> bool:
        """Whether the body comes too slowly. `awaited`: it is the peer's turn, and not the application's to read; other
        time is not counted. `since` is when the peer was last heard, `received` the size of the body so far.
        """
        elapsed, self._asked_at = now - self._asked_at, now
        if not awaited:
            return False
        self._seconds += elapsed
        slow = self._seconds > RATE_GRACE and received < limits.body_rate * self._seconds
        return slow or now - since > limits.body_time


class WriteClock:
    """Since when the peer takes nothing of what is written to it.

    Known weakness: any change of `unsent` counts as progress, also what the application adds for a peer that takes
    nothing. It cannot add much: above the high-water mark its `send` waits.
    """

    __slots__ = ("_changed_at", "_unsent")

    def __init__(self) -> None:
        self._unsent = 0
        self._changed_at = -inf

    def is_stalled(self, now: float, unsent: int, limit: float) -> bool:
        """Whether the peer has taken nothing for more than `limit` seconds. `unsent`: bytes that wait for it."""
        if unsent != self._unsent:
            self._unsent, self._changed_at = unsent, now
            return False
        return bool(unsent) and now - self._changed_at > limit

    def is_quiet(self, now: float, seconds: float) -> bool:
        """Whether nothing waits for the peer, and nothing has for so many seconds."""
        return not self._unsent and now - self._changed_at > seconds
