"""The master's loop: wait → events → handle → perform, until an action says exit.

    kernel.wait → events → machine.handle → actions → _perform → calls of the kernel, and events that answer

Owns: the order of start and end, the settings of each generation of workers, and the translation of actions into
calls. Must not: decide (the machine does: `supervisor`, or `development` under --reload), read a clock, or touch a
process (the kernel does). Fails by: the exit code; a fault of our own is logged with its traceback and is exit code 1.
The workers then see the end of their lifeline, finish what they have in flight, and leave.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterable
from typing import Protocol

from uvicorn.config import Config, announce
from uvicorn.errors import BindError, ConfigError, ExitCode, StartupError, describe_failure
from uvicorn.logs import files as logfiles
from uvicorn.net import sockets
from uvicorn.process import channel, pidfile
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.actions import Action
from uvicorn.supervisor.child import set_title
from uvicorn.supervisor.development import Development
from uvicorn.supervisor.events import WATCHER, Event
from uvicorn.supervisor.kernel import Kernel
from uvicorn.supervisor.notify import Notifier
from uvicorn.supervisor.policy import Policy
from uvicorn.supervisor.supervisor import Supervisor

logger = logging.getLogger("uvicorn.error")

RunWorker = Callable[[Config, list[sockets.Listener]], int]


class KernelLike(Protocol):
    """What the loop needs of an operating system."""

    def now(self) -> float: ...
    def pid(self) -> int: ...
    def wait(self, deadline: float | None) -> list[Event]: ...
    def spawn(self, serial: int, slot: int, generation: int, title: str, run: Callable[[], int]) -> Event: ...
    def tell(self, serial: int, message: channel.Message) -> None: ...
    def tell_all(self, message: channel.Message) -> None: ...
    def signal(self, serial: int, name: str) -> None: ...
    def dump_stack(self, serial: int) -> None: ...
    def ask(self, serial: int) -> None: ...
    def interrupt(self, serial: int) -> None: ...
    def stack(self, serial: int) -> str | None: ...
    def measure_memory(self) -> list[Event]: ...
    def close(self) -> None: ...


class Machine(Protocol):
    """What decides: `Supervisor`, or `Development` under `--reload`."""

    def handle(self, events: Iterable[Event], now: float) -> list[Action]: ...
    def deadline(self) -> float | None: ...


class WatcherProgram(Protocol):
    """What the watcher process runs; it returns the exit status. `name` is how it looks at files."""

    name: str

    def __call__(self) -> int: ...


FLUSH_SECONDS = 0.1
"""Seconds between two attempts to write log lines that the reader has not taken yet."""
KEPT_GENERATIONS = 16
"""How many generations keep their settings: a worker of an older one that still serves may have to be replaced."""


class Master:
    """Supervises `config.workers` processes that each call `run_worker(config, listeners)`.

    The listeners are bound; the master listens when the first worker is ready, and closes them, at the latest when
    `run` returns. The caller should have imported the modules that every worker needs, so that a worker starts in
    milliseconds.
    `reread` returns the settings of the next generation, at each reload; if it raises ConfigError, the reload fails.
    With a `watch` this is a reloader: one worker, replaced when the watch reports that a file has changed.
    """

    def __init__(
        self,
        config: Config,
        listeners: list[sockets.Listener],
        run_worker: RunWorker,
        *,
        reread: Callable[[], Config] | None = None,
        kernel: Callable[[], KernelLike] = Kernel,
        notifier: Notifier | None = None,
        watch: WatcherProgram | None = None,
    ) -> None:
        self._config = config
        self._reread = reread or (lambda: config)
        self._listeners = listeners
        self._run_worker = run_worker
        self._make_kernel = kernel
        self._notifier = Notifier.take() if notifier is None else notifier
        self._app = app_name(config)
        self._watch = watch
        self._role = "parent" if watch is None else "reloader"
        self._machine: Machine = (
            Supervisor(self._policy(config), config.workers) if watch is None else Development(self._policy(config))
        )
        self._settings: dict[int, tuple[Config, dict[str, str]]] = {}
        self._kernel: KernelLike

    def run(self) -> int:
        """Supervise until a stop, or until no worker can be started. Returns the exit code of the program."""
        self._kernel = self._make_kernel()
        try:
            with pidfile.written(self._config.pid):
                self._prepare()
                return self._loop()
        except StartupError as exc:
            logger.error("%s", exc)
            return int(exc.exit_code)
        except Exception:
            logger.critical("Internal error in the master: the workers finish their requests and exit.", exc_info=True)
            return ExitCode.INTERNAL
        finally:
            self._close_listeners()
            self._kernel.close()
            logger.info("Stopping %s process [%d]", self._role, self._kernel.pid())
            logfiles.finish()

    def _prepare(self) -> None:
        set_title(f"uvicorn: master [{self._app}]")
        how = "" if self._watch is None else f" using {self._watch.name}"
        logger.info("Started %s process [%d]%s", self._role, self._kernel.pid(), how, extra={"color_message": _STARTED})
        self._announce([listener for listener in self._listeners if listener.listens])
        gc.collect()
        if hasattr(gc, "freeze"):  # not on PyPy
            gc.freeze()  # a collection in a worker must not write to the pages that all of them share

    def _loop(self) -> int:
        events: list[Event] = [ev.Started()]
        while True:
            now = self._kernel.now()
            while events:  # the answers to what was done are handled before the next wait
                answers: list[Event] = []
                for action in self._machine.handle(events, now):
                    if isinstance(action, do.Exit):
                        return action.code
                    answers += self._perform(action, now)
                events = answers
            events = self._kernel.wait(self._deadline(now))

    def _deadline(self, now: float) -> float | None:
        """The machine's deadline, or an earlier one to write log lines that are held back."""
        due = self._machine.deadline()
        if not logfiles.behind():
            return due
        logfiles.flush()
        return now + FLUSH_SECONDS if due is None else min(due, now + FLUSH_SECONDS)

    def _perform(self, action: Action, now: float) -> list[Event]:
        match action:
            case do.Spawn(serial, slot, generation):
                title = f"uvicorn: worker {slot} [{self._app}]"
                return [self._kernel.spawn(serial, slot, generation, title, self._work_of(generation))]
            case do.SpawnWatcher():
                assert self._watch is not None
                return [self._kernel.spawn(WATCHER, -1, 0, f"uvicorn: watcher [{self._app}]", self._watch)]
            case do.Tell(serial, mode, deadline):
                self._kernel.tell(serial, channel.Drain(mode, deadline))
            case do.Terminate(serial):
                self._kernel.signal(serial, "SIGTERM")
            case do.Quit(serial):
                self._kernel.signal(serial, "SIGQUIT")
            case do.Kill(serial):
                self._kernel.signal(serial, "SIGKILL")
            case do.DumpStack(serial):
                self._kernel.dump_stack(serial)
            case do.Ask(serial):
                self._kernel.ask(serial)
            case do.Interrupt(serial):
                self._kernel.interrupt(serial)
            case do.ReportStack(serial):
                stack = self._kernel.stack(serial)
                if stack is not None:
                    logger.error("%s", stack)
            case do.MeasureMemory():
                return self._kernel.measure_memory()
            case do.ReadSettings():
                return [self._read_settings()]
            case do.Listen():
                return [self._listen()]
            case do.CloseListeners():
                self._close_listeners()
            case do.Notify(status, text):
                self._notifier.send(status, text, now)
            case do.Log(level, text):
                logger.log(getattr(logging, level.name), "%s", text)
            case do.ReopenLogs():
                logger.info("Received SIGUSR1: %s", logfiles.reopen())
                self._kernel.tell_all(channel.Reopen())
            case do.Exit():
                raise AssertionError("the loop ends before it performs this")
        return []

    def _listen(self) -> Event:
        fresh = [listener for listener in self._listeners if not listener.listens]
        try:
            sockets.listen_all(self._listeners)
        except BindError as exc:
            return ev.ListenFailed(str(exc))
        self._announce(fresh)
        self._kernel.tell_all(channel.Listening())
        return ev.Listened()

    def _announce(self, listeners: list[sockets.Listener]) -> None:
        for listener in listeners:
            announce(self._config, listener.sock)

    def _read_settings(self) -> Event:
        try:
            fresh = self._reread()
        except ConfigError as exc:
            return ev.SettingsRead(failure=str(exc))
        except StartupError as exc:
            return ev.SettingsRead(failure=describe_failure(exc))
        except Exception as exc:  # a fault in new settings must not end the service
            logger.debug("The settings cannot be read.", exc_info=True)
            return ev.SettingsRead(failure=describe_failure(exc))
        self._config = fresh
        return ev.SettingsRead(policy=self._policy(fresh), target=fresh.workers)

    def _policy(self, config: Config) -> Policy:
        return policy_of(config)._replace(watchdog=self._notifier.watchdog)

    def _work_of(self, generation: int) -> Callable[[], int]:
        """What a worker of that generation runs, with the settings and the environment of its first worker."""
        if generation not in self._settings:
            self._settings[generation] = (self._config, dict(os.environ))
            for old in sorted(self._settings)[:-KEPT_GENERATIONS]:
                del self._settings[old]
        config, environ = self._settings[generation]

        def work() -> int:
            if dict(os.environ) != environ:
                os.environ.clear()
                os.environ.update(environ)
            return self._run_worker(config, self._listeners)

        return work

    def _close_listeners(self) -> None:
        sockets.close_all(self._listeners)
        self._listeners = []


_STARTED = "Started %s process [\x1b[36m\x1b[1m%d\x1b[0m]%s"


def policy_of(config: Config) -> Policy:
    """The settings that the machine needs."""
    return Policy(
        drain=config.drain_seconds,
        hang=float(config.timeout_worker_healthcheck),
        boot=float(config.timeout_worker_boot or 0),
        delay=float(config.shutdown_delay),
        lifetime=float(config.limit_worker_lifetime or 0),
        memory=config.worker_memory,
        fixed_code=not isinstance(config.app, str),
    )


def app_name(config: Config) -> str:
    """The name of the application in titles and log lines."""
    app = config.app
    return app if isinstance(app, str) else getattr(app, "__qualname__", type(app).__name__)
