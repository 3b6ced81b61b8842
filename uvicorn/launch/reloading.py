"""Reloaders that a program makes, subclasses and runs itself, as in uvicorn 0.54.

`ChangeReload(config, target=server.run, sockets=[sock]).run()` calls `target(sockets=…)` in a new interpreter
(multiprocessing's "spawn" method: the program's main module is imported there as `__mp_main__`), and again whenever
`should_restart` names changed files. The command and `uvicorn.run(reload=True)` do not use these classes: their master
needs no target that can be pickled.

States: new → started → (stopped → started)* → stopped. The old process stops first. A `Server` in it ends what is open
after a moment and leaves the rest of `LEAVE_SECONDS` to the lifespan's shutdown; a process that is still there then is
killed. Names that programs replace or override are looked up when they are needed: `should_restart`, `iter_py_files`,
`watcher`, `watch_filter`, `get_subprocess`.

Owns: the loop, and the process that serves. Must not: be used without a main guard (`if __name__ == "__main__":`).
Fails by: nothing of the target's; a target that fails waits for a change.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

from uvicorn import _subprocess
from uvicorn.config import Config, logger
from uvicorn.errors import StartupError
from uvicorn.net.sockets import Listener, listens
from uvicorn.process.drainmode import DrainMode
from uvicorn.process.ttysettings import TTYSettings
from uvicorn.watcher.files import Snapshot, counts, files, times
from uvicorn.watcher.main import Watch, changed_since, changes, compare, forget_compiled, shown
from uvicorn.watcher.selection import select

LEAVE_SECONDS = 5.0
"""Seconds that a process has to stop, at most."""
KILL_GRACE = 2.0
"""Seconds after that until it is killed."""

Target = Callable[..., Any]


class BaseReload:
    """The loop. A subclass returns the changed files from `should_restart`; it may `pause()` there first."""

    reloader_name: str | None = None

    def __init__(self, config: Config, target: Target, sockets: list[socket.socket] | None = None) -> None:
        self.config = config
        self.target = target
        self.sockets = sockets or []
        self.should_exit = threading.Event()
        self.pid = os.getpid()
        self.is_restarting = False
        self.process: SpawnProcess
        self._before: dict[int, Any] = {}
        self._tty = TTYSettings()

    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        """Stop the loop."""
        self.should_exit.set()

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM arrives, or `should_exit` is set."""
        self.startup()
        try:
            for changes in self:
                if changes:
                    names = ", ".join(map(_display_path, changes))
                    logger.warning("%s detected changes in %s. Reloading...", self.reloader_name, names)
                    self.restart()
        finally:
            self.shutdown()

    def __iter__(self) -> Iterator[list[Path] | None]:
        return self

    def __next__(self) -> list[Path] | None:
        changes = self.should_restart()
        if self.should_exit.is_set():
            raise StopIteration
        return changes

    def pause(self) -> None:
        """Wait `reload_delay` seconds. Raises StopIteration when the loop is to stop."""
        if self.should_exit.wait(self.config.reload_delay):
            raise StopIteration

    def should_restart(self) -> list[Path] | None:
        """The files that have changed; None for none."""
        raise NotImplementedError("should_restart() must return the files that have changed")

    def startup(self) -> None:
        logger.info("Started reloader process [%d] using %s", self.pid, self.reloader_name)
        self._listen()
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self.signal_handler) for n in (signal.SIGINT, signal.SIGTERM)}
        self._start()

    def _listen(self) -> None:
        """Listen before the application has started, as `--reload` does: clients wait. Raises SystemExit(3)."""
        try:
            for sock in self.sockets:
                if not listens(sock):
                    Listener(sock, backlog=self.config.backlog).listen()
        except StartupError as exc:
            logger.error("%s", exc)
            raise SystemExit(int(exc.exit_code)) from exc

    def restart(self) -> None:
        self.is_restarting = True
        try:
            self._stop()
            self._start()
        finally:
            self.is_restarting = False

    def shutdown(self) -> None:
        self._stop()
        for sock in self.sockets:
            sock.close()
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        logger.info("Stopping reloader process [%d]", self.pid)

    def _start(self) -> None:
        server: Any = getattr(self.target, "__self__", None)
        if hasattr(server, "drain_as"):  # a `Server`: it is copied to the new process as it is here
            server.drain_as = (DrainMode.CUT, min(server.config.drain_seconds, LEAVE_SECONDS))
        self.process = _subprocess.get_subprocess(self.config, self.target, self.sockets)
        with interrupts_held():
            self.process.start()

    def _stop(self) -> None:
        self.process.terminate()
        self.process.join(LEAVE_SECONDS + KILL_GRACE)
        self.process.kill()
        self.process.join()
        self._tty.restore()


