"""Whether this process may open more files.

A connection that takes the last descriptor leaves none for the application, and one that comes when there is none at
all is lost: libuv takes such connections out of the queue and closes them. So accepting pauses in time, and the clients
in the kernel's queue are served when others have left.

The kernel always gives the lowest free number, so opening a few files for a moment tells how many numbers are free. The
application's files count as well, and nothing has to be tracked. Owns: how many descriptors are kept for the
application. Must not: know connections. Fails by: allowing a connection where the limit cannot be read.
"""

from __future__ import annotations

import os

BATCH = 8
"""Connections that are accepted before the kernel is asked again."""
FAR = 512
"""Free descriptors above which eight times as many are."""


class Descriptors:
    """`room()` is called once for each new connection. `sample` is any open descriptor."""

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
    """How many descriptors this process may have; None for no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def spare(limit: int) -> int:
    """How many descriptors are kept from connections, for the application."""
    return min(256, max(2 * BATCH, limit // 8))


def highest_of_next(count: int, sample: int) -> int:
    """The highest number that the next `count` files would get; above any limit if not so many are free."""
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
