"""The master in an interpreter of its own, for `run("module:app", workers=4)`.

A program that calls `run` has imported half of its modules already, and workers forked from it would inherit them as
they were: a reload would serve old code. So a child is started with nothing but the settings, and this process stands
for it: signals are passed on, the exit status is passed on, and when this process dies, the child stops too.

    caller ── settings (one pipe), then signal numbers (another) ──► new interpreter: `main` → master → workers

Both stay in one process group, because a debugger in a worker needs the terminal: Ctrl-C reaches both, and the pipe
lets the master tell the copy that was passed on from its own (`supervisor.caller`). Only plain data travels, so that
nothing of the program's is imported by the master: classes and functions go by name, and what has no name is left out
of `log_config`; of any other setting `run` says so and forks instead (`pack`).
A service manager knows the caller's pid alone: its notifications are passed on as well.

Owns: both ends of that. Must not: bind, or judge a worker. Fails by: the exit code.
"""

from __future__ import annotations

import logging
import marshal
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from typing import Any, NamedTuple, NoReturn

from uvicorn.config import Config
from uvicorn.errors import ConfigError, ExitCode, say
from uvicorn.logs import setup as logconfig
from uvicorn.main import serve
from uvicorn.process.exiting import last_word
from uvicorn.settings import environment
from uvicorn.supervisor.caller import Caller
from uvicorn.supervisor.kernel import Kernel, Signals
from uvicorn.surface import naming

_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; from uvicorn.launch.own_interpreter import main;"
    " main(int(sys.argv[1]), int(sys.argv[2]))"
)
"""Nothing but a built-in module is imported before the caller's path is there."""

_CREDENTIALS = struct.Struct("3i")
"""Pid, user and group of who sent a datagram."""

_log = logging.getLogger("uvicorn.error")


# -- the caller ------------------------------------------------------------------------------------------------


class Packed(NamedTuple):
    """Settings as plain data, what was left out of `log_config` (a sentence each), and why they cannot be served by
    another interpreter (a clause each)."""

    settings: dict[str, Any]
    left_out: list[str]
    obstacles: list[str]


def pack(settings: dict[str, Any]) -> Packed:
    """What another interpreter is told. Classes and functions travel by name: as an import string, and in `log_config`
    as `logging.config` reads it."""
    packed = Packed({}, [], [])
    if not sys.executable or getattr(sys, "frozen", False):
        packed.obstacles.append("there is no interpreter beside this program")
    for name, value in settings.items():
        try:
            if name == "log_config" and isinstance(value, dict):
                packed.settings[name], sentences = logconfig.spelled(value)
                packed.left_out.extend(sentences)
            else:
                packed.settings[name] = naming.plain(value, naming.name_of)
        except naming.Unnamed as exc:
            packed.obstacles.append(
                f"{name} is {exc}, which no module has under a name (define it at the top level of one)"
            )
        except RecursionError:
            packed.obstacles.append(f"{name} contains itself")
    return packed


def run(settings: dict[str, Any]) -> int:
    """Serve as `run(**settings)` says (plain data) in a new interpreter, from start to end; the exit code."""
    signals = Signals.install()
    mail = Mail.open()
    reader, writer = os.pipe()
    try:
        process = _start(settings, reader, mail, signals.previous[signal.SIGHUP] == signal.SIG_IGN)
        return _stand_in(process, signals, writer, mail)
    finally:
        os.close(writer)
        if mail is not None:
            mail.close()
        signals.restore()


