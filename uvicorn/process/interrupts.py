"""Which SIGINT means "stop now": one that arrives a second or more after the first. Pure: time is an argument.

TERM never does, however often it arrives, and nor does an INT right after the first one. Programs that start a server
pass on signals that the process group has already received: npm, honcho, `timeout` and a terminal's Ctrl-C reach the
same process twice within milliseconds, and only a person who waits presses Ctrl-C again after a second.

Owns: that rule, for the master, the machine for development and a process without a master. Must not: read a clock.
Fails by: nothing.
"""

from __future__ import annotations

AGAIN_SECONDS = 1.0


class Interrupts:
    """The SIGINTs of one stop. `first` is when the first arrived, in seconds of the monotonic clock; None before."""

    __slots__ = ("first",)
    _fields = __slots__  # for `supervisor.plain`
    first: float | None

    def __init__(self, first: float | None = None) -> None:
        self.first = first

    def hear(self, now: float) -> bool:
        """Record one that arrived at `now`. True when it means "stop now"."""
        if self.first is None:
            self.first = now
        return now - self.first >= AGAIN_SECONDS
