"""`--reload` where there is no fork: this process watches files, and a child interpreter serves.

The child is started with `subprocess` and reads its settings from a file (`packing`). It inherits the listening
sockets, which stay open here, so clients wait while it is replaced. It also inherits one end of a socket pair, where
end of file means stop, because Windows has no signal for that. Where there is fork, the master does all this better; an
environment variable (`SWITCH`) chooses this way there too, for tests.

States of the child: started → exited (a change starts it again) or told to stop (`drain_as`: what is open ends after a
moment, the lifespan's shutdown gets the rest of the time). A child that does not stop in time is killed.

Owns: both ends of that. Must not: be used for several workers.
Fails by: the exit code; ConfigError for settings that cannot be passed to the child; StartupError for the sockets.
"""

from __future__ import annotations

import _thread
import contextlib
import marshal
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn

from uvicorn.config import Config, logger
from uvicorn.errors import ConfigError, ExitCode, say
from uvicorn.launch import packing
from uvicorn.launch.reloading import KILL_GRACE, LEAVE_SECONDS, BaseReload, interrupts_held
from uvicorn.net import sockets
from uvicorn.net.sockets import Listener
from uvicorn.process.drainmode import DrainMode
from uvicorn.watcher.main import Watch, forget_compiled
from uvicorn.worker import process
from uvicorn.worker.server import Server

SWITCH = "_UVICORN_PORTABLE_RELOAD"

_BOOT = "import sys; sys.path[:] = sys.argv[4:]; from uvicorn.launch.portable import main; main(*sys.argv[1:4])"
_PARENT_ONLY = ("reload_dirs", "reload_includes", "reload_excludes", "workers", "pid")


def is_needed() -> bool:
    """Whether this system has no fork (or `SWITCH` is set)."""
    return not hasattr(os, "fork") or SWITCH in os.environ


def run(config: Config, settings: dict[str, Any], watch: Watch) -> int:
    """Serve until asked to stop. Returns the exit code. `settings` are the arguments of `config`.

    Raises ConfigError, StartupError.
    """
    packed = packing.pack(settings)
    if packed.obstacles:
        raise ConfigError(f"--reload starts a new interpreter on this system, but {'; '.join(packed.obstacles)}.")
    packing.warn_of_left_out(packed)
    listeners = config.bind()
    try:
        Reloader(config, packed.settings, watch, [listener.sock for listener in listeners]).run()
    finally:
        sockets.close_all(listeners)
    return ExitCode.OK


class Reloader(BaseReload):
    """The watching process. `settings` are plain data."""

    def __init__(self, config: Config, settings: dict[str, Any], watch: Watch, socks: list[socket.socket]) -> None:
        super().__init__(config, main, socks)
        kept = {name: value for name, value in settings.items() if name not in _PARENT_ONLY}
        self._data = marshal.dumps((sys.argv, {**kept, "reload": False, "supervise": False}))
        self.reloader_name = watch.name
        self._batches = watch.batches(self.should_exit)
        self._child: subprocess.Popen[bytes]
        self._lifeline: socket.socket
        self._file = ""
        self._reported_exit = False

    def should_restart(self) -> list[Path] | None:
        if self._child.poll() is not None and not self._reported_exit and not self.should_exit.is_set():
            self._reported_exit = True
            logger.error("The server exited with status %d. It starts again when a file changes.", self._child.poll())
        _, paths = next(self._batches, ("", []))
        for path in paths:
            forget_compiled(path)
        return [Path(path) for path in paths] or None

    def _start(self) -> None:
        self._reported_exit = False
        self._lifeline, theirs = socket.socketpair()
        descriptor, self._file = tempfile.mkstemp()
        with open(descriptor, "wb") as file:
            file.write(self._data)
        passed = [theirs, *self.sockets]
        for sock in passed:
            sock.set_inheritable(True)
        numbers = [sock.fileno() for sock in passed]
        unix: dict[str, Any] = {"pass_fds": numbers} if os.name == "posix" else {"close_fds": False}
        path = [entry for entry in sys.path if isinstance(entry, str)]
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        arguments = [self._file, str(numbers[0]), ",".join(map(str, numbers[1:])), *path]
        with theirs, interrupts_held():
            self._child = subprocess.Popen([sys.executable, *flags, "-c", _BOOT, *arguments], **unix)

    def _stop(self) -> None:
        self._lifeline.close()
        try:
            self._child.wait(LEAVE_SECONDS + KILL_GRACE)
        except subprocess.TimeoutExpired:
            logger.warning("Killing the server [%d]: it did not stop in time.", self._child.pid)
            self._child.kill()
            self._child.wait()
        self._tty.restore()
        with contextlib.suppress(OSError):  # the child has removed it
            os.unlink(self._file)


# -- the child -------------------------------------------------------------------------------------------------


def main(file: str, lifeline: str, listeners: str) -> NoReturn:
    """Serve the settings in `file` until the other end of `lifeline` is closed, and exit.

    `lifeline` is the number of a descriptor, `listeners` are several, separated by commas.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        with open(file, "rb") as data:
            sys.argv[:], settings = marshal.load(data)
        os.unlink(file)
        server = Server(Config(**settings))
        server.drain_as = (DrainMode.CUT, min(server.config.drain_seconds, LEAVE_SECONDS))
        threading.Thread(target=_stop_at_end, args=(socket.socket(fileno=int(lifeline)), server), daemon=True).start()
        passed = [Listener(socket.socket(fileno=int(number))) for number in listeners.split(",")]
        code = process.serve(server, passed, server.run)
    except KeyboardInterrupt:
        code = ExitCode.OK
    except ConfigError as exc:
        say(f"Error: {exc}")
        code = ExitCode.USAGE
    sys.exit(code)


def _stop_at_end(lifeline: socket.socket, server: Server) -> None:
    """Tell `server` to stop when the other end of `lifeline` is closed."""
    with contextlib.suppress(OSError):
        lifeline.recv(1)
    server.should_exit = True
    if not server.config.loaded:  # the application is being imported, and nothing reads the flag
        _thread.interrupt_main()