def _start(settings: dict[str, Any], lifeline: int, mail: Mail | None, ignores_hangup: bool) -> subprocess.Popen[bytes]:
    """The new interpreter; it has the settings, and `lifeline` is closed here. It is born with all signals blocked, so
    that none ends it before its master handles them."""
    source, target = os.pipe()
    path = [entry for entry in sys.path if isinstance(entry, str)]
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    if getattr(sys.__stdout__, "write_through", False):
        flags.append("-u")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        process = subprocess.Popen(
            [sys.executable, *flags, "-c", _BOOT, str(source), str(lifeline), *path],
            pass_fds=[source, lifeline, *_given_descriptors(settings)],
            env={**os.environ, **({} if mail is None else {"NOTIFY_SOCKET": mail.name})},
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
        pass  # it is gone already; its exit status says why
    return process


def _given_descriptors(settings: dict[str, Any]) -> list[int]:
    """The sockets that somebody opened for the server: `fd`, and those of a service manager for this process."""
    given = [] if settings.get("fd") is None else [settings["fd"]]
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and count.isdigit():
        given += range(3, 3 + int(count))
    return given


def _stand_in(process: subprocess.Popen[bytes], signals: Signals, lifeline: int, mail: Mail | None) -> int:
    poller = select.poll()
    poller.register(signals.reader, select.POLLIN)
    if mail is not None:
        poller.register(mail.sock, select.POLLIN)
    while (code := _exit_status(process)) is None:
        poller.poll()
        try:
            os.write(lifeline, bytes(number for number in signals.read() if number != signal.SIGCHLD))
        except BrokenPipeError:
            pass  # it is going; SIGCHLD follows
        if mail is not None:
            mail.pass_on(process.pid)
    if mail is not None:
        mail.pass_on(process.pid)
    if code < 0:
        _log.error("The master [%d] was ended by %s.", process.pid, signal.Signals(-code).name)
        return 128 - code
    return code


def _exit_status(process: subprocess.Popen[bytes]) -> int | None:
    """That of our child, once it has ended. As PID 1 every orphan is reaped on the way."""
    while os.getpid() == 1 and process.returncode is None:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
    return process.poll()


# PyPy does not name them; these are Linux's numbers on the processors that it runs on.
_SO_PASSCRED: int = getattr(socket, "SO_PASSCRED", 16)
_SCM_CREDENTIALS: int = getattr(socket, "SCM_CREDENTIALS", 2)


class Mail:
    """Datagrams for the service manager: it believes this process, whose pid it knows, and not a child."""

    def __init__(self, manager: str) -> None:
        self._manager = "\0" + manager[1:] if manager.startswith("@") else manager
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
        self.sock.bind("")  # Linux chooses an abstract name; only there is a manager that is notified
        self.name = "@" + self.sock.getsockname()[1:].decode()

    @classmethod
    def open(cls) -> Mail | None:
        """None where nobody is to be notified."""
        manager = os.environ.get("NOTIFY_SOCKET")
        try:
            return cls(manager) if manager and sys.platform == "linux" else None
        except OSError as exc:
            _log.debug("The service manager cannot be notified: %s.", exc)
            return None

    def pass_on(self, pid: int) -> None:
        """Send on what that process has said; anybody may write to an abstract name."""
        while True:
            try:
                data, about, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(_CREDENTIALS.size))
                if any(kind == _SCM_CREDENTIALS and _CREDENTIALS.unpack(raw)[0] == pid for _, kind, raw in about):
                    self.sock.sendto(data, self._manager)
            except BlockingIOError:
                return
            except (OSError, ValueError) as exc:
                _log.debug("The service manager cannot be notified: %s.", exc)
                return

    def close(self) -> None:
        self.sock.close()


# -- the new interpreter ---------------------------------------------------------------------------------------


def main(source: int, lifeline: int) -> NoReturn:
    """Read the settings from descriptor `source`, be the master, and leave with its exit code."""
    with open(source, "rb") as pipe:
        data = pipe.read()
    if not data:  # the caller is gone
        sys.exit(ExitCode.INTERNAL)
    sys.argv[:], settings, ignores_hangup, from_files = marshal.loads(data)
    environment.applied.update(from_files)
    if ignores_hangup:  # as a process keeps it that is not started by a caller
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for name in ("LISTEN_PID", "WATCHDOG_PID"):  # meant for the caller, for whom we stand
        if os.environ.get(name) == str(os.getppid()):
            os.environ[name] = str(os.getpid())
    try:
        config = Config(**settings)
        config.supervise = True
        with last_word(for_good=True):
            code = serve(config, kernel=lambda: _make_kernel(lifeline))
    except ConfigError as exc:
        say(f"Error: {exc}")
        code = ExitCode.USAGE
    sys.exit(code)


def _make_kernel(lifeline: int) -> Kernel:
    kernel = Kernel(Caller(lifeline))
    signal.pthread_sigmask(signal.SIG_SETMASK, set())  # from here on signals are heard
    return kernel
