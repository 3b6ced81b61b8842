"""The states of a worker, and the table that says what each input means in each of them.

Owns: `State`, `Input`, `Effect`, and the transition table as data. A cell names the effect
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
from types import MappingProxyType
from typing import NamedTuple


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
    KILL_DRAIN = "it did not exit in time"
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
