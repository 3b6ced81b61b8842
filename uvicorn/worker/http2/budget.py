"""Limits for what a peer may cause besides requests: resets, pings, settings, empty frames.

A well-behaved client never comes near these limits, however long its connection lives.

Owns: `Budget` and `Bucket`. Must not: read a clock. Fails by: nothing; the machine decides what an empty
bucket means.
"""

from __future__ import annotations


class Bucket:
    """A token bucket: up to `size` tokens, `rate` more each second, full at first."""

    __slots__ = ("_at", "_left", "_rate", "_size")

    def __init__(self, size: float, rate: float, now: float) -> None:
        self._size = self._left = size
        self._rate = rate
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token. False if there is none."""
        left = self._left - 1
        if left < 0:
            left = min(self._size, self._left + (now - self._at) * self._rate) - 1
            self._at = now
            if left < 0:
                self._left = left + 1
                return False
        self._left = left
        return True

    def give(self, count: float = 1) -> None:
        """Put tokens back."""
        self._left = min(self._size, self._left + count)


class Budget:
    """The buckets of one connection. `charge`: frames that are no request, paid back by responses; `resets`: RST_STREAM
    from the peer; `provoked`: RST_STREAM from us for the peer's errors.
    """

    __slots__ = ("_control", "provoked", "resets", "served")

    def __init__(self, now: float) -> None:
        self._control = Bucket(1000, 100, now)
        self.served = 0
        """Responses since the last charge; each pays one token back."""
        self.resets = Bucket(1000, 33, now)
        self.provoked = Bucket(1000, 33, now)

    def charge(self, now: float) -> bool:
        """Count a frame that is no request. False if there were too many."""
        if self.served:
            self._control.give(self.served)
            self.served = 0
        return self._control.take(now)
