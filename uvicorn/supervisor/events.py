"""Events: everything the supervisor can learn, as values.

Owns: the vocabulary between the kernel, which observes, and the machine, which judges. A worker is named by
its serial number (unique, increasing, given by the machine in `Spawn`); a pid or a file descriptor never
appears as identity. Must not: import anything but the standard library's value types, or carry behaviour.
Fails by: nothing; these are facts.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from uvicorn.supervisor.policy import Policy

WATCHER = 0
"""The serial of the process that watches files; workers are counted from 1."""


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


class Started(NamedTuple):
    """The first event of every history: the master runs and its listeners are bound."""


class Tick(NamedTuple):
    """The time that `deadline()` asked for has come; every heartbeat was read just before."""


class SignalReceived(NamedTuple):
    signal: Signal


class Spawned(NamedTuple):
    """A fork succeeded. The pid is for texts only."""

    serial: int
    pid: int


class SpawnFailed(NamedTuple):
    """A fork failed: there is no process behind this serial."""

    serial: int
    reason: str


class WorkerReady(NamedTuple):
    serial: int


class Listened(NamedTuple):
    """The answer to `Listen`: clients can connect."""


class ListenFailed(NamedTuple):
    """The other answer: another process has the address."""

    reason: str


class WorkerFailed(NamedTuple):
    """The worker reports why it cannot go on, and its exit code; its exit follows."""

    serial: int
    exit_code: int
    cause: str


class WorkerDrained(NamedTuple):
    """The worker has emptied and closed its listeners: it serves no new connection from here on."""

    serial: int


class WorkerSpent(NamedTuple):
    """The worker asks to be replaced; it serves until then. `cause` completes "Worker 1 …". `fault`: as after a crash,
    so that one which breaks right after its start is not replaced all the time."""

    serial: int
    cause: str
    fault: bool = False


class MemoryMeasured(NamedTuple):
    """What the worker's process occupies, in bytes: its share (PSS) where the kernel tells, else RSS."""

    serial: int
    size: int


class WorkerExited(NamedTuple):
    """The process was reaped: `signal` names what killed it, "" if it exited with status `code`. `requests` as its last
    heartbeat has it."""

    serial: int
    code: int
    signal: str = ""
    requests: int = 0


class Heartbeat(NamedTuple):
    """One worker in `Heartbeats`: its loop last turned at `at`. `held`: a debugger holds the worker, which counts as a
    turn just now. `asking`: the loop turns, and a debugger has stopped another thread.

    `requests` is how many it has begun, those `in_flight` among them.
    """

    serial: int
    at: float
    in_flight: int = 0
    requests: int = 0
    held: bool = False
    asking: bool = False


class Heartbeats(NamedTuple):
    """What one reading of the heartbeats brought: those that are new, and all of them before a Tick."""

    beats: tuple[Heartbeat, ...]


class SettingsRead(NamedTuple):
    """The answer to `ReadSettings`. `failure` says why they cannot be used; what is None stays as it is."""

    failure: str = ""
    policy: Policy | None = None
    target: int | None = None


class FilesChanged(NamedTuple):
    """The watcher saw `total` files of the application change, the first `paths` by name; `by` is how it looks."""

    by: str
    paths: tuple[str, ...]
    total: int


Report = (
    Spawned
    | SpawnFailed
    | WorkerReady
    | WorkerFailed
    | WorkerDrained
    | WorkerSpent
    | MemoryMeasured
    | WorkerExited
    | Heartbeat
)
"""The events about one worker: each has a `serial`."""

Event = (
    Started
    | Tick
    | SignalReceived
    | SettingsRead
    | Spawned
    | SpawnFailed
    | WorkerReady
    | Listened
    | ListenFailed
    | WorkerFailed
    | WorkerDrained
    | WorkerSpent
    | MemoryMeasured
    | WorkerExited
    | Heartbeats
    | FilesChanged
)
