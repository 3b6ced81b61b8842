"""What a worker process does, from the loop to its exit code. The same with a master and without one.

Owns: serving in this process as the command wants it: captured signals are not raised again, and the exit code follows
the table in `errors`. Must not: bind, fork, or judge other workers. Fails by: the exit code; the cause is logged here,
or, under a master, told to it.
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
from uvicorn.process.terminal import Terminal
from uvicorn.worker import faults
from uvicorn.worker.loop.forks import shedding
from uvicorn.worker.loop.pulse import EACH_TICK
from uvicorn.worker.server import Server
from uvicorn.worker.signals import HANDLED_SIGNALS

KEPT = 4 << 20
"""Bytes. Twice as many may be free at the end of a worker's heap before they go back to the system."""

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
    """Serve on `listeners` until asked to stop; the exit code of this process. `target` is what runs the server, as the
    program around it wants.
    """
    server._known = listeners
    server.reraise_signals = False
    link = channel.current
    alone = link is None
    _handle_more_signals(server, alone)
    settle_memory()
    faults.enable(server.config.log_file)
    try:
        with (
            _hearing(server) if alone else nullcontext(),
            shedding(server, listeners, link),
            pidfile.written(server.config.pid if alone else None),
        ):
            target(sockets=[listener.sock for listener in listeners])
    except KeyboardInterrupt:
        pass  # between our handlers and the loop's end: somebody at a terminal, asked to stop
    except SystemExit:
        if server.failure is None:
            raise
    finally:
        exiting.until(server._shutdown_steps.leave_by, server.handle_exit if alone else None)
    return exit_status(server)


def exit_status(server: Server) -> int:
    """What this process leaves with: 3 as well for a server that was run and never started, though nobody stopped it:
    what ran was something else, in the place of `Server.run`.
    """
    status = server._exit_status()
    if status == ExitCode.OK and not (server.started or server.should_exit):
        status = ExitCode.STARTUP
    return int(status)


@contextmanager
def _hearing(server: Server) -> Iterator[None]:
    """SIGINT and SIGTERM are the server's from the start to the end of its loop, which may have to wait for what the
    application has left: what `capture_signals` gives back is this."""
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
    """What a process that is a worker from now on does once it has imported everything.

    The collector does not look at it again (that of PyPy, which has generations, needs no telling). And glibc keeps
    what is freed at the end of the heap, up to twice KEPT instead of 128 KiB.

    A turn of the loop takes and frees a megabyte when bodies are large; given back each time, every page of it would be
    a page fault in the next turn, which cost more than all of the interpreter's work. The threshold follows the largest
    mapped block that was ever freed (mallopt(3), M_MMAP_THRESHOLD). Elsewhere than on glibc this does nothing.
    """
    if hasattr(gc, "freeze"):
        gc.freeze()
    bytes(KEPT)


def reopen_on_usr1(server: Server) -> None:
    """The same as a master does on USR1, whose default would end the process. Done at the next tick, not in the
    handler."""

    def reopen(sig: int, frame: FrameType | None) -> None:
        server.reopen_logs = True

    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, reopen)


@contextmanager
def reopening(server: Server) -> Iterator[None]:
    """`reopen_on_usr1` while inside, in a program that has not taken the signal for itself."""
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
    """QUIT stops now (its default would write a core file). What is meant for a master is explained: nobody dies of
    it, but for a HUP that says that the terminal is gone."""
    terminal: Terminal | None = None

    def stop_now(sig: int, frame: FrameType | None) -> None:
        server.should_exit = server.force_exit = True
        if not server.config.loaded:
            server.leave_import()

    def hang_up(sig: int, frame: FrameType | None) -> None:
        if terminal is not None and terminal.hung_up(time.monotonic()):
            _log.warning("The terminal is gone: stopping.")
            server._hear_signal(signal.SIGTERM, frame)
        else:
            explain(sig, frame)

    def explain(sig: int, frame: FrameType | None) -> None:
        name, what = _NEEDS_A_MASTER[sig]
        _log.warning("%s: there is no master to %s. Start with --supervise or --workers 2.", name, what)

    def explain_number(sig: int, frame: FrameType | None) -> None:
        if terminal is not None and terminal.in_background():  # the kernel's: it reads or writes, and has to wait
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
