"""The end of a process that must not wait for what an application left running.

The interpreter would wait without bound for every thread that is no daemon, a blocked handler in the default executor
among them. So the exit handlers run, everything that is buffered is written, and the process leaves.

Owns: that order. Must not: decide on the code. Fails by: a line on standard error for a step that failed, and goes on.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from typing import NoReturn

from uvicorn import logfiles

PATIENCE = 1.0
"""Seconds that threads get to end by themselves."""

_log = logging.getLogger("uvicorn.error")


def leave(code: int) -> NoReturn:
    """Run the exit handlers that are registered, flush, and end this process.

    `logging.shutdown` misses handlers from before a `dictConfig` of the application's.
    """
    try:
        for step in (atexit._run_exitfuncs, logfiles.flush, logging.shutdown, _flush):
            try:
                step()
            except Exception as exc:
                sys.stderr.write(f"While leaving: {exc!r}\n")
    finally:
        os._exit(code & 0xFF)


def leave_if_held_up(code: int) -> None:
    """Return if nothing would keep the interpreter from ending; else leave, and say what was left running."""
    deadline = time.monotonic() + PATIENCE
    for thread in _others():
        thread.join(max(0.0, deadline - time.monotonic()))
    left = _others()
    if left:
        _log.warning("Leaving without waiting for these threads: %s.", ", ".join(thread.name for thread in left))
        leave(code)


def _others() -> list[threading.Thread]:
    current = threading.current_thread()
    lasting = [thread for thread in threading.enumerate() if thread is not current and not thread.daemon]
    return [thread for thread in lasting if not _waits_for_work(thread)]


def _waits_for_work(thread: threading.Thread) -> bool:
    """Whether it belongs to a pool and is idle: the interpreter ends those at once, and no event loop does.

    Told by where it stands. Rejected: dismissing the pools, which would end those of a program that goes on after us.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_globals.get("__name__") in ("queue", "threading"):
        frame = frame.f_back  # a queue that is written in Python
    return (
        frame is not None
        and frame.f_globals.get("__name__") == "concurrent.futures.thread"
        and frame.f_code.co_name == "_worker"
    )


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
