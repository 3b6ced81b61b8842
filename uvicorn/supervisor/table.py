"""One worker as the master sees it, and the table that says what each input means in each state.

Owns: `State`, `Input`, `Effect`, the transition table as data, and `WorkerHandle`. A cell names the effect
and the state after it; `None` as the state means that the handle is forgotten. A missing cell means:
ignore, and say so at debug level (reports cross with decisions all the time, so that is no fault).

    state (deadline)  ready    failed  beat     slow  spent  drained    deadline  stop       stop now   exited
    BOOTING (boot)    → READY  note    –        look  –      –          → KILLED  → STOPPING → STOPPING boot failed
    READY (hang)      –        –       extend   –     mark   → STOPPING → HUNG    → STOPPING → STOPPING crashed
    STOPPING (drain)  –        –       –        –     –      –          → KILLED  shorten    hurry      forget
    HUNG (dump)       –        –       → READY  –     mark   –          → KILLED  –          → KILLED   crashed
    KILLED (none)     –        –       –        –     –      –          –         –          –          forget

Must not: act, or read a clock. Fails by: nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from uvicorn.supervisor.actions import Mode


class State(enum.Enum):
    BOOTING = "booting"
    READY = "ready"
    STOPPING = "stopping"
    HUNG = "hung"
    KILLED = "killed"


class Input(enum.Enum):
    READY = "ready"
    FAILED = "failed"
    BEAT = "beat"
    SLOW = "slow"
    SPENT = "spent"
    DRAINED = "drained"
    DEADLINE = "deadline"
    STOP = "stop"
    NOW = "stop now"
    EXITED = "exited"


class Effect(enum.Enum):
    WELCOME = "it serves"
    NOTE_FAILURE = "it cannot start; its exit follows"
    LOOK = "log where a slow boot is"
    KILL_BOOT = "kill what did not start in time, or did not leave after it failed"
    BOOT_FAILED = "it died before it was ready"
    EXTEND = "a new hang deadline"
    SUSPECT = "ask for the stack"
    MARK = "it is to be replaced, and serves until its replacement is ready"
    RECOVER = "it beats again"
    KILL_HUNG = "log the stack and kill"
    LEAVING = "it leaves without having been told"
    CRASHED = "it died while it served"
    TELL = "tell it to leave"
    SHORTEN = "make the drain more urgent, never less"
    HURRY = "QUIT, and kill within a second"
    KILL_DRAIN = "its time to leave is over"
    KILL_AT_ONCE = "a blocked loop hears no QUIT"
    FORGET = "as expected"


class Cell(NamedTuple):
    effect: Effect
    after: State | None


Table = Mapping[tuple[State, Input], Cell]

TABLE: Table = MappingProxyType(
    {
        (State.BOOTING, Input.READY): Cell(Effect.WELCOME, State.READY),
        (State.BOOTING, Input.FAILED): Cell(Effect.NOTE_FAILURE, State.BOOTING),
        (State.BOOTING, Input.SLOW): Cell(Effect.LOOK, State.BOOTING),
        (State.BOOTING, Input.DEADLINE): Cell(Effect.KILL_BOOT, State.KILLED),
        (State.BOOTING, Input.STOP): Cell(Effect.TELL, State.STOPPING),
        (State.BOOTING, Input.NOW): Cell(Effect.HURRY, State.STOPPING),
        (State.BOOTING, Input.EXITED): Cell(Effect.BOOT_FAILED, None),
        (State.READY, Input.BEAT): Cell(Effect.EXTEND, State.READY),
        (State.READY, Input.SPENT): Cell(Effect.MARK, State.READY),
        (State.READY, Input.DEADLINE): Cell(Effect.SUSPECT, State.HUNG),
        (State.READY, Input.DRAINED): Cell(Effect.LEAVING, State.STOPPING),
        (State.READY, Input.STOP): Cell(Effect.TELL, State.STOPPING),
        (State.READY, Input.NOW): Cell(Effect.HURRY, State.STOPPING),
        (State.READY, Input.EXITED): Cell(Effect.CRASHED, None),
        (State.STOPPING, Input.DEADLINE): Cell(Effect.KILL_DRAIN, State.KILLED),
        (State.STOPPING, Input.STOP): Cell(Effect.SHORTEN, State.STOPPING),
        (State.STOPPING, Input.NOW): Cell(Effect.HURRY, State.STOPPING),
        (State.STOPPING, Input.EXITED): Cell(Effect.FORGET, None),
        (State.HUNG, Input.BEAT): Cell(Effect.RECOVER, State.READY),
        (State.HUNG, Input.SPENT): Cell(Effect.MARK, State.HUNG),
        (State.HUNG, Input.DEADLINE): Cell(Effect.KILL_HUNG, State.KILLED),
        (State.HUNG, Input.NOW): Cell(Effect.KILL_AT_ONCE, State.KILLED),
        (State.HUNG, Input.EXITED): Cell(Effect.CRASHED, None),
        (State.KILLED, Input.EXITED): Cell(Effect.FORGET, None),
    }
)

ACTIVE = frozenset({State.BOOTING, State.READY, State.HUNG})
"""The states of a worker that fills its slot. One that is leaving does not."""


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """The master's view of one worker: facts as they were reported, the state, and its deadline.

    `deadline` belongs to the state (see the table); `slow_at` and `report_at` are for the log only, `spent_at` is the
    end of its lifetime. `spent` is why it is to be replaced, once it is `marked` for that; `broken`: for a fault.
    `accepts`: it has been READY; `released`: it has said that its copies of the listeners are closed.
    """

    serial: int
    slot: int
    generation: int
    started_at: float
    deadline: float | None
    slow_at: float | None
    state: State = State.BOOTING
    pid: int = 0
    ready_at: float = 0.0
    beat: float = 0.0
    in_flight: int = 0
    requests: int = 0
    report_at: float | None = None
    spent_at: float | None = None
    spent: str = ""
    marked: bool = False
    broken: bool = False
    held: bool = False
    cause: str = ""
    failed_code: int = 0
    exit_code: int = 0
    exit_signal: str = ""
    kill_reason: str = ""
    drain_mode: Mode = Mode.RETIRE
    drain_deadline: float = 0.0
    accepts: bool = False
    released: bool = False
    hurried: bool = False

    @property
    def name(self) -> str:
        return f"Worker {self.slot} [{self.pid}]" if self.pid else f"Worker {self.slot}"

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def holds_queue(self) -> bool:
        """Whether clients may wait at its copy of a listener for nobody: it has not served yet, or does not turn."""
        return not self.released and (not self.accepts or self.state in (State.HUNG, State.KILLED))

    @property
    def left_politely(self) -> bool:
        """What a TERM from outside looks like: a clean exit, or death by it where no loop handles it."""
        return self.exit_signal == "SIGTERM" or (not self.exit_signal and self.exit_code == 0)

    @property
    def killed_from_outside(self) -> bool:
        return self.exit_signal == "SIGKILL" and not self.kill_reason

    def wake_times(self) -> list[float]:
        times = [self.deadline, self.slow_at, self.report_at, self.spent_at if self.state is State.READY else None]
        return [at for at in times if at is not None]
