"""What to do: everything the supervisor can ask for, as values.

Owns: the vocabulary between the machine, which decides, and the shell, which performs. An action about a
worker whose process is gone is performed by doing nothing. Must not: import anything but the standard
library's value types, or carry behaviour. Fails by: nothing; whether an action worked comes back as an
event.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.Enum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class Mode(enum.Enum):
    """How a worker leaves, in the order of urgency. The shell translates it for the channel, name by name."""

    RETIRE = "retire"
    STOP = "stop"
    INTERRUPT = "interrupt"


class Status(enum.Enum):
    """What a service manager is told."""

    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"
    STATUS = "status"
    WATCHDOG = "watchdog"


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker. Answered by `Spawned` or `SpawnFailed`."""

    serial: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Say over the channel: leave in this mode, be gone by `deadline`."""

    serial: int
    mode: Mode
    deadline: float


@dataclass(frozen=True, slots=True)
class Terminate:
    """SIGTERM, right after the first `Tell`: whoever has no loop yet to read the message dies of it."""

    serial: int


@dataclass(frozen=True, slots=True)
class Quit:
    """SIGQUIT: leave now. A `Kill` follows within a second if that does not help."""

    serial: int


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL; `reason` is why the master did it, for the log of the shell and of tests."""

    serial: int
    reason: str


@dataclass(frozen=True, slots=True)
class DumpStack:
    """Ask the C level of the worker for every thread's stack. Asynchronous; `ReportStack` collects."""

    serial: int


@dataclass(frozen=True, slots=True)
class ReportStack:
    """Log what `DumpStack` left, and what the main thread was doing."""

    serial: int


@dataclass(frozen=True, slots=True)
class CloseListeners:
    """Close the master's own copy of every listener. There is no spawn after this."""


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """Log files were moved away: open them anew."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the service manager; `text` is its STATUS line."""

    status: Status
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """The last action of every history."""

    code: int


Action = (
    Spawn | Tell | Terminate | Quit | Kill | DumpStack | ReportStack | CloseListeners | ReopenLogs | Notify | Log | Exit
)
