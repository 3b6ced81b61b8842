"""How a worker leaves: the word that master and worker share.

Owns: `DrainMode`. Pure: the supervisor orders it, the channel carries it, the worker acts on it. Must not: import
anything of ours. Fails by: nothing.
"""

from __future__ import annotations

import enum


class DrainMode(enum.Enum):
    """How a worker leaves. The order is that of urgency: a drain can only become more urgent."""

    RETIRE = "retire"
    """Reload, recycling: leave the kernel's queue to the siblings, leave idle connections their keep-alive time."""
    STOP = "stop"
    """Full stop: accept until the queue is empty; idle connections close after at most a second."""
    INTERRUPT = "interrupt"
    """Somebody waits at a terminal: like STOP, and idle connections close at once."""
    CUT = "cut"
    """Development: the queue is left to the successor, and what is open ends after a moment, so that a stream which
    never ends does not delay the next worker; the time until the deadline is for the lifespan's shutdown."""

    @property
    def urgency(self) -> int:
        return _URGENCY[self]


_URGENCY = {mode: rank for rank, mode in enumerate(DrainMode)}
