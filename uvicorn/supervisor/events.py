"""What happened: everything the supervisor can learn, as values.

Owns: the vocabulary between the kernel, which observes, and the machine, which judges. A worker is named by
its serial number (unique, increasing, given by the machine in `Spawn`); a pid or a file descriptor never
appears as identity. Must not: import anything but the standard library's value types, or carry behaviour.
Fails by: nothing; these are facts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Signal(enum.Enum):
    """The signals that mean something to a master."""

    TERM = "SIGTERM"
    INT = "SIGINT"
    QUIT = "SIGQUIT"
    HUP = "SIGHUP"
    TTIN = "SIGTTIN"
    TTOU = "SIGTTOU"
    USR1 = "SIGUSR1"
    USR2 = "SIGUSR2"
    WINCH = "SIGWINCH"


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of every history: the master is there and its listeners listen."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that `deadline()` asked for has come; every heartbeat was read just before."""


@dataclass(frozen=True, slots=True)
class SignalReceived:
    signal: Signal


@dataclass(frozen=True, slots=True)
class Spawned:
    """A fork succeeded. The pid is for texts only."""

    serial: int
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """A fork failed: there is no process behind this serial."""

    serial: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerReady:
    serial: int


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """The worker says why it cannot go on, and which code it leaves with; its exit follows."""

    serial: int
    exit_code: int
    cause: str


@dataclass(frozen=True, slots=True)
class WorkerDrained:
    """The worker has emptied and closed its listeners: it serves no new connection from here on."""

    serial: int


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The process was reaped: `signal` names what killed it, "" if it left with status `code`. `requests` as its last
    heartbeat has it."""

    serial: int
    code: int
    signal: str = ""
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The worker's loop last turned at `at`; a debugger that holds the worker counts as a turn just now.

    `requests` is how many it has begun, those `in_flight` among them.
    """

    serial: int
    at: float
    in_flight: int = 0
    requests: int = 0


Event = (
    Started
    | Tick
    | SignalReceived
    | Spawned
    | SpawnFailed
    | WorkerReady
    | WorkerFailed
    | WorkerDrained
    | WorkerExited
    | Heartbeat
)
