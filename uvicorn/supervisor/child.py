"""Between the fork and the worker: what a new process must shed before it may call itself a worker.

Owns: the order of those steps, the cause that a worker which cannot go on sends home, and the way out
(`os._exit`, so that nothing of the master's runs in its child). Not inherited: the other workers' channel
ends (a process that holds one keeps a lifeline alive that should be dead), the master's signal handlers and
wake-up descriptor, its exit handlers, its random state. TERM and QUIT keep their default until the worker's
server takes them, and it raises out of an import that hangs; INT has a handler that does nothing, unless the master
says that it is for a debugger (Ctrl-C reaches the whole group and the master decides; SIG_IGN would be inherited by
the application's own children).

Must not: decide anything, or return. Fails by: `Failed` on the channel, and the exit code in it.
"""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from uvicorn.errors import ExitCode, UvicornError, describe_failure, say
from uvicorn.process import channel
from uvicorn.process.exiting import leave
from uvicorn.process.lifeline import Lifeline

Run = Callable[[], int]

_log = logging.getLogger("uvicorn.error")

_DEFAULT = ("SIGTERM", "SIGQUIT", "SIGCHLD", "SIGWINCH")
_SILENT = ("SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")


class Birth(NamedTuple):
    """What the kernel hands to the new process. `dump_fd` and `dump_signal` are -1 and 0 where there is
    none."""

    link: channel.WorkerLink
    title: str
    dump_fd: int
    dump_signal: int


def become(birth: Birth, close: Iterable[Callable[[], None]], run: Run) -> NoReturn:
    """Turn a fresh fork, all signals blocked, into a worker; never returns. `close` closes what is not
    ours."""
    code: int = ExitCode.INTERNAL
    prepared = False
    try:
        for one in close:
            one()
        _prepare(birth)
        prepared = True
        code = _serve(birth.link, run)
    finally:
        if not prepared:  # the master's exit handlers may still be registered
            os._exit(code)
        leave(code)


def _prepare(birth: Birth) -> None:
    signal.set_wakeup_fd(-1)
    for name in _DEFAULT:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    for name in _SILENT:
        signal.signal(getattr(signal, name), _nothing)
    signal.signal(signal.SIGINT, birth.link.hear_interrupt)
    if birth.link.report_signal:
        signal.signal(birth.link.report_signal, birth.link.hear_interrupt)  # until the server has something to report
    if birth.dump_fd >= 0:
        faulthandler.register(birth.dump_signal, file=birth.dump_fd, all_threads=True, chain=False)
    atexit._clear()
    _disown_children()
    random.seed()
    set_title(birth.title)
    channel.current = birth.link
    Lifeline(birth.link).watch()
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _disown_children() -> None:
    """What multiprocessing remembers of a program that forks its workers: the children are not ours to wait for."""
    process: Any = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    pools = sys.modules.get("concurrent.futures.process")
    if process is not None:
        process._children = set()
    if util is not None:
        util._finalizer_registry.clear()
    if pools is not None:
        pools._threads_wakeups.clear()


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler for signals that are the master's business."""


def _serve(link: channel.WorkerLink, run: Run) -> int:
    """Run the worker; an exception becomes a cause for the master, which is the one that logs it."""
    code: int
    try:
        code = run()
    except BaseException as exc:
        booting = link.heartbeat.read().phase is channel.Phase.BOOTING
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
        say(message.cause)  # no master is left to log it


def set_title(title: str) -> None:
    """What `ps` shows, where the optional package for it is installed. Never fails: it only decorates."""
    try:
        import setproctitle

        # A name from the command line of an interpreter that knows no UTF-8 has its bytes as surrogates.
        setproctitle.setproctitle(os.fsencode(title).decode("utf-8", "backslashreplace"))
    except Exception as exc:
        _log.debug("The title of the process cannot be set: %s.", exc)
