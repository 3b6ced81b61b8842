"""The terminal that a process shares with those it starts: a debugger changes its settings, and one that is killed
leaves them so, without an echo.

Owns: the settings as they were when this was made. Must not: import `termios` where there is no terminal, or set
anything from the background, which would stop us. Fails by: nothing; a terminal that has gone needs no settings.
"""

from __future__ import annotations

import os
from typing import Any


class TTYSettings:
    """That of the standard streams, if any is one."""

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
        """Give it the settings back that it had, after somebody was killed who may have changed them."""
        if self._settings is None:
            return
        import termios

        try:
            if os.tcgetpgrp(self._fd) == os.getpgrp():
                termios.tcsetattr(self._fd, termios.TCSANOW, self._settings)
        except (OSError, termios.error):
            pass
