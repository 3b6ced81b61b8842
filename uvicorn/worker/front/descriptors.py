"""Whether this process may open more files.

A connection that is accepted with the last descriptor leaves none for the application, and one that comes when there is
none at all is lost: libuv then takes connections out of the queue and closes them unseen. So accepting pauses in time,
and who waits in the kernel's queue is served when others have left.

The question is put to the kernel, which always gives the lowest free numbers: what the application has open counts as
well, and nothing has to be counted. Owns: how many descriptors are left to the application. Must not: know connections.
Fails by: saying yes where there is no limit to be read.
"""

from __future__ import annotations

import os

BATCH = 8
"""Connections that one question answers for."""
FAR = 512
"""So many free descriptors below the limit, a question answers for eight times as many connections."""


class Descriptors:
    """`room()` is asked once for each new connection. `sample` is any open descriptor."""

    __slots__ = ("_left", "_sample")

    def __init__(self, sample: int) -> None:
        self._sample = sample
        self._left = 0

    def room(self) -> bool:
        """Whether one more connection may be accepted."""
        if self._left <= 0:
            limit = soft_limit()
            free = FAR if limit is None else limit - spare(limit) - highest_of_next(BATCH, self._sample)
            if free <= 0:
                return False
            self._left = BATCH if free < FAR else 8 * BATCH
        self._left -= 1
        return True


def soft_limit() -> int | None:
    """The number of descriptors this process may have now; None for no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def spare(limit: int) -> int:
    """How many are not for connections."""
    return min(256, max(2 * BATCH, limit // 8))


def highest_of_next(count: int, sample: int) -> int:
    """The highest of the numbers that the next `count` files would get; above any limit when there are not as many."""
    taken = []
    try:
        for _ in range(count):
            taken.append(os.dup(sample))  # those before a failure must be closed
    except OSError:
        return 1 << 30
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return taken[-1]
