"""The process that started this master in an interpreter of its own: the signals it passes on, and its end.

A byte on its pipe is the number of a signal that the caller has received; end of file means that it is gone. Why not
signals: a signal to a whole process group reaches the caller and the master alike, and a TTIN that counts twice is two
workers more, a HUP two reloads. What comes by the pipe can be told from what comes directly, and `DuplicateFilter`
takes the two for one.

Owns: the reading end of the pipe. Must not: decide what a signal means, or read a clock. Fails by: nothing; a pipe that
cannot be read counts as closed.
"""

from __future__ import annotations

import os
from collections import deque

WINDOW = 1.0
"""Seconds within which a signal that was passed on and one that came directly are taken for the same."""


class DuplicateFilter:
    """Finds signals that came both ways. Pure: time is an argument."""

    def __init__(self) -> None:
        self._single: dict[tuple[int, bool], deque[float]] = {}

    def is_new(self, number: int, passed_on: bool, now: float) -> bool:
        """False for the second half of a pair."""
        for times in self._single.values():
            while times and now - times[0] > WINDOW:
                times.popleft()
        other = self._single.get((number, not passed_on))
        if other:
            other.popleft()
            return False
        self._single.setdefault((number, passed_on), deque()).append(now)
        return True


class Caller:
    """The reading end of the pipe."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes | None:
        """The numbers that have arrived, one a byte; None once the caller is gone."""
        try:
            return os.read(self._fd, 4096) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
