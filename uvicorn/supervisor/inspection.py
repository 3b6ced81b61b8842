"""What the system knows about a worker: its memory, what its main thread does, whether somebody at a terminal holds it;
and the files that workers dump their stacks to.

Linux has /proc; elsewhere little is known, and the text says so. Owns: how these are read. Must not: keep anything, or
judge. Fails by: nothing; a process that is gone, or that may not be looked at, is one about which nothing is known.
"""

from __future__ import annotations

import logging
import os
import platform

logger = logging.getLogger("uvicorn.error")

_STATES = {
    "R": "running on the CPU",
    "S": "waiting",
    "D": "waiting for the disk or the kernel",
    "T": "stopped by a signal, so it cannot dump its stack",
    "t": "held by a debugger",
    "Z": "gone",
}


def memory_of(pid: int) -> int | None:
    """Bytes that a process occupies: its proportional share (PSS) from the kernel, else its resident set from psutil.

    None if the process is gone or this is unknown.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            found = file.read().partition(b"\nPss:")[2].split(maxsplit=1)
        if found:
            return int(found[0]) * 1024
    except OSError:
        pass
    try:
        import psutil
    except (ImportError, OSError):
        return None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return None


def activity(pid: int) -> str:
    """What the main thread does, in words."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return "in an unknown state"
    state = stat.rpartition(b")")[2].split()[0].decode()
    return _STATES.get(state, f"in state {state}")


def is_traced(pid: int) -> bool:
    """Whether a debugger holds it, so that its blocked loop is intended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            status = file.read()
    except OSError:
        return False
    found = status.partition(b"\nTracerPid:")[2].split(maxsplit=1)
    return bool(found) and found[0] != b"0"


SILENT_SECONDS = 0.3


def is_held(pid: int, silent: float) -> bool:
    """Whether a debugger of another process holds it, or its main thread waits for somebody to type: `input()`, pdb.
    Its loop has not turned for `silent` seconds: one that is attached and lets the program run holds nothing."""
    return (silent >= SILENT_SECONDS and is_traced(pid)) or reads_terminal(pid)


_READ = {"x86_64": 0, "aarch64": 63}
_SELECT = {"x86_64": (23, 270), "aarch64": (72,)}
"""Numbers of system calls. The library readline waits by select, for one descriptor."""
_TERMINALS = ("/dev/pts/", "/dev/tty", "/dev/console")


def reads_terminal(pid: int) -> bool:
    """Whether the main thread is in a system call that reads a terminal, or waits for it alone."""
    try:
        with open(f"/proc/{pid}/syscall", "rb") as file:
            call = file.read().split()
        machine, number = platform.machine(), int(call[0])
        if number == _READ.get(machine):
            fd = int(call[1], 16)
        elif number in _SELECT.get(machine, ()):
            fd = int(call[1], 16) - 1
        else:
            return False
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith(_TERMINALS)
    except (OSError, ValueError, IndexError):  # not there, not ours to see, or running
        return False


# -- stacks ----------------------------------------------------------------------------------------------------


def dump_file() -> int:
    """A new file without a name, for the stacks of one worker: in memory, or where temporary files are. -1 where there
    can be none: the worker serves without one, and only the report of a hang has less in it."""
    try:
        return os.memfd_create("stack", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # another system, or a filter of system calls
        pass
    try:
        import tempfile  # a millisecond or more of imports that Linux does not need

        fd, path = tempfile.mkstemp()
        os.unlink(path)
    except (ImportError, OSError) as exc:
        logger.debug("There is no file for a worker's stacks: %s.", exc)
        return -1
    return fd


def without_own_frames(stacks: str) -> str:
    """Stacks without the main thread's frames below the event loop: those are ours, and the same in every report."""
    kept, ours = [], False
    for line in stacks.splitlines():
        ours = ours and line.startswith("  File ")
        if not ours:
            kept.append(line)
        ours = ours or line.endswith(" in run_in_loop")
    return "\n".join(kept)
