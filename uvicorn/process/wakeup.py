"""Signals as bytes on a socket, for a process that waits with poll: the wake-up socket and the handlers around it.

The interpreter writes the number of each signal that has a Python handler to this socket (`signal.set_wakeup_fd`); the
handler itself does nothing. So no work is done in a signal handler, and a signal that arrives right before the wait
ends it. When the socket is full a number is lost, but the socket is readable then: whoever reads it looks after
whatever a signal may have announced (a child that ended, above all).

States: installed → restored (the handlers that were there before are back). Owns: the socket pair, and those handlers.
Must not: know what a signal means. Fails by: OSError when no socket can be made; ValueError outside the main thread.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable
from types import FrameType
from typing import Any

from uvicorn.process import exiting


class SignalSocket:
    """The signals that this process handles, one byte each, until `restore`."""

    def __init__(self, reader: socket.socket, writer: socket.socket) -> None:
        self.reader = reader
        self.writer = writer
        self.previous: dict[int, Any] = {}
        self._previous_fd = -1

    @classmethod
    def install(cls, names: Iterable[str]) -> SignalSocket:
        """Handle the signals with these names ("SIGTERM"), and SIGCHLD."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self = cls(reader, writer)
        self._previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for name in [*names, "SIGCHLD"]:
            number = getattr(signal, name)
            self.previous[number] = signal.signal(number, _do_nothing)
        return self

    def fileno(self) -> int:
        return self.reader.fileno()

    def read(self) -> bytes:
        """The numbers of the signals that have arrived, one a byte."""
        numbers = b""
        try:
            while data := self.reader.recv(4096):
                numbers += data
        except BlockingIOError:
            pass
        return numbers

    def restore(self) -> None:
        """Put the previous handlers back, but for what `exiting` keeps to the end of the process, and close."""
        for number, handler in self.previous.items():
            if not exiting.is_kept(number):
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._previous_fd)
        self.close()

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """The interpreter has written the number to the socket."""
