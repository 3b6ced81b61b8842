"""One worker as the master sees it: reports about it, decisions, and its next deadline.

Owns: `WorkerHandle`, and every change of its fields: `note` records a report, the other methods record a
decision. `wake_at` follows from the other fields; these methods keep it up to date.

Must not: decide, act, or read a clock. Fails by: nothing; other events change nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from uvicorn.errors import ExitCode
from uvicorn.process.drainmode import DrainMode
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.events import Report
from uvicorn.supervisor.plain import DERIVED
from uvicorn.supervisor.table import State

ACTIVE = frozenset({State.BOOTING, State.READY, State.HUNG})
"""The states of a worker that fills its slot. One that is leaving does not."""


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """Times are seconds of the master's monotonic clock.

    `deadline` belongs to the state (see the table); `slow_at` and `report_at` are for the log only, `spent_at` is the
    end of its lifetime. `spent` is why it is to be replaced, once it is `marked` for that; `broken`: for a fault.
    `beat` is its last heartbeat, `turned_at` the last one without a debugger that holds its loop.
    `accepts`: it has been READY; `released`: it has said that its copies of the listeners are closed.
    """

    serial: int
    slot: int
    generation: int
    started_at: float
    deadline: float | None = None
    slow_at: float | None = None
    state: State = State.BOOTING
    pid: int = 0
    ready_at: float = 0.0
    beat: float = 0.0
    turned_at: float = 0.0
    in_flight: int = 0
    requests: int = 0
    report_at: float | None = None
    spent_at: float | None = None
    spent: str = ""
    marked: bool = False
    broken: bool = False
    held: bool = False
    asking: bool = False
    cause: str = ""
    failed_code: int = 0
    exit_code: int = 0
    exit_signal: str = ""
    kill_reason: str = ""
    drain_mode: DrainMode = DrainMode.RETIRE
    drain_deadline: float = 0.0
    accepts: bool = False
    released: bool = False
    hurried: bool = False
    wake_at: float = field(default=math.inf, init=False, metadata=DERIVED)

    def __post_init__(self) -> None:
        self._set_wake_at()

    def _set_wake_at(self) -> None:
        at = math.inf if self.deadline is None else self.deadline
        if self.slow_at is not None and self.slow_at < at:
            at = self.slow_at
        if self.report_at is not None and self.report_at < at:
            at = self.report_at
        if self.spent_at is not None and self.spent_at < at and self.state is State.READY:
            at = self.spent_at
        self.wake_at = at

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"Worker {self.slot} [{self.pid}]" if self.pid else f"Worker {self.slot}"

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def debugged(self) -> bool:
        """Whether a debugger has stopped its loop or another thread of it."""
        return self.held or self.asking

    @property
    def holds_queue(self) -> bool:
        """Whether clients may wait in vain at its copy of a listener: it has not served yet, or its loop is blocked."""
        return not self.released and (not self.accepts or self.state in (State.HUNG, State.KILLED))

    @property
    def left_politely(self) -> bool:
        """Whether its end looks like a TERM from outside: a clean exit, or death by TERM where no loop handles it."""
        return self.exit_signal == "SIGTERM" or (not self.exit_signal and self.exit_code == 0)

    @property
    def killed_from_outside(self) -> bool:
        return self.exit_signal == "SIGKILL" and not self.kill_reason

    # -- what was reported -----------------------------------------------------------------------------------

    def note(self, event: Report) -> None:
        """Record a report."""
        match event:
            case ev.Heartbeat(_, at, in_flight, requests, held, asking):
                self.in_flight, self.requests, self.held, self.asking = in_flight, requests, held, asking
                self.beat = max(self.beat, at)
                if not held:
                    self.turned_at = at
            case ev.Spawned(_, pid):
                self.pid = pid
            case ev.SpawnFailed(_, reason):
                self.cause, self.failed_code = f"Cannot start a worker process: {reason}.", ExitCode.STARTUP
            case ev.WorkerFailed(_, code, cause):
                self.cause, self.failed_code = cause, code
            case ev.WorkerExited(_, code, signal, requests):
                self.exit_code, self.exit_signal = code, signal
                self.requests = max(self.requests, requests)
            case ev.WorkerDrained():
                self.released = True
            case ev.WorkerSpent(_, cause, fault) if not self.marked:
                self.spent, self.broken = cause, fault
            case _:
                pass

    # -- what was decided ------------------------------------------------------------------------------------

    def move(self, state: State) -> None:
        self.state = state
        self._set_wake_at()

    def wait_until(self, deadline: float | None) -> None:
        """Set another deadline for its present state."""
        self.deadline = deadline
        self._set_wake_at()

    def welcome(self, now: float, deadline: float | None = None, spent_at: float | None = None) -> None:
        """It serves."""
        self.ready_at = self.beat = self.turned_at = now
        self.accepts = True
        self.slow_at = None
        self.deadline, self.spent_at = deadline, spent_at
        self._set_wake_at()

    def expect_exit(self, deadline: float) -> None:
        """It has reported that it cannot go on."""
        self.slow_at = None
        self.wait_until(deadline)

    def expect_stack(self, report_at: float | None) -> None:
        """Its stack was asked for, because it boots slowly (a time), or was reported (None)."""
        if report_at is not None:
            self.slow_at = None
        self.report_at = report_at
        self._set_wake_at()

    def outlive(self) -> None:
        """Its lifetime is over."""
        self.spent_at = None
        self._set_wake_at()

    def mark(self) -> None:
        self.marked = True

    def leave(self, mode: DrainMode, drain_deadline: float, kill_at: float) -> None:
        """It was ordered to leave; it is killed at the deadline."""
        self.slow_at = None
        self.drain_mode, self.drain_deadline = mode, drain_deadline
        self.wait_until(kill_at)

    def shorten(self, mode: DrainMode, drain_deadline: float, kill_at: float) -> bool:
        """Make its order to leave more urgent, never less. Returns whether the worker has to be informed."""
        if self.deadline is not None:
            self.wait_until(min(self.deadline, kill_at))
        if mode.urgency <= self.drain_mode.urgency and drain_deadline >= self.drain_deadline:
            return False
        self.drain_mode = max(mode, self.drain_mode, key=lambda one: one.urgency)
        self.drain_deadline = min(drain_deadline, self.drain_deadline)
        return True

    def hurry(self, kill_at: float) -> None:
        """It was ordered to leave now."""
        if self.drain_deadline > 0.0 and self.deadline is not None:
            kill_at = min(self.deadline, kill_at)
        self.slow_at = None
        self.hurried = True
        self.wait_until(kill_at)

    def kill(self, reason: str) -> None:
        self.kill_reason = reason
        self.slow_at = self.report_at = None
        self.wait_until(None)
