"""The controlling terminal of a server, and whether a SIGHUP came because it has gone.

A SIGHUP is an order to reload, and also what everybody gets whose terminal is closed: then it is a stop, as for any
other program. It is the second in a server that had a terminal at its start and did not have SIGHUP ignored (`nohup`),
when the terminal is gone as the signal comes. A server that goes on without its terminal has not heard of the end: its
shell did not tell it (`disown`), or is gone itself. So whoever holds this looks from time to time, and a signal that
comes `GRACE` seconds after the terminal was seen to be gone is an order again.

Owns: a descriptor of the terminal, and one of the session's leader: a shell, whose end takes the terminal from the
session although somebody may hold it open. Must not: handle a signal. Fails by: nothing; without a terminal there is
none.
"""

from __future__ import annotations

import os
import select
import signal

GRACE = 0.3
"""Seconds between the end of a terminal and the signal that tells of it, at most: the kernel's comes first, a shell
passes on its own."""


class Terminal:
    """A terminal that this process has, or had."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._leader = _watch_leader()
        self._gone_at: float | None = None

    @classmethod
    def take(cls) -> Terminal | None:
        """That of this process, if its end is to end the process. To be called before anybody handles SIGHUP."""
        if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
            return None
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError:
            return None

    @property
    def watched(self) -> dict[int, int]:
        """Descriptors, and what of them `poll` is to tell because it is time to look then."""
        found = {self._fd: 0, self._leader: select.POLLIN}
        found.pop(-1, None)
        return found

    def look(self, now: float) -> bool:
        """Whether it is there still, at `now` (seconds, monotonic)."""
        if self._gone_at is None and self._group() is None:
            self._gone_at = now
        return self._gone_at is None

    def hung_up(self, now: float) -> bool:
        """Whether a SIGHUP that comes now tells of its end."""
        self.look(now)
        return self._gone_at is not None and now - self._gone_at <= GRACE

    def in_background(self) -> bool:
        """Whether another process group has it: then the kernel stops whoever reads it, and perhaps whoever writes."""
        return self._group() not in (None, os.getpgrp())

    def _group(self) -> int | None:
        """The process group in its foreground; None once it is not ours any more."""
        try:
            return os.tcgetpgrp(self._fd)
        except OSError:
            return None

    def close(self) -> None:
        for fd in self.watched:
            os.close(fd)
        self._fd = self._leader = -1


def _watch_leader() -> int:
    """-1 where it is this process, or nobody can be watched."""
    leader = os.getsid(0)
    try:
        return -1 if leader in (0, os.getpid()) else os.pidfd_open(leader)
    except (AttributeError, OSError):
        return -1
