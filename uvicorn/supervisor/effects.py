"""What a cell of the table does: the service's memory, and one method per `Effect`.

Owns: the facts that every decision reads (`service`, `target`, `epoch`, slots, budget, the worker table)
and the actions collected while one event is handled. An effect concerns one worker; it may change what is
wanted (a first boot that fails ends the service, a roll that fails ends the roll) but starts and stops
nobody: that is the reconcile step's.

A failed start is judged by when it happens. Before any worker was ever READY it is final: the cause is
logged once and the service ends. In a roll it ends the roll. Else it costs the slot a wait, and the budget
only while nobody serves. A worker that had become READY and is SIGKILLed by somebody else has not failed: somebody who
kills workers all the time (an operator, a fault injector, the kernel for a neighbour's memory) must not be able to
empty the fleet by backoff, so it costs the shortest wait at most and no budget.

Must not: read a clock or see an event. Fails by: nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from uvicorn.supervisor import actions as do
from uvicorn.supervisor import wording
from uvicorn.supervisor.actions import Action, Level, Mode, Status
from uvicorn.supervisor.policy import (
    BACKOFF_FIRST,
    CLEAN_EXIT_PAUSE,
    DUMP_SECONDS,
    GIVE_UP_SECONDS,
    KILL_GRACE,
    NOW_SECONDS,
    STAY_SECONDS,
    Budget,
    Code,
    Limits,
    SlotRecord,
)
from uvicorn.supervisor.rolling import Epoch
from uvicorn.supervisor.table import Effect, Input, State, Table, WorkerHandle

_URGENCY = {mode: rank for rank, mode in enumerate(Mode)}


class Service(enum.Enum):
    """What is wanted of the whole, in the order of urgency."""

    RUNNING = "running"
    STOPPING = "stopping"
    NOW = "stopping now"
    GIVING_UP = "giving up"
    OVER = "over"


class Verdict(NamedTuple):
    """A first boot that failed in a way which a TERM to the process group explains as well: judged at
    `at`."""

    at: float
    text: str


class Effects:
    """The memory of the machine and the effects of its table."""

    def __init__(self, limits: Limits, target: int, table: Table) -> None:
        self.limits = limits
        self.target = target
        self._settled = (limits, target)
        """What a roll that fails goes back to."""
        self._configured = self._asked = target
        """How many workers the settings in force say, and those of the running roll."""
        self._wanted: int | None = None
        """How many the running roll is to end with, if its settings say another number than before."""
        self.epoch = Epoch()
        self.service = Service.RUNNING
        self.code: int = Code.OK
        self.workers: dict[int, WorkerHandle] = {}
        self.slots: dict[int, SlotRecord] = {}
        self.served: set[int] = set()
        self.requests_before = 0
        self.told = ""
        self.verdict: Verdict | None = None
        self.stop_mode = Mode.STOP
        self.stop_deadline = 0.0
        self._budget = Budget()
        self._table = table
        self.leave_at: float | None = None
        self._asked_to_listen = self.listening = False
        self._listeners_open = True
        self._release_by = 0.0
        self._announced = False
        self._told_cause = ""
        self._out: list[Action] = []
        self._effects: dict[Effect, Callable[[WorkerHandle, float], None]] = {
            Effect.WELCOME: self._welcome,
            Effect.NOTE_FAILURE: self._note_failure,
            Effect.LOOK: self._look,
            Effect.KILL_BOOT: self._kill_boot,
            Effect.BOOT_FAILED: self._boot_failed,
            Effect.EXTEND: self._extend,
            Effect.MARK: self._mark,
            Effect.SUSPECT: self._suspect,
            Effect.RECOVER: self._recover,
            Effect.KILL_HUNG: self._kill_hung,
            Effect.LEAVING: self._leaving,
            Effect.CRASHED: self._crashed,
            Effect.TELL: self._tell,
            Effect.SHORTEN: self._shorten,
            Effect.HURRY: self._hurry,
            Effect.KILL_DRAIN: self._kill_drain,
            Effect.KILL_AT_ONCE: self._kill_at_once,
            Effect.FORGET: self._forget,
        }

    # -- shared ----------------------------------------------------------------------------------------------

    def feed(self, w: WorkerHandle, what: Input, now: float) -> None:
        """Move one worker through the table. The new state holds before the effect is carried out."""
        cell = self._table.get((w.state, what))
        if cell is None:
            self._log(Level.DEBUG, f"{w.name} is {w.state.value}: {what.value!r} is ignored.")
            return
        if cell.after is None:
            del self.workers[w.serial]
        else:
            w.state = cell.after
        self._effects[cell.effect](w, now)

    def collect(self) -> list[Action]:
        """The actions since the last call."""
        actions, self._out = self._out, []
        return actions

    def active(self) -> list[WorkerHandle]:
        return [w for w in self.workers.values() if w.active]

    def slot(self, index: int) -> SlotRecord:
        return self.slots.setdefault(index, SlotRecord())

    def standing(self) -> str:
        """What the service is, in a line."""
        ready = sum(w.state is State.READY for w in self.workers.values())
        reload = "reloading" if self.epoch.rolling else "the last reload failed" if self.epoch.failed else ""
        return wording.serving(ready, self.target, self.epoch.generation, reload)

    def status(self) -> str:
        """The same with what it does, as the heartbeats said when they were last read."""
        in_flight = sum(w.in_flight for w in self.workers.values())
        begun = self.requests_before + sum(w.requests for w in self.workers.values())
        return self.standing() + wording.figures(in_flight, max(0, begun - in_flight))

    def _log(self, level: Level, text: str) -> None:
        self._out.append(do.Log(level, text))

    def _notify(self, status: Status) -> None:
        if self.leave_at is not None and status in (Status.READY, Status.RELOADING):
            status = Status.STATUS  # a service that is stopping does not become ready any more
        self.told = self.status()
        self._out.append(do.Notify(status, self.told))

    def _kill(self, w: WorkerHandle, reason: str) -> None:
        w.kill_reason = reason
        w.deadline = w.slow_at = w.report_at = None
        self._out.append(do.Kill(w.serial, reason))

    def give_up(self, code: int, text: str) -> None:
        """End the service for a reason of its own; the reconcile step sends the workers home."""
        self.service = Service.GIVING_UP
        self.code = code or Code.STARTUP
        for record in wording.records(text):
            self._log(Level.ERROR, record)
        self._notify(Status.STOPPING)
        self.close_listeners()

    def close_listeners(self) -> None:
        if self._listeners_open:
            self._listeners_open = False
            self._out.append(do.CloseListeners())

    # -- starting --------------------------------------------------------------------------------------------

    def _welcome(self, w: WorkerHandle, now: float) -> None:
        w.ready_at = w.beat = now
        w.accepts = True
        w.slow_at = None
        w.deadline = self.limits.hang_deadline(now)
        w.spent_at = self.limits.retire_at(now, w.serial)
        self.served.add(w.slot)
        if not self._asked_to_listen:
            self._asked_to_listen = True
            self._out.append(do.Listen())
        self.verdict = None
        self._told_cause = ""
        self._log(Level.DEBUG, f"{w.name} is ready.")

    def _note_failure(self, w: WorkerHandle, now: float) -> None:
        w.slow_at = None
        w.deadline = now + GIVE_UP_SECONDS
        if self.service is Service.RUNNING and not self.served:
            self.give_up(w.failed_code, w.cause)

    def _look(self, w: WorkerHandle, now: float) -> None:
        w.slow_at = None
        w.report_at = now + DUMP_SECONDS
        self._log(Level.WARNING, f"{w.name} has been starting for {now - w.started_at:.0f} s.")
        self._out.append(do.DumpStack(w.serial))

    def _kill_boot(self, w: WorkerHandle, now: float) -> None:
        if w.cause:
            self._kill(w, "it did not leave after it had failed")
        else:
            if w.report_at is not None:  # the stack was asked for half a second ago, and belongs before the kill
                self._out.append(do.ReportStack(w.serial))
            self._kill(w, f"it was not ready within {self.limits.boot:g} s")
        self._boot_failed(w, now)

    def _boot_failed(self, w: WorkerHandle, now: float) -> None:
        if self.service is not Service.RUNNING:
            self._log(Level.DEBUG, wording.gone(w))
        elif self.served:
            self._start_failed(w, wording.boot_failure(w), now)
        elif w.left_politely and not w.cause and not w.kill_reason:
            self.verdict = self.verdict or Verdict(now + CLEAN_EXIT_PAUSE, wording.boot_failure(w))
            self.slot(w.slot).failed(now)
        else:
            self.give_up(w.failed_code or Code.STARTUP, wording.boot_failure(w))

    def _start_failed(self, w: WorkerHandle, reason: str, now: float, least: float = 0.0) -> None:
        """A death before READY or right after it, once some worker has served."""
        told = self.epoch.concerns(w)
        if told:
            self.reload_failed(reason)
        others = self.active()
        if w.slot < self.target and all(other.slot != w.slot or other.marked for other in others):
            record = self.slot(w.slot)
            wait = record.failed(now, least)
            again = bool(w.cause) and w.cause == self._told_cause
            self._told_cause = w.cause
            if again:
                reason = f"{w.name} failed for the same reason ({record.failures} in a row)."
            if not told:
                ready = sum(other.state is State.READY for other in others)
                self._log(Level.ERROR, f"{reason}\n{ready} of {self.target} workers serve; next try in {wait:.1f} s.")
        elif not told:
            self._log(Level.ERROR, reason)
        stays = any(o.state is State.READY and now - o.ready_at >= STAY_SECONDS for o in others)
        if self._budget.charge(self.target, stays):
            self.give_up(Code.CRASH_LOOP, f"No worker stays: giving up after {self._budget.spent} tries.")

    def reload_failed(self, reason: str) -> None:
        """End the roll: what serves is what is wanted, and the one line that says so."""
        self.epoch.give_up(self.workers.values())
        self.limits, self.target = self._settled
        self._wanted = None
        self.say_reload_failed(reason)

    def say_reload_failed(self, reason: str) -> None:
        serving = {w.generation for w in self.active() if w.state is not State.BOOTING}
        names = wording.generations(serving or {self.epoch.generation})
        self._log(Level.ERROR, f"reload failed, still serving {names}: {wording.headline_first(reason)}")
        if self._announced and not self.epoch.rolling:
            self._notify(Status.READY)

    # -- serving ---------------------------------------------------------------------------------------------

    def _extend(self, w: WorkerHandle, now: float) -> None:
        deadline = self.limits.hang_deadline(w.beat)
        if deadline is not None and w.deadline is not None:
            w.deadline = max(w.deadline, deadline)

    def _mark(self, w: WorkerHandle, now: float) -> None:
        if w.marked:
            return
        w.marked = True
        if not w.broken:
            self._log(Level.INFO, f"{w.name} {w.spent}: replacing it.")
            return
        early = now - w.ready_at < STAY_SECONDS
        if early and self.epoch.concerns(w):
            self.reload_failed(f"{w.name} {w.spent}.")
        if early:
            wait = self.slot(w.slot).failed(now)
            self._log(Level.ERROR, f"{w.name} {w.spent}: replacing it in {wait:.1f} s.")
        else:
            self.slot(w.slot).lost(now, 0.0)
            self._log(Level.ERROR, f"{w.name} {w.spent}: replacing it.")

    def spend(self, w: WorkerHandle, why: str, now: float, fault: bool = False) -> None:
        """A limit is reached, or something broke: the worker is to be replaced, if its state allows."""
        if not w.marked:
            w.spent, w.broken = why, fault
        self.feed(w, Input.SPENT, now)

    def _suspect(self, w: WorkerHandle, now: float) -> None:
        w.deadline = now + DUMP_SECONDS
        self._log(Level.WARNING, f"{wording.hung(w, now)}; asking for its stack.")
        self._out.append(do.DumpStack(w.serial))

    def _recover(self, w: WorkerHandle, now: float) -> None:
        w.deadline = self.limits.hang_deadline(w.beat)
        if w.held:
            return
        self._log(Level.WARNING, f"{w.name} recovered: its event loop turns again.")
        self._out.append(do.ReportStack(w.serial))

    def _kill_hung(self, w: WorkerHandle, now: float) -> None:
        self._log(Level.ERROR, f"{wording.hung(w, now)}; killing it.")
        self._out.append(do.ReportStack(w.serial))
        self._kill(w, "its event loop did not turn")
        self.slot(w.slot).lost(now, 0.0)

    def _leaving(self, w: WorkerHandle, now: float) -> None:
        w.deadline = now + self.limits.drain + KILL_GRACE
        w.drain_deadline = now + self.limits.drain
        self.slot(w.slot).lost(now, CLEAN_EXIT_PAUSE)
        self._log(Level.WARNING, f"{w.name} leaves without having been told to; replacing it.")

    def _crashed(self, w: WorkerHandle, now: float) -> None:
        pause = CLEAN_EXIT_PAUSE if w.left_politely else 0.0
        if self.service is not Service.RUNNING:
            self._forget(w, now)
        elif w.killed_from_outside and not self.epoch.concerns(w):
            early = now - w.ready_at < STAY_SECONDS
            self.slot(w.slot).lost(now, BACKOFF_FIRST if early else 0.0)
            self._log(Level.ERROR, wording.crash(w))
        elif now - w.ready_at < STAY_SECONDS:
            self._start_failed(w, wording.early_death(w, now), now, pause)
        else:
            self.slot(w.slot).lost(now, pause)
            if w.left_politely:
                self._log(Level.WARNING, wording.polite_exit(w))
            else:
                self._log(Level.ERROR, wording.crash(w))

    # -- leaving ---------------------------------------------------------------------------------------------

    def _order(self, now: float) -> tuple[Mode, float, float]:
        """How a worker that is told now leaves: the mode, the drain deadline, and when it is killed."""
        if self.service is Service.GIVING_UP:
            return Mode.INTERRUPT, now, now + GIVE_UP_SECONDS
        if self.service is Service.STOPPING:
            return self.stop_mode, self.stop_deadline, self.stop_deadline + KILL_GRACE
        return Mode.RETIRE, now + self.limits.drain, now + self.limits.drain + KILL_GRACE

    def _tell(self, w: WorkerHandle, now: float) -> None:
        w.slow_at = None
        w.drain_mode, w.drain_deadline, w.deadline = self._order(now)
        self._out.append(do.Tell(w.serial, w.drain_mode, w.drain_deadline))
        self._out.append(do.Terminate(w.serial))

    def _shorten(self, w: WorkerHandle, now: float) -> None:
        mode, drain, kill = self._order(now)
        if w.deadline is not None:
            w.deadline = min(w.deadline, kill)
        if _URGENCY[mode] > _URGENCY[w.drain_mode] or drain < w.drain_deadline:
            w.drain_mode = max(mode, w.drain_mode, key=_URGENCY.__getitem__)
            w.drain_deadline = min(drain, w.drain_deadline)
            self._out.append(do.Tell(w.serial, w.drain_mode, w.drain_deadline))

    def _hurry(self, w: WorkerHandle, now: float) -> None:
        limit = now + NOW_SECONDS
        leaving = w.drain_deadline > 0.0 and w.deadline is not None
        w.deadline = min(w.deadline or limit, limit) if leaving else limit
        w.slow_at = None
        w.hurried = True
        self._out.append(do.Quit(w.serial))

    def _kill_drain(self, w: WorkerHandle, now: float) -> None:
        if w.hurried:
            reason = "it was asked to stop now, and did not"
        elif self.service is Service.GIVING_UP:
            reason = "the service gives up"
        else:
            reason = "its drain deadline passed"
            if self.service is Service.STOPPING:
                self.code = Code.FORCED
        self._log(Level.WARNING, f"Killing {w.name[0].lower()}{w.name[1:]}: {reason}.")
        self._kill(w, reason)

    def _kill_at_once(self, w: WorkerHandle, now: float) -> None:
        self._kill(w, "it was asked to stop now, and its event loop does not turn")

    def _forget(self, w: WorkerHandle, now: float) -> None:
        unexpected = bool(w.exit_signal) and w.exit_signal != "SIGTERM" and not w.kill_reason and not w.hurried
        self._log(Level.WARNING if unexpected else Level.DEBUG, wording.gone(w))
