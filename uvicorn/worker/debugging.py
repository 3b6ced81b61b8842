"""Whether a debugger has stopped this process, which explains a blocked loop.

A debugger can be recognized in three ways: by a trace function in the main thread, by a tool registered with
`sys.monitoring` as a debugger, and, at its prompt, by its frames on the stack of the thread that it has stopped.
Coverage has a trace function too, and does not count. A program that reads the terminal without a debugger, with
`input()` for instance, can only be recognized by the master.

Owns: that judgement. Must not: change anything, since it runs between two bytecodes of whatever is stopped. Fails by:
nothing.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

SILENT_SECONDS = 0.3
"""An attached debugger counts once the loop has not turned for so long."""

_DEBUGGERS = ("bdb", "pdb", "_pydevd_bundle", "_pydevd_sys_monitoring")
_COVERAGE = "coverage"


def is_held(frame: FrameType | None, silent: float) -> bool:
    """Whether a debugger has stopped the main thread. To be called there, by a signal handler that has interrupted
    `frame`. `silent`: seconds for which the loop has not turned; a debugger may be attached and let the program run."""
    monitoring: Any = getattr(sys, "monitoring", None)
    tool = None if monitoring is None else monitoring.get_tool(monitoring.DEBUGGER_ID)
    attached = _is_debugger(sys.gettrace()) or (tool is not None and not tool.startswith(_COVERAGE))
    return _passes_debugger(frame) or (attached and silent >= SILENT_SECONDS)


def is_asking() -> bool:
    """Whether a debugger is at its prompt, in any thread."""
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
    """pdb handles SIGINT from the moment it continues the program. Make a later Ctrl-C the server's again."""
    current = signal.getsignal(signal.SIGINT)
    if getattr(current, "__module__", None) == "pdb":
        signal.signal(signal.SIGINT, handler)
