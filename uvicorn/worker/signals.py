"""How a server handles SIGINT and SIGTERM: while it serves; afterwards the handlers before it are restored, and the
signals raised again.

Owns: the three methods of `Server` that programs replace: `capture_signals`, `handle_exit`, `install_signal_handlers`.
Each is looked up when it is called, so that replacing it on the class, in a subclass or on one object has an effect,
even while the server runs. Must not: touch a loop or a connection; it sets flags. Fails by: KeyboardInterrupt, during
the import of the application.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from uvicorn.config import Config
from uvicorn.errors import ExitCode
from uvicorn.process.exiting import leave
from uvicorn.process.handlers import undisturbed
from uvicorn.process.interrupts import Interrupts
from uvicorn.surface.replaceable import replaceable

PAUSE = 1.0
"""Seconds between two attempts to interrupt an import."""

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalHearing:
    """The base of `Server` that handles signals."""

    config: Config
    should_exit = False
    force_exit = False

    reraise_signals = True
    """Whether a captured signal is raised again after serving, for the program around the server."""

    def __init__(self) -> None:
        self._captured: list[int] = []
        self._interrupts = Interrupts()
        self._interrupted_at = float("-inf")

    @property
    def _supervised(self) -> bool:
        """Whether there is a master. A Ctrl-C, which the whole process group receives, is its business then."""
        return False

    @replaceable
    def exit_code(self) -> ExitCode:
        """The exit code of a process that did nothing but serve."""
        return self._exit_status()

    def _exit_status(self) -> ExitCode:
        return ExitCode.OK

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM inside; then restore the handlers and raise again what came, the last one first."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals can only be handled in the main thread
            return
        wanted: tuple[signal.Signals, ...] = (signal.SIGTERM,) if self._supervised else HANDLED_SIGNALS
        before = {number: signal.signal(number, self._hear_signal) for number in wanted}
        try:
            yield
        finally:
            if not self._supervised:  # the TERM of a master may come after its message: it must not kill this process
                for number, handler in before.items():
                    signal.signal(number, handler)
        if self.reraise_signals and not self._supervised:
            self.raise_captured_signals()

    def raise_captured_signals(self) -> None:
        """For the program around the server: each signal that stopped it, the last one first."""
        captured, self._captured = self._captured, []
        for one in reversed(captured):
            signal.raise_signal(one)

    def install_signal_handlers(self) -> None:
        """For programs that handle signals themselves: what replaces this is called instead of `capture_signals`.

        This one installs the handlers and does not restore those before them; a replacement may call it for that.
        """
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED_SIGNALS:
                signal.signal(number, self._hear_signal)

    @property
    def _installs_its_own(self) -> bool:
        installed = getattr(self.install_signal_handlers, "__func__", None)
        return installed is not SignalHearing.install_signal_handlers

    @undisturbed
    def _hear_signal(self, sig: int, frame: FrameType | None) -> None:
        """The handler. It interrupts the import of the application, during which no loop looks at a flag: by
        KeyboardInterrupt, and below a master of ours by ending the process, because the interpreter drops an exception
        that is raised inside a callback of a weak reference, and logs a traceback.

        Not below a program that is called back (`callback_notify`): in a gunicorn worker it would be taken for a
        Ctrl-C to the arbiter, and the worker would stop the other workers.
        """
        self.handle_exit(sig, frame or sys._getframe())
        self._release_sockets()
        if not self.config.loaded and self.config.callback_notify is None:
            self.leave_import()

    def _release_sockets(self) -> None:
        """Close the sockets of a server that has not started yet, for which another one could accept."""

    def leave_import(self) -> None:
        """From a signal handler: end the import of the application, before anything was served.

        Signals that are repeated within PAUSE count as one, because a second exception would interrupt the handling of
        the first. A later one raises again, because the first may have been dropped.
        """
        if self._supervised:
            leave(int(self._exit_status()))
        now = time.monotonic()
        if now - self._interrupted_at >= PAUSE:
            self._interrupted_at = now
            raise KeyboardInterrupt

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully. A SIGINT a second or more after the first one stops at once; a SIGTERM never does.

        When a program calls this itself, without a frame, a second SIGINT stops at once however early it comes.
        """
        self._captured.append(sig)
        if sig == signal.SIGINT:
            is_urgent = self._interrupts.hear(time.monotonic())
            if (is_urgent if frame is not None else self.should_exit) and not self._supervised:
                self.force_exit = True
        self.should_exit = True
