"""What a process writes when C code kills it: the stack of every thread, as `faulthandler` prints it.

On SIGSEGV, SIGABRT, SIGBUS, SIGFPE and SIGILL the stacks go to standard error, or to the file of `--log-file`; then
the signal has its usual effect: a core file, and an exit status that the master logs. There is a descriptor of its own
for that file, because that of the log may be closed at any time (`logging.config.dictConfig` does) and its number be
reused. If faulthandler is enabled already, by the program or by PYTHONFAULTHANDLER, it stays as it is.

Owns: that descriptor. Must not: touch the signal by which a master asks for stacks. Fails by: writing nothing where
there is nothing to write to.
"""

from __future__ import annotations

import faulthandler
import os

_descriptor = -1
_path = ""


def enable(path: str | os.PathLike[str] | None) -> None:
    """Write to `path` from now on, or to standard error if it is None."""
    global _path
    if faulthandler.is_enabled():
        return
    if path is not None:
        _path = os.path.abspath(path)  # the application may change the folder
        reopen()
    if _descriptor >= 0:
        faulthandler.enable(_descriptor)
        return
    try:
        faulthandler.enable()
    except (AttributeError, OSError, RuntimeError, ValueError):
        pass  # there is no standard error, or it is not a file


def reopen() -> None:
    """Open the file anew, after log files were moved."""
    global _descriptor
    if not _path:
        return
    try:
        fresh = os.open(_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError:
        return  # the log has a line about it
    if _descriptor < 0:
        _descriptor = fresh
    else:
        os.dup2(fresh, _descriptor, inheritable=False)
        os.close(fresh)
