"""Actions: everything the supervisor can ask for, as values.

Owns: the vocabulary between the machine, which decides, and the shell, which performs. An action about a
worker whose process is gone is performed by doing nothing. Must not: import anything but value types, or carry
behaviour. Fails by: nothing; whether an action worked comes back as an event.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from uvicorn.process.drainmode import DrainMode


class Level(enum.Enum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class Status(enum.Enum):
    """The kinds of notification for a service manager."""

    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"
    STATUS = "status"
    WATCHDOG = "watchdog"


class Spawn(NamedTuple):
    """Fork a worker. Answered by `Spawned` or `SpawnFailed`."""

    serial: int
    slot: int
    generation: int


class SpawnWatcher(NamedTuple):
    """Fork the process that watches files. It is reported about as a worker is, under serial `WATCHER`."""


class Tell(NamedTuple):
    """Send an order over the channel: leave in this mode, by `deadline`."""

    serial: int
    mode: DrainMode
    deadline: float


class Terminate(NamedTuple):
    """SIGTERM, right after the first `Tell`: it ends a worker that has no loop yet to read the message."""

    serial: int


class Quit(NamedTuple):
    """SIGQUIT: leave now. A `Kill` follows within a second if that does not help."""

    serial: int


class Kill(NamedTuple):
    """SIGKILL; `reason` is why the master did it, for the log of the shell and of tests."""

    serial: int
    reason: str


class DumpStack(NamedTuple):
    """Ask the worker for every thread's stack (at C level) and for the requests in flight (if its main thread still
    runs Python). Asynchronous; `ReportStack` collects.
    """

    serial: int


class Ask(NamedTuple):
    """Ask the worker whether a debugger holds it. A `Heartbeat` that says so comes with a later wake-up."""

    serial: int


class Interrupt(NamedTuple):
    """Pass a Ctrl-C on to the debugger that holds the worker."""

    serial: int


class ReportStack(NamedTuple):
    """Log what `DumpStack` left, and what the main thread was doing."""

    serial: int


class MeasureMemory(NamedTuple):
    """Measure every worker. Answered by a `MemoryMeasured` for each that could be measured."""


class ReadSettings(NamedTuple):
    """Read the files that settings come from again. Answered by `SettingsRead`."""


class Listen(NamedTuple):
    """A worker serves for the first time: listen, and inform the workers. Answered by `Listened` or `ListenFailed`."""


class CloseListeners(NamedTuple):
    """Close the master's own copy of every listener. There is no spawn after this."""


class ReopenLogs(NamedTuple):
    """Log files were moved away: reopen them."""


class Notify(NamedTuple):
    """Notify the service manager; `text` is its STATUS line."""

    status: Status
    text: str


class Log(NamedTuple):
    level: Level
    text: str


class Exit(NamedTuple):
    """The last action of every history."""

    code: int


Action = (
    Spawn
    | SpawnWatcher
    | Tell
    | Terminate
    | Quit
    | Kill
    | DumpStack
    | Ask
    | Interrupt
    | ReportStack
    | MeasureMemory
    | ReadSettings
    | Listen
    | CloseListeners
    | ReopenLogs
    | Notify
    | Log
    | Exit
)