def _display_path(path: Path) -> str:
    """A path for the log: in quotes, and relative where it is below the current folder."""
    return f"'{shown(str(path))}'"


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Start processes with SIGINT blocked: a Ctrl-C while the interpreter starts would print a traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class StatReload(BaseReload):
    """Compares the modification times of all files every `reload_delay` seconds."""

    reloader_name = "StatReload"

    def __init__(self, config: Config, target: Target, sockets: list[socket.socket] | None = None) -> None:
        super().__init__(config, target, sockets)
        watch = Watch(config)
        self._batches = compare(self._look, watch.delay, watch.since, self.should_exit)

    def should_restart(self) -> list[Path] | None:
        return _changed(next(self._batches, []))

    def iter_py_files(self) -> Iterator[Path]:
        """The files that are watched: those that the settings include. A subclass may add others."""
        return map(Path, files(select(self.config)))

    def _look(self) -> Snapshot:
        return times(map(str, self.iter_py_files()))


class FileFilter:
    """Decides by the settings of `config` whether a changed path counts.

    A path outside of the watched folders comes from a `watcher` of the program's; only its name is checked.
    """

    def __init__(self, config: Config) -> None:
        self._selection = select(config)
        self.includes = list(self._selection.includes)
        self.excludes = list(self._selection.excludes)
        self.exclude_dirs = list(config.reload_dirs_excludes)

    def __call__(self, path: Path) -> bool:
        selection = self._selection
        if not any(path.is_relative_to(folder) for folder in selection.directories):
            selection = replace(selection, directories=(path.parent,))
        return counts(selection, str(path))


class WatchFilesReload(BaseReload):
    """Uses the operating system's notifications, through the package watchfiles.

    `watcher` yields sets of (kind of change, path), as `watchfiles.watch` does; a set may be empty. `watch_filter`
    decides which paths count. A program may replace both.
    """

    reloader_name = "WatchFiles"
    _since: float | None = None
    _settling = False

    def __init__(self, config: Config, target: Target, sockets: list[socket.socket] | None = None) -> None:
        super().__init__(config, target, sockets)
        import watchfiles  # noqa: F401  # fails here where it is not installed

        self.reload_dirs = list(config.reload_dirs)
        self.watch_filter: Callable[[Path], bool] = FileFilter(config)
        self.watcher: Iterator[set[tuple[Any, str]]] = changes(select(config), self.should_exit)
        self._since = Watch(config).since

    def should_restart(self) -> list[Path] | None:
        if self._settling:
            self.should_exit.wait(self.config.reload_delay)
        paths = {path for _, path in next(self.watcher, ()) if self.watch_filter(Path(path))}
        if self._since is not None:  # from now on every change is reported; this finds the earlier ones
            paths |= changed_since(select(self.config), self._since)
            self._since = None
        self._settling = bool(paths)
        return _changed(sorted(paths))


def _changed(paths: list[str]) -> list[Path] | None:
    for path in paths:
        forget_compiled(path)
    return [Path(path) for path in paths] or None


ChangeReload: type[BaseReload] = WatchFilesReload if importlib.util.find_spec("watchfiles") else StatReload
"""The best reloader whose package is installed."""
