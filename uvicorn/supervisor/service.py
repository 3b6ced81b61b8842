"""The service as a whole: its goal, what was logged and notified, and the actions that are collected.

Owns: `ServiceFacts`, which is plain data, and `Service`, with what concerns all workers: log, notify, give up,
report that a reload failed. Must not: see an event, or touch a worker. Fails by: nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from uvicorn.errors import ExitCode
from uvicorn.process.drainmode import DrainMode
from uvicorn.process.interrupts import Interrupts
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import wording
from uvicorn.supervisor.actions import Action, Level, Status
from uvicorn.supervisor.fleet import Fleet
from uvicorn.supervisor.policy import GIVE_UP_SECONDS, KILL_GRACE
from uvicorn.supervisor.table import State


class ServiceState(enum.Enum):
    """The goal of the service, in the order of urgency."""

    RUNNING = "running"
    STOPPING = "stopping"
    NOW = "stopping now"
    GIVING_UP = "giving up"
    OVER = "over"


class PendingFailure(NamedTuple):
    """A first boot that failed in a way which a TERM to the process group explains as well: judged at `at`."""

    at: float
    text: str


@dataclass(slots=True, eq=False)
class ServiceFacts:
    """Times are seconds of the monotonic clock.

    `leave_at` ends a delayed stop; `release_by` is how long a stop waits for workers that hold a listener and do not
    accept. `announced`: the service manager knows that we are ready; `told` is the last STATUS line, `standing` its
    part without figures. `told_cause` is the cause of the last failed start.
    """

    state: ServiceState = ServiceState.RUNNING
    code: int = int(ExitCode.OK)
    pending: PendingFailure | None = None
    stop_mode: DrainMode = DrainMode.STOP
    stop_deadline: float = 0.0
    leave_at: float | None = None
    release_by: float = 0.0
    interrupts: Interrupts = field(default_factory=Interrupts)
    asked_to_listen: bool = False
    listening: bool = False
    listeners_open: bool = True
    measure_at: float | None = None
    announced: bool = False
    told_ready: bool = False
    told_small_limit: bool = False
    told_cause: str = ""
    told: str = ""
    standing: str = ""
    status_at: float = 0.0


class Service:
    """`do` adds an action; `collect` returns those since its last call."""

    def __init__(self, fleet: Fleet, facts: ServiceFacts) -> None:
        self.fleet = fleet
        self.facts = facts
        self._actions: list[Action] = []

    @property
    def running(self) -> bool:
        return self.facts.state is ServiceState.RUNNING

    def do(self, action: Action) -> None:
        self._actions.append(action)

    def collect(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    # -- what is said ----------------------------------------------------------------------------------------

    def log(self, level: Level, text: str) -> None:
        self.do(do.Log(level, text))

    def notify(self, status: Status) -> None:
        if self.facts.leave_at is not None and status in (Status.READY, Status.RELOADING):
            status = Status.STATUS  # a service that is stopping does not become ready any more
        self.facts.told = self.status()
        self.do(do.Notify(status, self.facts.told))

    def standing(self) -> str:
        """The state of the service, in one line."""
        fleet = self.fleet
        reload = "reloading" if fleet.epoch.rolling else "the last reload failed" if fleet.epoch.failed else ""
        return wording.serving(fleet.ready_count, fleet.target, fleet.epoch.generation, reload)

    def status(self) -> str:
        """The same with figures from the last reading of the heartbeats."""
        in_flight = self.fleet.in_flight
        return self.standing() + wording.figures(in_flight, max(0, self.fleet.begun - in_flight))

    # -- what is wanted of the whole -------------------------------------------------------------------------

    def begin_stop(self, mode: DrainMode, deadline: float, release_by: float) -> None:
        facts = self.facts
        facts.state = ServiceState.STOPPING
        facts.stop_mode, facts.stop_deadline, facts.release_by = mode, deadline, release_by

    def give_up(self, code: int, text: str) -> None:
        """End the service for an internal reason; the reconcile step orders the workers to leave."""
        self.facts.state = ServiceState.GIVING_UP
        self.facts.code = int(code or ExitCode.STARTUP)
        for record in wording.records(text):
            self.log(Level.ERROR, record)
        self.notify(Status.STOPPING)
        self.close_listeners()

    def close_listeners(self) -> None:
        if self.facts.listeners_open:
            self.facts.listeners_open = False
            self.do(do.CloseListeners())

    def reload_failed(self, reason: str) -> None:
        """End the roll, log it, and keep the generation that serves."""
        self.fleet.give_up_roll()
        self.say_reload_failed(reason)

    def say_reload_failed(self, reason: str) -> None:
        fleet = self.fleet
        serving = {w.generation for w in fleet.workers.values() if w.state in (State.READY, State.HUNG)}
        names = wording.generations(serving or {fleet.epoch.generation})
        self.log(Level.ERROR, f"reload failed, still serving {names}: {wording.headline_first(reason)}")
        if self.facts.announced and not fleet.epoch.rolling:
            self.notify(Status.READY)

    def order(self, now: float) -> tuple[DrainMode, float, float]:
        """How a worker that is ordered now leaves: the mode, the drain deadline, and when it is killed."""
        facts, drain = self.facts, self.fleet.policy.drain
        if facts.state is ServiceState.GIVING_UP:
            return DrainMode.INTERRUPT, now, now + GIVE_UP_SECONDS
        if facts.state is ServiceState.STOPPING:
            return facts.stop_mode, facts.stop_deadline, facts.stop_deadline + KILL_GRACE
        return DrainMode.RETIRE, now + drain, now + drain + KILL_GRACE
