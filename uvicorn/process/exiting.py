"""The end of a process: what an interpreter does at its end, within the time that a stop has.

The interpreter would wait without limit: for every thread that is no daemon, such as a blocked handler in the default
executor; for the processes of a pool and for a child of multiprocessing that does not end; for a queue that nobody
reads. So this module takes the interpreter's steps, in its order: threading's exit callbacks, the exit handlers,
multiprocessing's finalizers and children. Then it writes everything that is buffered, and ends the process.

    leave ── the steps, in this thread ─────────────────────────────────────────────────────────► os._exit
      └───── a guard ── limit: what multiprocessing has started is ended ── a moment later ─────► os._exit

The limit is set by what served in this process (`until`). Children that `subprocess` started are left alone.

Owns: that order. Must not: choose the exit code. Fails by: a line on standard error for a step that failed; the next
steps follow.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from uvicorn.errors import say
from uvicorn.logs import files as logfiles
from uvicorn.process.handlers import undisturbed
from uvicorn.process.interrupts import AGAIN_SECONDS

PATIENCE = 1.0
"""Seconds in which threads may end by themselves."""
LAST = 0.25
"""The least time for the steps, in seconds, and the time for what is left once the children of multiprocessing were
ended."""
STEP = 0.05
"""Seconds between two checks of the guard."""

_ORDERS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU")
"""Signals that mean something while a server runs."""

_log = logging.getLogger("uvicorn.error")
_over_at: float | None = None
_for_good = False
_limit: Callable[[], float] | None = None
_hear: Callable[[int, FrameType | None], Any] | None = None


@contextmanager
def last_word(for_good: bool) -> Iterator[None]:
    """Around a server: a copy of SIGINT or SIGTERM that arrives after the server has ended (`over`) changes neither how
    the process ends nor its exit code. `for_good`: the process ends with the block. An INT one second later still
    interrupts an exit handler that hangs."""
    global _over_at, _for_good
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _over_at, _for_good = None, for_good
    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

    @undisturbed
    def hear(number: int, frame: FrameType | None) -> None:
        if _is_late(number) or before[number] == signal.SIG_IGN:
            return
        if callable(before[number]):
            before[number](number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in numbers:
        signal.signal(number, hear)
    if for_good:
        atexit.register(_hear_no_more)  # the first that is registered, so the last that is called
    try:
        yield
    finally:
        if not for_good:
            for number in numbers:
                signal.signal(number, before[number] or signal.SIG_DFL)


def _is_late(number: int) -> bool:
    if _over_at is None:
        return False
    return number == signal.SIGTERM or time.monotonic() - _over_at < AGAIN_SECONDS


def _hear_no_more() -> None:
    """Ignore the signals: at its very end the interpreter sets those that it handles to their defaults, and leaves
    ignored ones alone."""
    if _over_at is not None:
        for number in (signal.SIGINT, signal.SIGTERM, *_orders()):
            signal.signal(number, signal.SIG_IGN)


def _orders() -> list[int]:
    return [getattr(signal, name) for name in _ORDERS if hasattr(signal, name)]


def is_kept(number: int) -> bool:
    """Whether the handler of this signal stays, because the process is about to end: a program that has read the pid
    file (logrotate) may still send it, and the default would kill the process."""
    return _for_good and number in _orders()


def over() -> None:
    """The server has ended: what follows is the end of the process. Call this before handlers are restored."""
    global _over_at
    _over_at = time.monotonic()


def until(limit: Callable[[], float], hear: Callable[[int, FrameType | None], Any] | None) -> None:
    """Set when the end of this process must be over: `limit` is called again and again, and returns seconds of the
    monotonic clock. `hear` handles SIGINT and SIGTERM meanwhile; without it their handlers stay as they are."""
    global _limit, _hear
    _limit, _hear = limit, hear


def leave(code: int) -> NoReturn:
    """End this process as an interpreter ends, but in time.

    `logging.shutdown` misses handlers from before a `dictConfig` of the application's.
    """
    try:
        _start_guard(code)
        _take(_give_queues_a_moment)
        for step in (*_thread_callbacks(), atexit._run_exitfuncs, _end_multiprocessing):
            _take(step)
        for step in (logfiles.finish, logging.shutdown, _flush):
            _take(step)
    finally:
        os._exit(code & 0xFF)


def _take(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as exc:
        say(f"While leaving: {exc!r}")


def leave_if_held_up(code: int) -> None:
    """Return if nothing keeps the interpreter from ending; else leave, and log what was left running."""
    deadline = time.monotonic() + PATIENCE
    for thread in _others():
        thread.join(max(0.0, deadline - time.monotonic()))
    left = _others()
    if left:
        _log.warning("Leaving without waiting for these threads: %s.", ", ".join(thread.name for thread in left))
    if left or _children() or any(thread.name == "QueueFeederThread" for thread in threading.enumerate()):
        leave(code)


def _others() -> list[threading.Thread]:
    current = threading.current_thread()
    lasting = [thread for thread in threading.enumerate() if thread is not current and not thread.daemon]
    return [thread for thread in lasting if not _waits_for_work(thread)]


def _waits_for_work(thread: threading.Thread) -> bool:
    """Whether the thread belongs to a pool and is idle: the interpreter ends such threads at once, event loops do not.
    The thread that manages a pool of processes ends with them.

    Its stack tells. Rejected: shutting the pools down, which would end those of a program that goes on after us.
    """
    if type(thread).__module__ == "concurrent.futures.process":
        return True
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_globals.get("__name__") in ("queue", "threading"):
        frame = frame.f_back  # a queue that is written in Python
    return (
        frame is not None
        and frame.f_globals.get("__name__") == "concurrent.futures.thread"
        and frame.f_code.co_name == "_worker"
    )


# -- the guard -------------------------------------------------------------------------------------------------


def _start_guard(code: int) -> None:
    if _hear is not None and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _hear)
    try:
        threading.Thread(target=_guard, args=(code, time.monotonic()), name="uvicorn: leaving", daemon=True).start()
    except RuntimeError:
        pass  # no thread can be started: then only a master bounds the time


def _guard(code: int, begun: float) -> None:
    """End the process if the steps are not done in time. Without a limit, end only the children."""
    try:
        _wait(begun)
        for end in ("terminate", "kill"):
            for child in _children():
                _take(getattr(child, end))
            time.sleep(LAST / 2)  # the steps that waited for them go on
    finally:
        if _limit is not None:
            last = threading.Thread(target=logfiles.flush, daemon=True)  # the thread that hangs may hold a lock
            last.start()
            last.join(LAST / 2)
            os._exit(code & 0xFF)


def _wait(begun: float) -> None:
    told = _limit is None
    while max(begun + LAST, 0.0 if _limit is None else _limit()) > time.monotonic():
        if not told and time.monotonic() - begun >= PATIENCE and (children := _children()):
            told = True
            _log.info("Waiting for the processes that multiprocessing has started: %s.", _names(children))
        time.sleep(STEP)
    if children := _children():
        _log.warning("Ending the processes that multiprocessing has started: %s.", _names(children))


def _names(children: list[Any]) -> str:
    return ", ".join(f"{child.name} [{child.pid}]" for child in children)


# -- the steps -------------------------------------------------------------------------------------------------


def _thread_callbacks() -> Iterator[Callable[[], object]]:
    """Threading's exit callbacks, the latest first, without the one that waits for each thread of a pool."""
    for call in reversed(getattr(threading, "_threading_atexits", ())):
        if getattr(call, "func", call).__module__ != "concurrent.futures.thread":
            yield call


def _children() -> list[Any]:
    """The children that multiprocessing has started in this process and that have not ended."""
    process = sys.modules.get("multiprocessing.process")
    return [] if process is None else [p for p in list(process._children) if p._popen.returncode is None]


def _give_queues_a_moment() -> None:
    """Limit the wait of multiprocessing's queues, which is for everything in them to be read."""
    util, queues = sys.modules.get("multiprocessing.util"), sys.modules.get("multiprocessing.queues")
    if util is not None and queues is not None:
        for finalizer in list(util._finalizer_registry.values()):
            if finalizer._callback is queues.Queue._finalize_join:
                finalizer._callback = _join_for_a_moment


def _join_for_a_moment(reference: Callable[[], threading.Thread | None]) -> None:
    thread = reference()
    if thread is not None:
        thread.join(PATIENCE)


def _end_multiprocessing() -> None:
    """Multiprocessing's own exit handler, which a fork of ours has cleared. A second call does nothing."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._exit_function()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
