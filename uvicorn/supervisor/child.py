"""Between the fork and the worker: what a new process sheds before it serves.

In this order: the master's descriptors (the other workers' channels above all: a process that holds one keeps a
lifeline alive that should be dead), its signal handlers and wake-up descriptor, its exit handlers, what
multiprocessing knows of its children, its random state. TERM and QUIT keep their default until the worker's server
handles them, and raises out of an import that hangs. INT has a handler that does nothing, unless the master says that
it is for a debugger: Ctrl-C reaches the whole group and the master decides, and SIG_IGN would be inherited by the
application's own children.

Owns: that order, the cause that a worker which cannot go on sends to the master, and the way out (`exiting.leave`, so
that nothing of the master's runs in its child). Must not: decide anything, or return. Fails by: `Failed` on the
channel, and the exit code in it.
"""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from uvicorn.errors import ExitCode, UvicornError, describe_failure, say
from uvicorn.process import channel
from uvicorn.process.exiting import leave
from uvicorn.process.handlers import undisturbed
from uvicorn.process.lifeline import Lifeline
from uvicorn.process.page import Phase

Run = Callable[[], int]

_log = logging.getLogger("uvicorn.error")

_DEFAULT = ("SIGTERM", "SIGQUIT", "SIGCHLD", "SIGWINCH")
_SILENT = ("SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")


class ChildSetup(NamedTuple):
    """What a new process is handed. `dump_signal` asks for its stacks, which go to `link.report_fd`; 0 where there is
    none."""

    link: channel.WorkerLink
    title: str
    dump_signal: int


def run_child(setup: ChildSetup, private: Collection[int], run: Run) -> NoReturn:
    """Turn a fresh fork, all signals blocked, into a worker that calls `run`; never returns. `private` are the
    descriptors that it must not have."""
    code: int = ExitCode.INTERNAL
    prepared = False
    try:
        close_descriptors(private)
        _prepare(setup)
        prepared = True
        code = _serve(setup.link, run)
    finally:
        if not prepared:  # the master's exit handlers may still be registered
            os._exit(code)
        leave(code)


def close_descriptors(fds: Collection[int]) -> None:
    """Close these descriptors: one call for each run of neighbours, since a large fleet has hundreds of them."""
    ordered = sorted(fds)
    first = 0
    for index, fd in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != fd + 1:
            os.closerange(ordered[first], fd + 1)
            first = index + 1


def _prepare(setup: ChildSetup) -> None:
    signal.set_wakeup_fd(-1)
    for name in _DEFAULT:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    for name in _SILENT:
        signal.signal(getattr(signal, name), _do_nothing)
    signal.signal(signal.SIGINT, setup.link.hear_interrupt)
    if setup.link.report_signal:
        signal.signal(setup.link.report_signal, setup.link.hear_interrupt)  # until the server has something to report
    if setup.link.report_fd >= 0:
        faulthandler.register(setup.dump_signal, file=setup.link.report_fd, all_threads=True, chain=False)
    atexit._clear()
    _disown_children()
    random.seed()
    set_title(setup.title)
    channel.current = setup.link
    Lifeline(setup.link).watch()
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _disown_children() -> None:
    """Forget the children that multiprocessing has started in a program that forks its workers: they are the
    program's to wait for."""
    process: Any = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    pools = sys.modules.get("concurrent.futures.process")
    if process is not None:
        process._children = set()
    if util is not None:
        util._finalizer_registry.clear()
    if pools is not None:
        pools._threads_wakeups.clear()


@undisturbed
def _do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler for signals that the master acts on."""


def _serve(link: channel.WorkerLink, run: Run) -> int:
    """Run the worker. The exit code; the cause of a failure is sent to the master, which logs it."""
    code: int
    try:
        code = run()
    except BaseException as exc:
        booting = link.heartbeat.read().phase is Phase.BOOTING
        if isinstance(exc, UvicornError):
            code = exc.exit_code
        elif isinstance(exc, SystemExit) and not booting:
            code = exc.code if isinstance(exc.code, int) else ExitCode.INTERNAL
        else:
            code = ExitCode.STARTUP if booting else ExitCode.INTERNAL
        if code != ExitCode.OK and not link.failed:
            _report(link, channel.Failed(code, describe_failure(exc)))
    return code


def _report(link: channel.WorkerLink, message: channel.Failed) -> None:
    try:
        link.say(message)
    except channel.ChannelClosed:
        say(message.cause)  # there is no master any more that would log it


def set_title(title: str) -> None:
    """Set what `ps` shows, where the optional package setproctitle is installed. Never fails."""
    try:
        import setproctitle

        # A name from the command line of an interpreter that knows no UTF-8 has its bytes as surrogates.
        setproctitle.setproctitle(os.fsencode(title).decode("utf-8", "backslashreplace"))
    except Exception as exc:
        _log.debug("The title of the process cannot be set: %s.", exc)
