"""Moves workers through the table: one method for each `Effect` of a cell.

Owns: `Transitions`. An effect concerns one worker. It may change the goal (a first boot that fails ends the service, a
roll that fails ends the roll) but never starts or stops a worker: the reconcile step does.

A failed start is judged by when it happens. Before any worker was ever READY it is final: the cause is
logged once and the service ends. In a roll it ends the roll. Else the slot has to wait, and it counts against the
restart budget only while no worker serves. A worker that had become READY and was SIGKILLed from outside has not
failed: repeated kills (by an operator, a fault injector, the kernel when memory runs out) must not empty the fleet by
backoff. So the slot waits for the shortest time at most, and nothing counts against the budget.

Must not: read a clock or see an event. Fails by: nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from uvicorn.errors import ExitCode
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import wording
from uvicorn.supervisor.actions import Level
from uvicorn.supervisor.events import WorkerSpent
from uvicorn.supervisor.fleet import Fleet
from uvicorn.supervisor.handle import WorkerHandle
from uvicorn.supervisor.policy import (
    BACKOFF_FIRST,
    CLEAN_EXIT_PAUSE,
    DUMP_SECONDS,
    GIVE_UP_SECONDS,
    KILL_GRACE,
    NOW_SECONDS,
    STAY_SECONDS,
)
from uvicorn.supervisor.service import PendingFailure, Service, ServiceState
from uvicorn.supervisor.table import Effect, Input, Table


class Transitions:
    """`feed` moves one worker of the fleet. Each other method carries out one effect."""

    def __init__(self, fleet: Fleet, service: Service, table: Table) -> None:
        self._fleet = fleet
        self._service = service
        self._table = table
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

    def feed(self, w: WorkerHandle, what: Input, now: float) -> None:
        """Move one worker through the table. The new state holds before the effect is carried out."""
        cell = self._table.get((w.state, what))
        if cell is None:
            self._service.log(Level.DEBUG, f"{w.name} is {w.state.value}: {what.value!r} is ignored.")
            return
        self._fleet.move(w, cell.after)
        self._effects[cell.effect](w, now)

    def hears(self, w: WorkerHandle, what: Input) -> bool:
        """Whether the table has a cell for the input in the worker's state."""
        return (w.state, what) in self._table

    def spend(self, w: WorkerHandle, why: str, now: float) -> None:
        """A worker has reached a limit: replace it, if its state allows."""
        w.note(WorkerSpent(w.serial, why))
        self.feed(w, Input.SPENT, now)

    def _kill(self, w: WorkerHandle, reason: str) -> None:
        w.kill(reason)
        self._service.do(do.Kill(w.serial, reason))

    # -- starting --------------------------------------------------------------------------------------------

    def _welcome(self, w: WorkerHandle, now: float) -> None:
        facts, policy = self._service.facts, self._fleet.policy
        w.welcome(now, policy.hang_deadline(now), policy.retire_at(now, w.serial))
        self._fleet.served.add(w.slot)
        if not facts.asked_to_listen:
            facts.asked_to_listen = True
            self._service.do(do.Listen())
        facts.pending = None
        facts.told_cause = ""
        self._service.log(Level.DEBUG, f"{w.name} is ready.")

    def _note_failure(self, w: WorkerHandle, now: float) -> None:
        w.expect_exit(now + GIVE_UP_SECONDS)
        if self._service.running and not self._fleet.served:
            self._service.give_up(w.failed_code, w.cause)

    def _look(self, w: WorkerHandle, now: float) -> None:
        w.expect_stack(now + DUMP_SECONDS)
        self._service.log(Level.WARNING, f"{w.name} has been starting for {now - w.started_at:.0f} s.")
        self._service.do(do.DumpStack(w.serial))

    def _kill_boot(self, w: WorkerHandle, now: float) -> None:
        if w.cause:
            self._kill(w, "it did not exit after it had failed")
        else:
            if w.report_at is not None:  # the stack was asked for half a second ago, and belongs before the kill
                self._service.do(do.ReportStack(w.serial))
            self._kill(w, f"it was not ready within {self._fleet.policy.boot:g} s")
        self._boot_failed(w, now)

    def _boot_failed(self, w: WorkerHandle, now: float) -> None:
        service = self._service
        if not service.running:
            service.log(Level.DEBUG, wording.gone(w))
        elif self._fleet.served:
            self._start_failed(w, wording.boot_failure(w), now)
        elif w.left_politely and not w.cause and not w.kill_reason:
            pending = PendingFailure(now + CLEAN_EXIT_PAUSE, wording.boot_failure(w))
            service.facts.pending = service.facts.pending or pending
            self._fleet.slot(w.slot).failed(now)
        else:
            service.give_up(w.failed_code or ExitCode.STARTUP, wording.boot_failure(w))

    def _start_failed(self, w: WorkerHandle, reason: str, now: float, least: float = 0.0) -> None:
        """A death before READY or right after it, once some worker has served."""
        fleet, service = self._fleet, self._service
        told = fleet.epoch.concerns(w)
        if told:
            service.reload_failed(reason)
        if w.slot < fleet.target and all(other.marked for other in fleet.members(w.slot)):
            record = fleet.slot(w.slot)
            wait = record.failed(now, least)
            again = bool(w.cause) and w.cause == service.facts.told_cause
            service.facts.told_cause = w.cause
            if again:
                reason = f"{w.name} failed for the same reason ({record.failures} in a row)."
            if not told:
                serving = f"{fleet.ready_count} of {fleet.target} workers are serving"
                service.log(Level.ERROR, f"{reason}\n{serving}; next attempt in {wait:.1f} s.")
        elif not told:
            service.log(Level.ERROR, reason)
        stays = now - min([other.ready_at for other in fleet.ready()], default=now) >= STAY_SECONDS
        if fleet.budget.charge(fleet.target, stays):
            service.give_up(
                ExitCode.CRASH_LOOP, f"Workers keep failing: giving up after {fleet.budget.spent} attempts."
            )

    # -- serving ---------------------------------------------------------------------------------------------

    def _extend(self, w: WorkerHandle, now: float) -> None:
        deadline = self._fleet.policy.hang_deadline(w.beat)
        if deadline is not None and w.deadline is not None and deadline > w.deadline:
            w.wait_until(deadline)

    def _mark(self, w: WorkerHandle, now: float) -> None:
        if w.marked:
            return
        service, slot = self._service, self._fleet.slot(w.slot)
        w.mark()
        self._fleet.touch(w)
        if not w.broken:
            service.log(Level.INFO, f"{w.name} {w.spent}: replacing it.")
            return
        early = now - w.ready_at < STAY_SECONDS
        if early and self._fleet.epoch.concerns(w):
            service.reload_failed(f"{w.name} {w.spent}.")
        if early:
            wait = slot.failed(now)
            service.log(Level.ERROR, f"{w.name} {w.spent}: replacing it in {wait:.1f} s.")
        else:
            slot.lost(now, 0.0)
            service.log(Level.ERROR, f"{w.name} {w.spent}: replacing it.")

    def _suspect(self, w: WorkerHandle, now: float) -> None:
        w.wait_until(now + DUMP_SECONDS)
        self._service.log(Level.WARNING, f"{wording.hung(w, now)}; asking for its stack.")
        self._service.do(do.DumpStack(w.serial))

    def _recover(self, w: WorkerHandle, now: float) -> None:
        w.wait_until(self._fleet.policy.hang_deadline(w.beat))
        if w.held:
            return
        self._service.log(Level.WARNING, f"{w.name} recovered: its event loop runs again.")
        self._service.do(do.ReportStack(w.serial))

    def _kill_hung(self, w: WorkerHandle, now: float) -> None:
        self._service.log(Level.ERROR, f"{wording.hung(w, now)}; killing it.")
        self._service.do(do.ReportStack(w.serial))
        self._kill(w, "its event loop did not run")
        self._fleet.slot(w.slot).lost(now, 0.0)

    def _leaving(self, w: WorkerHandle, now: float) -> None:
        drain = self._fleet.policy.drain
        w.leave(w.drain_mode, now + drain, now + drain + KILL_GRACE)
        self._fleet.slot(w.slot).lost(now, CLEAN_EXIT_PAUSE)
        self._service.log(Level.WARNING, f"{w.name} is leaving without being asked to; replacing it.")

    def _crashed(self, w: WorkerHandle, now: float) -> None:
        service, slot = self._service, self._fleet.slot(w.slot)
        pause = CLEAN_EXIT_PAUSE if w.left_politely else 0.0
        early = now - w.ready_at < STAY_SECONDS
        if not service.running:
            self._forget(w, now)
        elif w.killed_from_outside and not self._fleet.epoch.concerns(w):
            slot.lost(now, BACKOFF_FIRST if early else 0.0)
            service.log(Level.ERROR, wording.crash(w))
        elif early:
            self._start_failed(w, wording.early_death(w, now), now, pause)
        else:
            slot.lost(now, pause)
            if w.left_politely:
                service.log(Level.WARNING, wording.polite_exit(w))
            else:
                service.log(Level.ERROR, wording.crash(w))

    # -- leaving ---------------------------------------------------------------------------------------------

    def _tell(self, w: WorkerHandle, now: float) -> None:
        w.leave(*self._service.order(now))
        self._service.do(do.Tell(w.serial, w.drain_mode, w.drain_deadline))
        self._service.do(do.Terminate(w.serial))

    def _shorten(self, w: WorkerHandle, now: float) -> None:
        if w.shorten(*self._service.order(now)):
            self._service.do(do.Tell(w.serial, w.drain_mode, w.drain_deadline))

    def _hurry(self, w: WorkerHandle, now: float) -> None:
        w.hurry(now + NOW_SECONDS)
        self._service.do(do.Quit(w.serial))

    def _kill_drain(self, w: WorkerHandle, now: float) -> None:
        facts = self._service.facts
        if w.hurried:
            reason = "it was asked to stop now, and did not"
        elif facts.state is ServiceState.GIVING_UP:
            reason = "the service gives up"
        else:
            reason = "its drain deadline passed"
            if facts.state is ServiceState.STOPPING:
                facts.code = int(ExitCode.FORCED)
        self._service.log(Level.WARNING, f"Killing {w.name[0].lower()}{w.name[1:]}: {reason}.")
        self._kill(w, reason)

    def _kill_at_once(self, w: WorkerHandle, now: float) -> None:
        self._kill(w, "it was asked to stop now, and its event loop does not run")

    def _forget(self, w: WorkerHandle, now: float) -> None:
        unexpected = bool(w.exit_signal) and w.exit_signal != "SIGTERM" and not w.kill_reason and not w.hurried
        self._service.log(Level.WARNING if unexpected else Level.DEBUG, wording.gone(w))
