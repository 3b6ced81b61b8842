"""What a process that serves does, from its first signal handler to its exit code, with a master or without one.

Owns: serving in this process as the command does: captured signals are not raised again, and the exit code is that of
the table in `errors`. Must not: bind, fork, or decide anything about other workers. Fails by: the exit code; the cause
is logged here, or reported to the master.
"""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

from uvicorn.errors import ExitCode
from uvicorn.net.sockets import Listener
from uvicorn.process import channel, exiting, pidfile
from uvicorn.process.handlers import undisturbed
from uvicorn.process.terminal import Terminal
from uvicorn.worker import faults
from uvicorn.worker.loop.forks import cleaned_forks
from uvicorn.worker.loop.pulse import EACH_TICK
from uvicorn.worker.server import Server
from uvicorn.worker.signals import HANDLED_SIGNALS

KEPT = 4 << 20
"""Bytes. Twice as many may be free at the end of the heap before they are returned to the system (glibc)."""

_NEEDS_A_MASTER = {
    getattr(signal, name): (name, what)
    for name, what in {
        "SIGHUP": "reload",
        "SIGUSR2": "upgrade",
        "SIGTTIN": "start one worker more",
        "SIGTTOU": "stop one worker",
    }.items()
    if hasattr(signal, name)
}

_log = logging.getLogger("uvicorn.error")


def serve(server: Server, listeners: list[Listener], target: Callable[..., Any]) -> int:
    """Serve on `listeners` until asked to stop. Returns the exit code of this process.

    `target` is called to run the server: `server.run`, or what a program has put in its place.
    """
    server._known_listeners = listeners
    server.reraise_signals = False
    link = channel.current
    alone = link is None
    _handle_more_signals(server, alone)
    settle_memory()
    faults.enable(server.config.log_file)
    try:
        with (
            _hearing(server) if alone else nullcontext(),
            cleaned_forks(server, listeners, link),
            pidfile.written(server.config.pid if alone else None),
        ):
            target(sockets=[listener.sock for listener in listeners])
    except KeyboardInterrupt:
        pass  # from a Ctrl-C when our handlers are not in place any more
    except SystemExit:
        if server.failure is None:
            raise
    finally:
        exiting.until(server._shutdown_steps.leave_by, server.handle_exit if alone else None)
    return exit_status(server)


def exit_status(server: Server) -> int:
    """The exit code of this process: 3 also for a server that never started although nobody stopped it, because a
    program has replaced `Server.run`.
    """
    status = server._exit_status()
    if status == ExitCode.OK and not (server.started or server.should_exit):
        status = ExitCode.STARTUP
    return int(status)


@contextmanager
def _hearing(server: Server) -> Iterator[None]:
    """The server handles SIGINT and SIGTERM until its loop has ended, which may have to wait for tasks that the
    application has left: these are the handlers that `capture_signals` restores."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, server._hear_signal) for number in HANDLED_SIGNALS}
    try:
        yield
    finally:
        exiting.over()
        for number, handler in before.items():
            signal.signal(number, handler)


def settle_memory() -> None:
    """Prepare the memory of a process that is about to serve, once everything is imported.

    The garbage collector does not look at what is there again (PyPy's is generational and needs no help). And glibc
    keeps what is freed at the end of the heap, up to twice KEPT instead of 128 KiB.

    With large bodies a turn of the loop allocates and frees a megabyte. If that were returned to the system each time,
    every page of it would be a page fault in the next turn, which costs more than all of the interpreter's work. The
    threshold follows the largest mapped block that was ever freed (mallopt(3), M_MMAP_THRESHOLD). Without glibc this
    does nothing.
    """
    if hasattr(gc, "freeze"):
        gc.freeze()
    bytes(KEPT)


def reopen_on_usr1(server: Server) -> None:
    """Open the log files anew on USR1, as a master does; its default would end the process. This happens at the next
    tick, not in the handler."""

    @undisturbed
    def reopen(sig: int, frame: FrameType | None) -> None:
        server.reopen_logs = True

    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, reopen)


@contextmanager
def reopening(server: Server) -> Iterator[None]:
    """`reopen_on_usr1` while inside, in a program that does not handle the signal itself."""
    mine = (
        hasattr(signal, "SIGUSR1")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    )
    if mine:
        reopen_on_usr1(server)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def _handle_more_signals(server: Server, alone: bool) -> None:
    """QUIT stops at once (its default would write a core file). Signals for a master are explained in the log and
    have no effect, except for the HUP of a terminal that is gone."""
    terminal: Terminal | None = None

    @undisturbed
    def stop_now(sig: int, frame: FrameType | None) -> None:
        server.should_exit = server.force_exit = True
        if not server.config.loaded:
            server.leave_import()

    @undisturbed
    def hang_up(sig: int, frame: FrameType | None) -> None:
        if terminal is not None and terminal.hung_up(time.monotonic()):
            _log.warning("The terminal is gone: stopping.")
            server._hear_signal(signal.SIGTERM, frame)
        else:
            explain(sig, frame)

    @undisturbed
    def explain(sig: int, frame: FrameType | None) -> None:
        name, what = _NEEDS_A_MASTER[sig]
        _log.warning("%s: there is no master to %s. Start with --supervise or --workers 2.", name, what)

    @undisturbed
    def explain_number(sig: int, frame: FrameType | None) -> None:
        if terminal is not None and terminal.in_background():  # the kernel's signal for using the terminal: wait
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
            signal.signal(sig, explain_number)
        else:
            explain(sig, frame)

    link = channel.current
    if link is not None and link.report_signal:
        signal.signal(link.report_signal, server._master.report_in_flight)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGQUIT, stop_now)
        if alone:
            terminal = Terminal.take()
            if terminal is not None:
                server._pulse.every(EACH_TICK, terminal.look)
            signal.signal(signal.SIGHUP, hang_up)
            signal.signal(signal.SIGUSR2, explain)
            for number in (signal.SIGTTIN, signal.SIGTTOU):
                signal.signal(number, explain_number)
            reopen_on_usr1(server)
