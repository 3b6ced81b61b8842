"""What a peer may cost that is no request: resets, pings, settings, empty frames.

A client that behaves never comes near these bounds, however long it lives. Owns: `Budget` and `Bucket`. Must not:
read a clock. Fails by: nothing; the machine says what an empty bucket means.
"""

from __future__ import annotations


class Bucket:
    """Holds up to `size` tokens, gets `rate` a second, and begins full."""

    __slots__ = ("_at", "_left", "_rate", "_size")

    def __init__(self, size: float, rate: float, now: float) -> None:
        self._size = self._left = size
        self._rate = rate
        self._at = now

    def take(self, now: float) -> bool:
        """One token. False when there is none."""
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
        """Pay back for what is worth more than it costs."""
        self._left = min(self._size, self._left + count)


class Budget:
    """What one connection may cost. `charge`: frames that are no request, paid back by responses; `resets`: the
    peer's; `provoked`: ours, for what the peer did wrong.
    """

    __slots__ = ("_control", "provoked", "resets", "served")

    def __init__(self, now: float) -> None:
        self._control = Bucket(1000, 100, now)
        self.served = 0
        """Responses that were not counted yet."""
        self.resets = Bucket(1000, 33, now)
        self.provoked = Bucket(1000, 33, now)

    def charge(self, now: float) -> bool:
        """A frame that is no request. False when there were too many."""
        if self.served:
            self._control.give(self.served)
            self.served = 0
        return self._control.take(now)
