"""The master in an interpreter of its own, for `run("module:app", workers=4)`: the calling process.

A program that calls `run()` has imported half of its modules already. Workers forked from it would inherit them as they
were, and a reload would serve old code. So a new interpreter gets nothing but the settings, and this process stands in
for it: it passes on signals, notifications to the service manager, and the exit status. When this process dies, the new
one stops.

    caller ── settings (one pipe), then signal numbers (another) ──► new interpreter (`interpreter_main`): the master

Both stay in one process group, because a debugger in a worker needs the terminal. So a Ctrl-C reaches both; the pipe
lets the master tell the copy that was passed on from its own (`supervisor.caller`). The settings are plain data
(`packing`), so the master imports no module of the program.

Owns: the new process, from its start to its end. Must not: bind, or judge a worker. Fails by: the exit code.
"""

from __future__ import annotations

import logging
import marshal
import os
import select
import signal
import subprocess
import sys
from typing import Any

from uvicorn.launch.notify_relay import NotifyRelay
from uvicorn.process import reaping
from uvicorn.process.wakeup import SignalSocket
from uvicorn.settings import environment
from uvicorn.supervisor import events

_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; from uvicorn.launch.interpreter_main import main;"
    " main(int(sys.argv[1]), int(sys.argv[2]))"
)
"""Imports only a built-in module before `sys.path` is the caller's."""

_log = logging.getLogger("uvicorn.error")


def run(settings: dict[str, Any]) -> int:
    """Serve as `run(**settings)` would, in a new interpreter, until it ends. Returns the exit code."""
    signals = SignalSocket.install(one.value for one in events.Signal)
    relay = NotifyRelay.open()
    reader, writer = os.pipe()
    try:
        process = _start(settings, reader, relay, signals.previous[signal.SIGHUP] == signal.SIG_IGN)
        return _stand_in(process, signals, writer, relay)
    finally:
        os.close(writer)
        if relay is not None:
            relay.close()
        signals.restore()


def _start(
    settings: dict[str, Any], lifeline: int, relay: NotifyRelay | None, ignores_hangup: bool
) -> subprocess.Popen[bytes]:
    """Start the interpreter and send it the settings; closes `lifeline` here.

    It starts with all signals blocked, so that none ends it before its master handles them.
    """
    source, target = os.pipe()
    path = [entry for entry in sys.path if isinstance(entry, str)]
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    if getattr(sys.__stdout__, "write_through", False):
        flags.append("-u")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        process = subprocess.Popen(
            [sys.executable, *flags, "-c", _BOOT, str(source), str(lifeline), *path],
            pass_fds=[source, lifeline, *_passed_descriptors(settings)],
            env={**os.environ, **({} if relay is None else {"NOTIFY_SOCKET": relay.name})},
        )
    except BaseException:
        os.close(target)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(source)
        os.close(lifeline)
    data = marshal.dumps((sys.argv, settings, ignores_hangup, environment.applied))
    try:
        with open(target, "wb") as pipe:
            pipe.write(data)
    except BrokenPipeError:
        pass  # it has ended already; its exit status says why
    return process


def _passed_descriptors(settings: dict[str, Any]) -> list[int]:
    """Sockets that were opened for the server: `fd`, and those that a service manager passed to this process."""
    passed = [] if settings.get("fd") is None else [settings["fd"]]
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and count.isdigit():
        passed += range(3, 3 + int(count))
    return passed


def _stand_in(process: subprocess.Popen[bytes], signals: SignalSocket, lifeline: int, relay: NotifyRelay | None) -> int:
    """Pass signals and notifications on until `process` ends. Returns the exit code."""
    poller = select.poll()
    poller.register(signals, select.POLLIN)
    if relay is not None:
        poller.register(relay.sock, select.POLLIN)
    while (code := _exit_status(process)) is None:
        poller.poll()
        try:
            os.write(lifeline, bytes(number for number in signals.read() if number != signal.SIGCHLD))
        except BrokenPipeError:
            pass  # it is ending; SIGCHLD follows
        if relay is not None:
            relay.pass_on(process.pid)
    if relay is not None:
        relay.pass_on(process.pid)
    if code < 0:
        _log.error("The master [%d] was killed by %s.", process.pid, signal.Signals(-code).name)
        return 128 - code
    return code


def _exit_status(process: subprocess.Popen[bytes]) -> int | None:
    """The status of the child once it has ended. As PID 1 this also reaps every orphan."""
    if os.getpid() == 1 and (status := reaping.reap_all().get(process.pid)) is not None:
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.poll()
