"""What a process leaves in the log when C code kills it: the stack of every thread, as `faulthandler` writes it.

On SIGSEGV, SIGABRT, SIGBUS, SIGFPE and SIGILL the stacks go to standard error, or to the file of `--log-file`, and the
signal then does what it always does: a core file, and the exit status that a master tells. It has a descriptor of its
own for that file, since the log's may be closed at any time (`logging.config.dictConfig` does) and its number be
somebody else's then. A handler that is on already (the program's, PYTHONFAULTHANDLER's) stays as it is.

Owns: that descriptor. Must not: touch the signal that a master asks for stacks with. Fails by: nothing: where nothing
can be written to, nothing is.
"""

from __future__ import annotations

import faulthandler
import os

_descriptor = -1
_path = ""


def enable(path: str | os.PathLike[str] | None) -> None:
    """Write to `path` from now on, or to standard error where there is none."""
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
        pass  # there is no standard error, or it is no file


def reopen() -> None:
    """The log files were moved away."""
    global _descriptor
    if not _path:
        return
    try:
        fresh = os.open(_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError:
        return  # the log says so of its own
    if _descriptor < 0:
        _descriptor = fresh
    else:
        os.dup2(fresh, _descriptor, inheritable=False)
        os.close(fresh)
