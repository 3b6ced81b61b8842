"""Reloaders for programs: a class that a program makes, subclasses and runs itself, as the drop-in contract has them.

`ChangeReload(config, target=server.run, sockets=[sock]).run()` calls `target(sockets=…)` in a fresh interpreter
(multiprocessing's "spawn": the program's main module is there as `__mp_main__`, which some programs build on), and
again whenever `should_restart` names files. The command and `uvicorn.run(reload=True)` do not use this: their master
needs no target that can be pickled.

States: new → started → (stopped → started)* → stopped. The old process stops first: a `Server` in it ends what is open
after a moment and leaves the rest of `LEAVE_SECONDS` to the lifespan's shutdown; who stays is killed. What programs
replace or override is looked up when it is needed: `should_restart`, `iter_py_files`, `watcher`, `watch_filter`,
`get_subprocess`.
Must not: be used without a main guard.
Fails by: nothing of the target's; a target that died waits for a change.
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
from uvicorn.process.channel import DrainMode
from uvicorn.process.ttysettings import TTYSettings
from uvicorn.watcher.files import Snapshot, counts, files, times
from uvicorn.watcher.main import Watch, changed_since, changes, compare, forget_compiled, shown
from uvicorn.watcher.selection import select

LEAVE_SECONDS = 5.0
"""What a process that was told to stop has for it, at most."""
KILL_GRACE = 2.0
"""Seconds after that until it is killed."""

Target = Callable[..., Any]


class BaseReload:
    """The loop. A subclass says in `should_restart` which files changed, if any; it may `pause()` first."""

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
        """Leave the loop."""
        self.should_exit.set()

    def run(self) -> None:
        """Serve until a signal comes, or `should_exit` is set."""
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
        """Wait `reload_delay` seconds. Raises StopIteration when it is time to leave."""
        if self.should_exit.wait(self.config.reload_delay):
            raise StopIteration

    def should_restart(self) -> list[Path] | None:
        raise NotImplementedError("a reloader says here which files have changed")

    def startup(self) -> None:
        logger.info("Started reloader process [%d] using %s", self.pid, self.reloader_name)
        self._listen()
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self.signal_handler) for n in (signal.SIGINT, signal.SIGTERM)}
        self._start()

    def _listen(self) -> None:
        """At once, as `--reload` does: whoever asks while the application starts, waits. Leaves by SystemExit(3)."""
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
        if hasattr(server, "drain_as"):  # it is a `Server`, which goes to the new process as it is here
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
    """As the log has it: in quotes, and from here where it is below."""
    return f"'{shown(str(path))}'"


@contextmanager
def interrupts_held() -> Iterator[None]:
    """A process that is started inside is born with SIGINT blocked: its interpreter would end with a traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class StatReload(BaseReload):
    """Looks at every file, again and again."""

    reloader_name = "StatReload"

    def __init__(self, config: Config, target: Target, sockets: list[socket.socket] | None = None) -> None:
        super().__init__(config, target, sockets)
        watch = Watch(config)
        self._batches = compare(self._look, watch.delay, watch.since, self.should_exit)

    def should_restart(self) -> list[Path] | None:
        return _changed(next(self._batches, []))

    def iter_py_files(self) -> Iterator[Path]:
        """The files that are looked at: whatever the settings include. A program may have it name others as well."""
        return map(Path, files(select(self.config)))

    def _look(self) -> Snapshot:
        return times(map(str, self.iter_py_files()))


class FileFilter:
    """Says of a path whether its change counts, by the settings of `config`.

    Of a path outside of the watched folders, which somebody else watches then, only the name is looked at.
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
    """Is told by the operating system, through the package watchfiles.

    `watcher` yields sets of (kind of change, path), as `watchfiles.watch` does, and often an empty one; `watch_filter`
    says which of the paths count. A program may put others in their place.
    """

    reloader_name = "WatchFiles"
    _since: float | None = None
    _settling = False

    def __init__(self, config: Config, target: Target, sockets: list[socket.socket] | None = None) -> None:
        super().__init__(config, target, sockets)
        import watchfiles  # noqa: F401  # where it is not installed, that is said here

        self.reload_dirs = list(config.reload_dirs)
        self.watch_filter: Callable[[Path], bool] = FileFilter(config)
        self.watcher: Iterator[set[tuple[Any, str]]] = changes(select(config), self.should_exit)
        self._since = Watch(config).since

    def should_restart(self) -> list[Path] | None:
        if self._settling:
            self.should_exit.wait(self.config.reload_delay)
        paths = {path for _, path in next(self.watcher, ()) if self.watch_filter(Path(path))}
        if self._since is not None:  # only now is it certain that later changes are reported
            paths |= changed_since(select(self.config), self._since)
            self._since = None
        self._settling = bool(paths)
        return _changed(sorted(paths))


def _changed(paths: list[str]) -> list[Path] | None:
    for path in paths:
        forget_compiled(path)
    return [Path(path) for path in paths] or None


ChangeReload: type[BaseReload] = WatchFilesReload if importlib.util.find_spec("watchfiles") else StatReload
"""The better one that works here."""
