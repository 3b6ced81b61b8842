"""Whether a debugger holds this process: then a loop that does not turn is what somebody wants.

A debugger shows itself in three ways: by a trace function of the main thread, by a tool under `sys.monitoring`'s id for
debuggers, and, while it asks what to do, by its frames on the stack of whichever thread it has stopped. Coverage has a
trace function as well, and is none. What reads the terminal without a debugger, `input()` for instance, only the master
can tell.

Owns: that judgement. Must not: change anything: it runs between two bytecodes of whatever is held. Fails by: nothing.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

SILENT_SECONDS = 0.3

_DEBUGGERS = ("bdb", "pdb", "_pydevd_bundle", "_pydevd_sys_monitoring")
_COVERAGE = "coverage"


def is_held(frame: FrameType | None, silent: float) -> bool:
    """Whether one holds the main thread; asked there, by a signal handler that has interrupted `frame`. The loop has
    not turned for `silent` seconds: one that is attached and lets the program run holds nothing."""
    monitoring: Any = getattr(sys, "monitoring", None)
    tool = None if monitoring is None else monitoring.get_tool(monitoring.DEBUGGER_ID)
    attached = _is_debugger(sys.gettrace()) or (tool is not None and not tool.startswith(_COVERAGE))
    return _passes_debugger(frame) or (attached and silent >= SILENT_SECONDS)


def is_asking() -> bool:
    """Whether one sits at its prompt, in any thread."""
    return any(_passes_debugger(frame) for frame in sys._current_frames().values())


def _is_debugger(trace: Any) -> bool:
    if trace is None:
        return False
    module = getattr(trace, "__module__", None) or type(trace).__module__
    return not str(module).startswith(_COVERAGE)


def _passes_debugger(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False


def take_back_interrupt(handler: Any) -> None:
    """pdb takes SIGINT when it lets the program go on. A Ctrl-C that comes later is for the server."""
    current = signal.getsignal(signal.SIGINT)
    if getattr(current, "__module__", None) == "pdb":
        signal.signal(signal.SIGINT, handler)
