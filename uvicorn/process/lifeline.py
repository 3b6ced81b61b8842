"""How a worker that cannot read its channel ends with its master: one in an endless loop, or in an import that hangs.

States: the master lives → it is gone, and each turn of the loop restarts a timer → the timer ran out: the process ends.

The kernel sends a signal when anything happens to the worker's end of the channel (O_ASYNC, and F_SETSIG for a signal
of our own), end of file included. So it depends on the master itself, not on the thread that forked, and costs nothing
before. The handler starts faulthandler's timer, which needs no interpreter lock, and each heartbeat restarts it: a
worker that drains goes on, one whose loop does not turn ends within `SECONDS`. C code that holds the interpreter lock
at that moment lets no handler run: the process ends when that code returns to the interpreter, or with the service
(the kernel ends a container with its PID 1, a service manager the control group).

Rejected: a death signal (`prctl`), which depends on the thread that forked; a thread in each worker, which the forks of
an application would have too; `setitimer`, whose signal belongs to the application.

Owns: that signal, its handler, and the timer. Must not: log, or end a process whose master lives. Fails by: nothing;
where the system has no such signal, a worker whose loop does not turn stays until it is killed.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
from types import FrameType

from uvicorn.process.channel import WorkerLink
from uvicorn.process.handlers import undisturbed

SECONDS = 1.5
"""The time for one turn of the loop, once the master is gone."""


class Lifeline:
    """Of one worker; used in its main thread, from its start to its end."""

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
        self.look(number, None)  # the master may be gone already

    @undisturbed
    def look(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: start the timer if the master is gone. It reads nothing; that is for the loop."""
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
        """Restart the timer. The stacks go to /dev/null, since standard error may be a pipe without a reader."""
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=self._fd)
