"""The time that a peer may take to send a body, and to read what is written to it.

There is one clock for each exchange, or for each transport: a connection that carries many exchanges has many clocks.
They are asked at every sweep of the worker's timer (every half second), so a request costs nothing for its deadlines.
Pure: times (seconds of the monotonic clock) and sizes are arguments. Must not: read a clock, or know asyncio, a
transport or a wire. Fails by: nothing.
"""

from __future__ import annotations

from math import inf

from uvicorn.worker.http.limits import PeerLimits

RATE_GRACE = 5.0
"""Seconds before the rate of a body is checked: connections start slowly."""


class BodyClock:
    """How long the body of one request takes."""

    __slots__ = ("_asked_at", "_seconds")

    def __init__(self, now: float) -> None:
        self._asked_at = now
        self._seconds = 0.0

    def is_late(self, now: float, limits: PeerLimits, awaited: bool, since: float, received: int) -> bool:
        """Whether the body arrives too slowly. `awaited`: the server waits for the peer, not for the application; only
        this time counts. `since`: when the last part arrived. `received`: the size of the body so far.
        """
        elapsed, self._asked_at = now - self._asked_at, now
        if not awaited:
            return False
        self._seconds += elapsed
        slow = self._seconds > RATE_GRACE and received < limits.body_rate * self._seconds
        return slow or now - since > limits.body_time


class WriteClock:
    """Since when the peer has read nothing.

    Known weakness: any change of `unsent` counts as progress, even if it is the application that adds something. It
    cannot add much: above the high-water mark its `send` waits.
    """

    __slots__ = ("_changed_at", "_unsent")

    def __init__(self) -> None:
        self._unsent = 0
        self._changed_at = -inf

    def is_stalled(self, now: float, unsent: int, limit: float) -> bool:
        """Whether the peer has read nothing for more than `limit` seconds. `unsent`: bytes that wait for it."""
        if unsent != self._unsent:
            self._unsent, self._changed_at = unsent, now
            return False
        return bool(unsent) and now - self._changed_at > limit

    def is_quiet(self, now: float, seconds: float) -> bool:
        """Whether nothing has waited for the peer for more than `seconds`."""
        return not self._unsent and now - self._changed_at > seconds
