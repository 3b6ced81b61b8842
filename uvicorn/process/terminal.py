"""The controlling terminal of a server, and whether a SIGHUP came because it has gone.

SIGHUP means reload, and it is also sent to every process whose terminal is closed: then it means stop, as for any other
program. It means stop for a server that had a terminal at its start and did not ignore SIGHUP (`nohup`), when the
terminal is gone as the signal arrives. A server that goes on without its terminal did not get that signal: its shell
did not send it (`disown`), or has ended itself. So the owner of this object looks at the terminal from time to time,
and a signal that arrives `GRACE` seconds after the terminal was seen to be gone means reload again.

Owns: a descriptor of the terminal, and one of the session's leader: a shell, whose end takes the terminal from the
session although another process may hold it open. Must not: handle a signal. Fails by: nothing; `take` returns None
without a terminal.
"""

from __future__ import annotations

import os
import select
import signal

GRACE = 0.3
"""Seconds, at most, between the end of a terminal and its signal: the kernel sends one first, a shell passes it on."""


class Terminal:
    """The terminal of this process, which may be gone by now."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._leader = _watch_leader()
        self._gone_at: float | None = None

    @classmethod
    def take(cls) -> Terminal | None:
        """The terminal, if its end is to stop this process. Call this before a handler for SIGHUP is installed."""
        if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
            return None
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError:
            return None

    @property
    def watched(self) -> dict[int, int]:
        """{descriptor: events for poll}: when one of them is ready, call `look`."""
        found = {self._fd: 0, self._leader: select.POLLIN}
        found.pop(-1, None)
        return found

    def look(self, now: float) -> bool:
        """Whether the terminal is still there, at `now` (seconds, monotonic)."""
        if self._gone_at is None and self._group() is None:
            self._gone_at = now
        return self._gone_at is None

    def hung_up(self, now: float) -> bool:
        """Whether a SIGHUP that arrives at `now` means that the terminal is gone."""
        self.look(now)
        return self._gone_at is not None and now - self._gone_at <= GRACE

    def in_background(self) -> bool:
        """Whether another process group is in the foreground: then the kernel stops a process of ours that reads the
        terminal, and perhaps one that writes."""
        return self._group() not in (None, os.getpgrp())

    def _group(self) -> int | None:
        """The process group in the foreground; None once the terminal is not ours any more."""
        try:
            return os.tcgetpgrp(self._fd)
        except OSError:
            return None

    def close(self) -> None:
        for fd in self.watched:
            os.close(fd)
        self._fd = self._leader = -1


def _watch_leader() -> int:
    """A descriptor that is readable once the session's leader has ended; -1 if that is this process, or has none."""
    leader = os.getsid(0)
    try:
        return -1 if leader in (0, os.getpid()) else os.pidfd_open(leader)
    except (AttributeError, OSError):
        return -1
