"""Writing to a descriptor that others share, without waiting for its reader and without changing its flags.

A pipe or a terminal is opened again for the moment (`/proc/self/fd`), which gives a file description of our own that
does not block; a socket has a flag for each call. Writers to one pipe take turns by a lock on it: up to PIPE_BUF bytes
are written in one piece under a shared lock; a longer line has an exclusive lock until it is written. If the descriptor
cannot be opened again (no /proc, another user's pipe), a writer polls it, and writes PIPE_BUF bytes at most.

Owns: those calls. Must not: keep bytes, or drop lines. Fails by: BlockingIOError if nothing can be written now, and
OSError as `write` does.
"""

from __future__ import annotations

import os
import select
import socket
import stat

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PIPE_BATCH = 4096
"""Bytes that a pipe takes in one piece, even from several writers (PIPE_BUF)."""


class Outlet:
    """The way of one handler to its descriptor.

    Our own file description is kept until `close_if_idle`, which must follow soon, because it keeps a pipe open that
    the application may close. While a long line is being written, it is kept together with the lock.
    """

    def __init__(self) -> None:
        self._own = -1
        self._of: tuple[int, int] | None = None
        self._long = False

    def write(self, fd: int, data: bytes) -> int:
        """Write; the number of bytes taken."""
        found = os.fstat(fd)
        mode = found.st_mode
        if stat.S_ISSOCK(mode):
            return _send(fd, data)
        if stat.S_ISREG(mode) or fcntl is None or not (stat.S_ISFIFO(mode) or os.isatty(fd)):
            return os.write(fd, data)
        if self._own >= 0 and self._of != (found.st_dev, found.st_ino):
            self._close()
        if self._own < 0:
            try:
                self._own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            except OSError:
                return _guarded(fd, data)
            self._of = (found.st_dev, found.st_ino)
        return self._in_turn(data) if stat.S_ISFIFO(mode) else os.write(self._own, data)

    def _in_turn(self, data: bytes) -> int:
        if not self._long:
            self._long = len(data) > PIPE_BATCH
            try:
                fcntl.flock(self._own, (fcntl.LOCK_EX if self._long else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except OSError:
                self._long = False
                raise
        taken = 0
        try:
            taken = os.write(self._own, data)
        finally:
            if not self._long or taken == len(data):
                self._long = False
                fcntl.flock(self._own, fcntl.LOCK_UN)
        return taken

    @property
    def is_open(self) -> bool:
        return self._own >= 0

    def close_if_idle(self) -> None:
        if not self._long:
            self._close()

    def forget(self) -> None:
        """In a child process: close the copy of the parent's description."""
        self._close()

    def _close(self) -> None:
        own, self._own, self._long = self._own, -1, False
        if own >= 0:
            os.close(own)


def _send(fd: int, data: bytes) -> int:
    blocking = os.get_blocking(fd)
    with socket.socket(fileno=os.dup(fd)) as sock:
        if os.get_blocking(fd) != blocking:  # PyPy changes the flags, which both descriptors share
            os.set_blocking(fd, blocking)
        return sock.send(data, getattr(socket, "MSG_DONTWAIT", 0))


def _guarded(fd: int, data: bytes) -> int:
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    if not poller.poll(0):
        raise BlockingIOError("nobody reads")
    return os.write(fd, data[:PIPE_BATCH])
