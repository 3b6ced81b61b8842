"""The stages of a service under `--reload`, and the table of what each cue means in each of them.

Owns: `Stage`, `Cue`, `Effect`, and the transition table as data. A cell names the effect and the stage after it; a
missing cell means: ignore, and say so at debug level.

    stage       ready      failed  changed      drained      deadline      stop     now      exited     silent
    STARTING    → SERVING  note    → REPLACING  –            kill          → ENDING → ENDING → WAITING  → ASKING
    SERVING     –          –       → REPLACING  → REPLACING  –             → ENDING → ENDING → WAITING  → ASKING
    ASKING      –          go on   –            go on        go on or wait → ENDING → ENDING → STARTING –
    REPLACING   –          –       –            –            look or kill  → ENDING → ENDING → STARTING –
    WAITING     –          –       → STARTING   –            → STARTING    → ENDING → ENDING –          –
    ENDING      –          –       –            –            look or kill  –        kill     → ENDING   –

Must not: act, or read a clock. Fails by: nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from uvicorn.supervisor import events as ev


class Stage(enum.Enum):
    STARTING = "starting"
    SERVING = "serving"
    ASKING = "perhaps held by a debugger"
    REPLACING = "replacing"
    WAITING = "waiting for a change"
    ENDING = "ending"


class Cue(enum.Enum):
    READY = "ready"
    FAILED = "failed"
    CHANGED = "changed"
    DRAINED = "drained"
    DEADLINE = "deadline"
    STOP = "stop"
    NOW = "stop now"
    EXITED = "exited"
    SILENT = "a change or an interrupt, and perhaps a debugger"


class Effect(enum.Enum):
    WELCOME = "it serves"
    NOTE_FAILURE = "it cannot start; its exit follows"
    KILL_LINGERING = "kill what did not leave after it failed"
    START = "start a worker"
    TELL = "tell it to leave"
    ASK = "ask whether a debugger holds it"
    JUDGE = "go on, or wait until it lets go"
    GO_ON = "do what was wanted"
    LEFT = "start another, or end, as was wanted"
    LOOK = "kill it if its loop is blocked, or if its deadline has passed"
    TELL_FAILURE = "say why it did not start"
    CRASHED = "say how it died; again at once, unless that has not helped"
    END = "close the listeners, send everybody home"
    END_NOW = "close the listeners, kill everybody"
    KILL = "kill who was told to leave"
    GONE = "as expected"


class Cell(NamedTuple):
    effect: Effect
    after: Stage


TABLE: Mapping[tuple[Stage, Cue], Cell] = MappingProxyType(
    {
        (Stage.STARTING, Cue.READY): Cell(Effect.WELCOME, Stage.SERVING),
        (Stage.STARTING, Cue.FAILED): Cell(Effect.NOTE_FAILURE, Stage.STARTING),
        (Stage.STARTING, Cue.CHANGED): Cell(Effect.TELL, Stage.REPLACING),
        (Stage.STARTING, Cue.DEADLINE): Cell(Effect.KILL_LINGERING, Stage.STARTING),
        (Stage.STARTING, Cue.STOP): Cell(Effect.END, Stage.ENDING),
        (Stage.STARTING, Cue.NOW): Cell(Effect.END_NOW, Stage.ENDING),
        (Stage.STARTING, Cue.EXITED): Cell(Effect.TELL_FAILURE, Stage.WAITING),
        (Stage.STARTING, Cue.SILENT): Cell(Effect.ASK, Stage.ASKING),
        (Stage.ASKING, Cue.READY): Cell(Effect.WELCOME, Stage.ASKING),
        (Stage.ASKING, Cue.FAILED): Cell(Effect.GO_ON, Stage.STARTING),
        (Stage.ASKING, Cue.DRAINED): Cell(Effect.GO_ON, Stage.SERVING),
        (Stage.ASKING, Cue.DEADLINE): Cell(Effect.JUDGE, Stage.ASKING),
        (Stage.ASKING, Cue.STOP): Cell(Effect.END, Stage.ENDING),
        (Stage.ASKING, Cue.NOW): Cell(Effect.END_NOW, Stage.ENDING),
        (Stage.ASKING, Cue.EXITED): Cell(Effect.LEFT, Stage.STARTING),
        (Stage.SERVING, Cue.SILENT): Cell(Effect.ASK, Stage.ASKING),
        (Stage.SERVING, Cue.CHANGED): Cell(Effect.TELL, Stage.REPLACING),
        (Stage.SERVING, Cue.DRAINED): Cell(Effect.TELL, Stage.REPLACING),
        (Stage.SERVING, Cue.STOP): Cell(Effect.END, Stage.ENDING),
        (Stage.SERVING, Cue.NOW): Cell(Effect.END_NOW, Stage.ENDING),
        (Stage.SERVING, Cue.EXITED): Cell(Effect.CRASHED, Stage.WAITING),
        (Stage.REPLACING, Cue.DEADLINE): Cell(Effect.LOOK, Stage.REPLACING),
        (Stage.REPLACING, Cue.STOP): Cell(Effect.END, Stage.ENDING),
        (Stage.REPLACING, Cue.NOW): Cell(Effect.END_NOW, Stage.ENDING),
        (Stage.REPLACING, Cue.EXITED): Cell(Effect.START, Stage.STARTING),
        (Stage.WAITING, Cue.CHANGED): Cell(Effect.START, Stage.STARTING),
        (Stage.WAITING, Cue.DEADLINE): Cell(Effect.START, Stage.STARTING),
        (Stage.WAITING, Cue.STOP): Cell(Effect.END, Stage.ENDING),
        (Stage.WAITING, Cue.NOW): Cell(Effect.END_NOW, Stage.ENDING),
        (Stage.ENDING, Cue.DEADLINE): Cell(Effect.LOOK, Stage.ENDING),
        (Stage.ENDING, Cue.NOW): Cell(Effect.KILL, Stage.ENDING),
        (Stage.ENDING, Cue.EXITED): Cell(Effect.GONE, Stage.ENDING),
    }
)

CUES: Mapping[type, Cue] = {
    ev.WorkerReady: Cue.READY,
    ev.WorkerFailed: Cue.FAILED,
    ev.WorkerDrained: Cue.DRAINED,
    ev.WorkerExited: Cue.EXITED,
    ev.SpawnFailed: Cue.EXITED,
}
