"""The end of a master, as a worker notices it that cannot look: one in an endless loop, or in an import that hangs.

States: the master lives → it is gone, and whoever turns the loop renews the time → its time was not renewed: the end.

The kernel sends a signal when anything happens to the worker's end of the channel (O_ASYNC, and F_SETSIG for a signal
of our own), its end of file among it. So it is tied to the master, whoever forked this process, and costs nothing
before. The handler starts faulthandler's timer, which needs no interpreter lock, and each heartbeat starts it anew: a
worker that drains is left alone, one whose loop does not turn ends within `SECONDS`. C code that keeps the interpreter
lock at that moment lets no handler run: it ends as soon as it comes back to the interpreter, or by whoever ends the
service from outside (the kernel with PID 1 of a container, a service manager with the control group).

Rejected: a death signal (`prctl`), which is tied to the thread that forked; a thread in each worker, which an
application that forks would have; `setitimer`, whose signal is the application's.

Owns: that signal, its handler, and the timer. Must not: log, or end a process whose master lives. Fails by: nothing;
where the system has no such signal, a worker whose loop does not turn stays until somebody ends it.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
from types import FrameType

from uvicorn.process.channel import WorkerLink

SECONDS = 1.5
"""What a loop has for one turn once its master is gone."""


class Lifeline:
    """What a new worker has, in its main thread, from its start to its end."""

    def __init__(self, link: WorkerLink) -> None:
        self._link = link
        self._fd = link.report_fd

    def watch(self) -> None:
        first = getattr(signal, "SIGRTMIN", 0)
        if sys.platform != "linux" or not first:
            return
        import fcntl

        number = first + 11  # beside those for stacks and requests (`supervisor.kernel`)
        fd = self._link.endpoint.fileno()
        signal.signal(number, self.look)
        try:
            fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(fd, getattr(fcntl, "F_SETSIG", 10), int(number))  # Python 3.10 has no name for it
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        except OSError:
            return  # a filter of system calls
        self.look(number, None)  # it may be gone by now

    def look(self, number: int, frame: FrameType | None) -> None:
        """The handler: whether what happened is the end. Nothing is read, which is the loop's to do."""
        link = self._link
        fd = link.endpoint.fileno()
        if fd < 0 or link.after_beat is not None:
            return
        poller = select.poll()
        poller.register(fd, 0)
        if any(what & select.POLLHUP for _, what in poller.poll(0)):
            if self._fd < 0:
                self._fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            link.after_beat = self._renew
            self._renew()

    def _renew(self) -> None:
        """The stacks go where nobody can hold the end up: standard error may be a pipe that nobody reads any more."""
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=self._fd)
