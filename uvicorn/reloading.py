"""Reloaders for programs: a class that a program makes, subclasses and runs itself, as the drop-in contract has them.

`ChangeReload(config, target=server.run, sockets=[sock]).run()` calls `target(sockets=…)` in a fresh interpreter
(multiprocessing's "spawn": the program's main module is there as `__mp_main__`, which some programs build on), and
again whenever `should_restart` names files. The command and `uvicorn.run(reload=True)` do not use this: their master
needs no target that can be pickled.

States: new → started → (stopped → started)* → stopped. The old process stops first; one that is held up by an open
stream is told again, which means "now" to a `Server`, and then killed. Must not: be used without a main guard.
Fails by: nothing of the target's; a target that died waits for a change.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from uvicorn.config import Config
from uvicorn.watcher.main import Watch, forget_compiled, shown, watch_by_hand, watch_with_package

PATIENCE = 1.0
"""Seconds after which a process that was told to stop is told again; as long again, and it is killed."""

_log = logging.getLogger("uvicorn.error")

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
        self.process: BaseProcess
        self._before: dict[int, Any] = {}

    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        """Leave the loop."""
        self.should_exit.set()

    def run(self) -> None:
        """Serve until a signal comes, or `should_exit` is set."""
        self.startup()
        try:
            for changes in self:
                if changes:
                    names = ", ".join(f"'{shown(str(path))}'" for path in changes)
                    _log.warning("%s detected changes in %s. Reloading...", self.reloader_name, names)
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
        _log.info("Started reloader process [%d] using %s", self.pid, self.reloader_name)
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self.signal_handler) for n in (signal.SIGINT, signal.SIGTERM)}
        self._start()

    def restart(self) -> None:
        self._stop()
        self._start()

    def shutdown(self) -> None:
        self._stop()
        for sock in self.sockets:
            sock.close()
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _log.info("Stopping reloader process [%d]", self.pid)

    def _start(self) -> None:
        stdin: int | None = None
        try:
            stdin = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):
            pass  # there is none to hand on
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_run, args=(self.config, self.target, self.sockets, stdin))
        self.process.start()

    def _stop(self) -> None:
        for _ in range(2):
            if self.process.is_alive():
                self.process.terminate()
                self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()


def _run(config: Config, target: Target, sockets: list[socket.socket], stdin: int | None) -> None:
    """In the new interpreter."""
    if stdin is not None:
        sys.stdin = os.fdopen(stdin)  # multiprocessing has closed it, and somebody may want to debug
    config.configure_logging()
    target(sockets=sockets)


class _Watching(BaseReload):
    """Uses one of the watcher's ways to look."""

    def __init__(self, config: Config, target: Target, sockets: list[socket.socket] | None = None) -> None:
        super().__init__(config, target, sockets)
        self.watch = Watch(config)
        self._batches = self._look()

    def _look(self) -> Iterator[list[str]]:
        raise NotImplementedError

    def should_restart(self) -> list[Path] | None:
        changes = next(self._batches, [])
        for path in changes:
            forget_compiled(path)
        return [Path(path) for path in changes] or None


class StatReload(_Watching):
    """Looks at every file, again and again."""

    reloader_name = "StatReload"

    def _look(self) -> Iterator[list[str]]:
        return watch_by_hand(self.watch.selection, self.watch.delay, self.watch.since, self.should_exit)


class WatchFilesReload(_Watching):
    """Is told by the operating system, through the package watchfiles."""

    reloader_name = "WatchFiles"

    def _look(self) -> Iterator[list[str]]:
        return watch_with_package(self.watch.selection, self.watch.delay, self.watch.since, self.should_exit)


ChangeReload: type[BaseReload] = WatchFilesReload if importlib.util.find_spec("watchfiles") else StatReload
"""The better one that works here."""
