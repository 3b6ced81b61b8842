"""How a server hears SIGINT and SIGTERM: taken while it serves, given back and raised again afterwards.

Owns: the three methods of `Server` that programs replace: `capture_signals`, `handle_exit`, `install_signal_handlers`.
Each is looked up when it is needed, so that replacing it on the class, a subclass or one object has an effect, even
while it serves. Must not: look at a loop or a connection; it sets flags. Fails by: nothing, but for the
KeyboardInterrupt that leads out of an import which hangs.
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
from uvicorn.process.interrupts import Interrupts
from uvicorn.surface.replaceable import replaceable

PAUSE = 1.0
"""Seconds between two attempts to lead out of an import."""

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalHearing:
    """The base of `Server` that signals reach."""

    config: Config
    should_exit = False
    force_exit = False

    reraise_signals = True
    """Whether a captured signal is raised again after serving, for the program around us."""

    def __init__(self) -> None:
        self._captured: list[int] = []
        self._interrupts = Interrupts()
        self._interrupted_at = float("-inf")

    @property
    def _supervised(self) -> bool:
        """Whether a master decides: then a Ctrl-C, which reaches the whole group, is not for us, nor is how we end."""
        return False

    @replaceable
    def exit_code(self) -> ExitCode:
        """What a process that did nothing but serve should leave with."""
        return self._exit_status()

    def _exit_status(self) -> ExitCode:
        return ExitCode.OK

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM inside, restore what was there, raise again what came (last one first)."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals can only be handled in the main thread
            return
        wanted: tuple[signal.Signals, ...] = (signal.SIGTERM,) if self._supervised else HANDLED_SIGNALS
        before = {number: signal.signal(number, self._hear_signal) for number in wanted}
        try:
            yield
        finally:
            if not self._supervised:  # a master's TERM may come behind its message: it must not end us on our way out
                for number, handler in before.items():
                    signal.signal(number, handler)
        if self.reraise_signals and not self._supervised:
            self.raise_captured_signals()

    def raise_captured_signals(self) -> None:
        """For the program around us: each signal that ended it, the last one first."""
        captured, self._captured = self._captured, []
        for one in reversed(captured):
            signal.raise_signal(one)

    def install_signal_handlers(self) -> None:
        """For programs that have their own idea of signals: what replaces this is called instead of `capture_signals`.

        As it is, it takes the signals for good; a replacement that extends it relies on that.
        """
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED_SIGNALS:
                signal.signal(number, self._hear_signal)

    @property
    def _installs_its_own(self) -> bool:
        installed = getattr(self.install_signal_handlers, "__func__", None)
        return installed is not SignalHearing.install_signal_handlers

    def _hear_signal(self, sig: int, frame: FrameType | None) -> None:
        """The handler. Leads out of the application's import, while no loop looks at a flag: by KeyboardInterrupt, and
        below a master of ours by leaving at once, because the interpreter drops an exception that falls into a callback
        of a weak reference, with a traceback in the log.

        Not below a program that is called back: in a worker gunicorn would take it for a Ctrl-C to its arbiter, and the
        worker would stop its siblings.
        """
        self.handle_exit(sig, frame or sys._getframe())
        self._release_sockets()
        if not self.config.loaded and self.config.callback_notify is None:
            self.leave_import()

    def _release_sockets(self) -> None:
        """Close the sockets of a server that has not started yet, for which another one could accept."""

    def leave_import(self) -> None:
        """From a signal handler, while nothing has been served yet. Signals that are repeated quickly are one: a second
        exception would cut short what the first one leads to. But the first may have been dropped."""
        if self._supervised:
            leave(int(self._exit_status()))
        now = time.monotonic()
        if now - self._interrupted_at >= PAUSE:
            self._interrupted_at = now
            raise KeyboardInterrupt

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a SIGINT a second or more after the first one stops now, a SIGTERM never does.

        A program that calls this has no frame to pass, and means what it says: its SIGINT stops now whatever stops.
        """
        self._captured.append(sig)
        if sig == signal.SIGINT:
            insists = self._interrupts.hear(time.monotonic())
            if (insists if frame is not None else self.should_exit) and not self._supervised:
                self.force_exit = True
        self.should_exit = True
