"""The settings of the terminal that the master shares with its workers: a debugger changes them, and a worker that is
killed in one leaves them so, without an echo.

Owns: the settings as they were when the object was made. Must not: import `termios` where there is no terminal, or set
anything from the background, which would stop this process. Fails by: nothing; a terminal that is gone is left alone.
"""

from __future__ import annotations

import os
from typing import Any


class TTYSettings:
    """Of the terminal behind one of the standard streams, if there is one."""

    def __init__(self) -> None:
        self._fd = next((fd for fd in range(3) if os.isatty(fd)), -1)
        self._settings: Any = None
        if self._fd >= 0:
            try:
                import termios

                self._settings = termios.tcgetattr(self._fd)
            except (ImportError, OSError, termios.error):
                pass  # there is none to be set

    def restore(self) -> None:
        """Put the settings back, after a process was killed that may have changed them."""
        if self._settings is None:
            return
        import termios

        try:
            if os.tcgetpgrp(self._fd) == os.getpgrp():
                termios.tcsetattr(self._fd, termios.TCSANOW, self._settings)
        except (OSError, termios.error):
            pass
