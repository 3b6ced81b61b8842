"""The supervisor as a pure machine: `handle(events, now)` gives actions, `deadline()` says when to be woken.

Owns: what an event means, and the reconcile step. What is wanted (how many workers, which generation, or
none because the service stops) and what is (one handle per process, each moved by the table) are separate
facts. An event records facts and feeds the table; when everything that one wake-up brought is recorded, one reconcile
step closes the gap (and one at once when the service is to stop: what follows is judged by that). So no event needs to
know what else is going on: a reload, a changed target or a stop only change what is wanted, and each may interrupt the
others. Several HUPs of one wake-up are one reload.

What is remembered is plain data (`Fleet`, `ServiceFacts`, `Watchdog`): `dump` gives it away, and a machine that is
loaded from it goes on as the first one would have.

A wake-up costs one pass over the fleet (its heartbeats, the next deadline); all else is paid by the workers that have
changed (`Fleet.settle`, `Fleet.take_changed`).

Must not: hold a descriptor, read a clock, log, or block. Fails by: nothing; what cannot be (a report about
a worker that is gone, a message that does not fit its state) is ignored with a debug line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from uvicorn.errors import ExitCode
from uvicorn.process.drainmode import DrainMode
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import events as ev
from uvicorn.supervisor import plain, wording
from uvicorn.supervisor.actions import Action, Level, Status
from uvicorn.supervisor.events import Event, Report, Signal
from uvicorn.supervisor.fleet import Fleet
from uvicorn.supervisor.handle import WorkerHandle
from uvicorn.supervisor.policy import (
    DUMP_SECONDS,
    LATE_SECONDS,
    MEASURE_SECONDS,
    RELEASE_SECONDS,
    STATUS_SECONDS,
    Policy,
)
from uvicorn.supervisor.service import Service, ServiceFacts, ServiceState
from uvicorn.supervisor.table import TABLE, Input, State, Table
from uvicorn.supervisor.transitions import Transitions
from uvicorn.supervisor.watchdog import Watchdog

_INPUTS = {
    ev.WorkerReady: Input.READY,
    ev.WorkerFailed: Input.FAILED,
    ev.WorkerDrained: Input.DRAINED,
    ev.WorkerSpent: Input.SPENT,
    ev.WorkerExited: Input.EXITED,
    ev.SpawnFailed: Input.EXITED,
    ev.Heartbeat: Input.BEAT,
}


class Supervisor:
    """The whole of the master's judgement. Feed it `Started` first; after an `Exit` it says no more."""

    def __init__(self, policy: Policy, target: int, table: Table = TABLE) -> None:
        self._compose(Fleet.of(policy, target), ServiceFacts(), Watchdog(policy.watchdog), table)

    def _compose(self, fleet: Fleet, facts: ServiceFacts, watchdog: Watchdog, table: Table) -> None:
        self.fleet = fleet
        self.facts = facts
        self.watchdog = watchdog
        self.service = Service(fleet, facts)
        self.transitions = Transitions(fleet, self.service, table)
        self._asked_to_read = False
        self._sent_home_for: tuple[ServiceState, DrainMode, bool] | None = None
        self._deadline: float | None = None
        self._deadline_known = False

    # -- plain data ------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything that it remembers, between two calls of `handle`, as plain data."""
        return {
            "fleet": plain.dump(self.fleet),
            "service": plain.dump(self.facts),
            "watchdog": plain.dump(self.watchdog),
        }

    @classmethod
    def load(cls, data: Mapping[str, Any], table: Table = TABLE) -> Supervisor:
        """A machine that goes on where the dumped one was. Raises TypeError, ValueError or KeyError for other data."""
        self = cls.__new__(cls)
        fleet = plain.load(Fleet, data["fleet"])
        self._compose(fleet, plain.load(ServiceFacts, data["service"]), plain.load(Watchdog, data["watchdog"]), table)
        return self

    # -- the two questions -----------------------------------------------------------------------------------

    def handle(self, events: Iterable[Event], now: float) -> list[Action]:
        """What to do about `events`, in their order. `now` is seconds of a monotonic clock, the same at every call."""
        if self.facts.state is ServiceState.OVER:
            return []
        asked = self.deadline()
        if asked is not None and now - asked > LATE_SECONDS:
            self._excuse(now, now - asked)
        self._deadline_known = False
        for event in events:
            wanted = self.facts.state
            self._take(event, now)
            if self.facts.state is not wanted:  # a stop explains what comes with it
                self._reconcile(now)
        self._reconcile(now)
        self._asked_to_read = False
        self._tell_status(now)
        return self.service.collect()

    def deadline(self) -> float | None:
        """When to be woken with a Tick, or None when only an event can change anything."""
        if not self._deadline_known:
            at = self._next_wake()
            self._deadline = None if at == math.inf else at
            self._deadline_known = True
        return self._deadline

    def _next_wake(self) -> float:
        facts, fleet = self.facts, self.fleet
        if facts.state is ServiceState.OVER:
            return math.inf
        times = [fleet.wake_at()]
        if self.watchdog.due is not None:
            times.append(self.watchdog.due)
        if facts.state is ServiceState.STOPPING and facts.listeners_open:
            times.append(facts.release_by)
        if facts.state is ServiceState.RUNNING:
            times += [at for at in (facts.measure_at, facts.leave_at) if at is not None]
            if facts.pending is not None:
                times.append(facts.pending.at)
            else:
                times += [fleet.fill_at(), fleet.recycle_at()]
        return min(times)

    # -- what an event means ---------------------------------------------------------------------------------

    def _take(self, event: Event, now: float) -> None:
        match event:
            case ev.Heartbeats(beats):
                for beat in beats:
                    self._report(beat, now)
            case ev.Started():
                self.facts.measure_at = now + MEASURE_SECONDS if self.fleet.policy.memory else None
                self.watchdog.start(now)
            case ev.SettingsRead():
                self._begin_reload(event, now)
            case ev.Tick():
                self._expire(now)
            case ev.SignalReceived(signal):
                self._signal(signal, now)
            case ev.Listened():
                self.facts.listening = True
            case ev.ListenFailed(reason):
                if self.service.running:
                    self.service.give_up(ExitCode.STARTUP, reason)
            case ev.FilesChanged():
                pass  # only `Development` has a watcher
            case _:
                self._report(event, now)

    def _report(self, report: Report, now: float) -> None:
        """A report about one worker: the facts go on its handle, the rest is the table's."""
        w = self.fleet.workers.get(report.serial)
        if w is None:
            name = type(report).__name__
            self.service.log(Level.DEBUG, f"No worker has serial {report.serial}: {name} is ignored.")
            return
        beat = w.beat
        if isinstance(report, ev.Heartbeat) and report.held and not w.held:
            self.service.log(Level.WARNING, f"{w.name} is held by a debugger: its event loop is not checked.")
        self.fleet.note(w, report)
        match report:
            case ev.Spawned():
                pass
            case ev.MemoryMeasured(_, size):
                self._judge_memory(w, size, now)
            case ev.Heartbeat() if w.beat <= beat:
                pass
            case _:
                self.transitions.feed(w, _INPUTS[type(report)], now)

    def _judge_memory(self, w: WorkerHandle, size: int, now: float) -> None:
        limit = self.fleet.policy.memory
        if not limit or size <= limit:
            return
        if now - w.ready_at <= MEASURE_SECONDS and not self.facts.told_small_limit:
            self.facts.told_small_limit = True  # above it at the first look: the next worker will be, too
            self.service.log(Level.WARNING, wording.small_limit(w, size, limit, now))
        self.transitions.spend(w, wording.too_large(size, limit), now)

    # -- signals ---------------------------------------------------------------------------------------------

    def _signal(self, signal: Signal, now: float) -> None:
        facts, log = self.facts, self.service.log
        running = self.service.running and facts.leave_at is None
        delay = self.fleet.policy.delay
        match signal:
            case Signal.TERM if running and delay:
                facts.leave_at = now + delay
                log(Level.INFO, f"Received SIGTERM: accepting for {delay:g} s more, then stopping.")
                self.service.notify(Status.STOPPING)
            case Signal.TERM if running:
                self._stop(signal, now)
            case Signal.INT if facts.state in (ServiceState.RUNNING, ServiceState.STOPPING):
                self._interrupt(now)
            case Signal.QUIT if facts.state in (ServiceState.RUNNING, ServiceState.STOPPING):
                self._stop_now(signal)
            case Signal.HUP if running:
                self._reload()
            case Signal.TTIN | Signal.TTOU if running:
                wanted, otherwise = self.fleet.change_number(1 if signal is Signal.TTIN else -1)
                log(Level.INFO, wording.wanted(signal.value, wanted, otherwise))
            case Signal.USR1:
                self.service.do(do.ReopenLogs())
            case Signal.USR2:
                log(Level.WARNING, "Received SIGUSR2: an upgrade in place is not available.")
            case _:
                log(Level.DEBUG, f"Received {signal.value} while {facts.state.value}: ignored.")

    def _interrupt(self, now: float) -> None:
        """Somebody waits at a terminal: the first one ends a delay, and makes a stop that a TERM began more urgent."""
        again = self.facts.interrupts.first is not None
        if self.facts.interrupts.hear(now):
            self._stop_now(Signal.INT)
        elif self.service.running:
            self._stop(Signal.INT, now)
        elif not again:
            self.service.log(Level.INFO, "Received SIGINT: stopping already; idle connections are closed at once.")
            self.facts.stop_mode = DrainMode.INTERRUPT

    def _stop(self, signal: Signal, now: float) -> None:
        """Close the listeners first: once the last worker has closed its copy, later clients are refused."""
        self.service.log(Level.INFO, f"Received {signal.value}: stopping within {self.fleet.policy.drain:g} s.")
        if self.facts.leave_at is None:
            self.service.notify(Status.STOPPING)
        self._begin_stop(DrainMode.INTERRUPT if signal is Signal.INT else DrainMode.STOP, now)

    def _begin_stop(self, mode: DrainMode, now: float) -> None:
        self.service.begin_stop(mode, now + self.fleet.policy.drain, now + RELEASE_SECONDS)

    def _stop_now(self, signal: Signal) -> None:
        if self.service.running and self.facts.leave_at is None:
            self.service.notify(Status.STOPPING)
        self.service.close_listeners()
        self.facts.state = ServiceState.NOW
        self.service.log(Level.WARNING, f"Received {signal.value}: stopping now.")

    def _reload(self) -> None:
        """The settings come first: what cannot be read, or makes no sense, must not cost a worker."""
        if self._asked_to_read:
            return
        self._asked_to_read = True
        self.service.log(Level.INFO, f"Received SIGHUP: reloading, generation {self.fleet.epoch.last + 1}.")
        if self.facts.announced:
            self.service.notify(Status.RELOADING)
        self.service.do(do.ReadSettings())

    def _begin_reload(self, settings: ev.SettingsRead, now: float) -> None:
        if not self.service.running:
            return
        if settings.failure:  # a roll that is under way goes on with the settings it has
            self.service.say_reload_failed(settings.failure)
            return
        self.fleet.begin_roll(settings.policy, settings.target, now)
        self.facts.measure_at = now + MEASURE_SECONDS if self.fleet.policy.memory else None
        self.facts.told_small_limit = False
        if self.fleet.policy.fixed_code:
            self.service.log(
                Level.WARNING, "The application was given as an object: a reload does not change its code."
            )

    # -- time ------------------------------------------------------------------------------------------------

    def _expire(self, now: float) -> None:
        facts, fleet, feed = self.facts, self.fleet, self.transitions.feed
        for w in [w for w in fleet.workers.values() if w.wake_at <= now]:
            if w.report_at is not None and w.report_at <= now:
                w.expect_stack(None)
                self.service.do(do.ReportStack(w.serial))
            if w.slow_at is not None and w.slow_at <= now:
                feed(w, Input.SLOW, now)
            if w.spent_at is not None and w.spent_at <= now and w.state is State.READY:
                w.outlive()
                self.transitions.spend(w, wording.too_old(now - w.ready_at), now)
            if w.deadline is not None and w.deadline <= now:
                feed(w, Input.DEADLINE, now)
        if facts.measure_at is not None and facts.measure_at <= now:
            facts.measure_at = now + MEASURE_SECONDS
            self.service.do(do.MeasureMemory())
        if facts.leave_at is not None and facts.leave_at <= now and self.service.running:
            self.service.log(Level.INFO, f"Stopping within {fleet.policy.drain:g} s.")
            self._begin_stop(DrainMode.STOP, now)
        if facts.pending is not None and facts.pending.at <= now and self.service.running:
            self.service.give_up(ExitCode.STARTUP, facts.pending.text)
        self._answer_watchdog(now)

    def _answer_watchdog(self, now: float) -> None:
        look = self.watchdog.look(now, self.fleet.workers.values())
        if look is not None and look.alive:
            self.service.notify(Status.WATCHDOG)
        elif look is not None:
            self.service.log(Level.ERROR, wording.watchdog(*look))

    def _excuse(self, now: float, late: float) -> None:
        """The master was suspended, stopped or starved, and perhaps its workers with it: old beats prove
        nothing."""
        overdue = False
        for w in self.fleet.workers.values():
            fresh = now + DUMP_SECONDS if w.state is State.HUNG else self.fleet.policy.hang_deadline(now)
            if w.state in (State.READY, State.HUNG) and w.deadline is not None and fresh is not None:
                overdue |= w.deadline <= now
                w.wait_until(max(w.deadline, fresh))
        if overdue:
            text = f"The master itself was delayed by {late:.1f} s: no worker is checked for a hang this time."
            self.service.log(Level.INFO, text)

    # -- closing the gap -------------------------------------------------------------------------------------

    def _reconcile(self, now: float) -> None:
        if self.service.running:
            self._keep_fleet(now)
        elif self.facts.state is not ServiceState.OVER:
            self._send_home(now)

    def _keep_fleet(self, now: float) -> None:
        facts, fleet = self.facts, self.fleet
        fleet.take_changed()
        self._retire(now)
        if facts.pending is not None:
            return
        for number in fleet.to_fill(now):
            self._spawn(number, now)
        while (spent := fleet.next_to_recycle(now)) is not None:
            self._spawn(spent.slot, now)
        if fleet.epoch.rolling:
            self._roll(now)
        if not facts.announced and facts.listening and fleet.have_served():
            facts.announced = True
            self.service.notify(Status.READY)
        if not facts.told_ready and not fleet.settle().unready:
            facts.told_ready = True  # for a person, once: a service manager hears when each place has served
            self.service.log(Level.INFO, wording.all_ready(fleet.target))

    def _retire(self, now: float) -> None:
        for w in self.fleet.superfluous():
            if self.transitions.hears(w, Input.STOP):
                self.transitions.feed(w, Input.STOP, now)

    def _roll(self, now: float) -> None:
        fleet = self.fleet
        if not fleet.rolled():
            number = fleet.next_to_roll()
            if number is not None:
                self._spawn(number, now)
            return
        took = 0.0 if fleet.epoch.since is None else now - fleet.epoch.since
        if fleet.complete_roll():
            self._retire(now)
        who, generation = wording.workers(fleet.target), fleet.epoch.generation
        self.service.log(Level.INFO, f"reloaded: {who}, generation {generation}, {took:.1f} s")
        if self.facts.announced:
            self.service.notify(Status.READY)

    def _spawn(self, number: int, now: float) -> None:
        w = self.fleet.add(number, now)
        self.service.do(do.Spawn(w.serial, w.slot, w.generation))

    def _send_home(self, now: float) -> None:
        """At a stop those that hold a listener and do not accept come first, and the others go on serving meanwhile:
        else clients would wait where nobody accepts, and be reset in the end."""
        facts, fleet = self.facts, self.fleet
        changed = fleet.take_changed()
        if facts.state is ServiceState.STOPPING and facts.listeners_open:
            if now < facts.release_by and fleet.ready_count:
                for w in fleet.active():
                    if w.state is State.BOOTING and not w.cause:
                        self.transitions.feed(w, Input.STOP, now)
                if any(w.holds_queue for w in fleet.workers.values()):
                    return
            self.service.close_listeners()
        order = (facts.state, facts.stop_mode, facts.listeners_open)
        for w in list(fleet.workers.values()) if order != self._sent_home_for else changed:
            self._send_one_home(w, now)
        self._sent_home_for = order
        if not fleet.workers:
            facts.state = ServiceState.OVER
            self.service.do(do.Exit(facts.code))

    def _send_one_home(self, w: WorkerHandle, now: float) -> None:
        if self.facts.state is ServiceState.NOW:
            if not w.hurried and w.state is not State.KILLED:
                self.transitions.feed(w, Input.NOW, now)
        elif self.transitions.hears(w, Input.STOP) and not (w.state is State.BOOTING and w.cause):
            self.transitions.feed(w, Input.STOP, now)  # who said that it failed is leaving by itself

    def _tell_status(self, now: float) -> None:
        """Figures are renewed when something else wakes us, and not more often than once a second: nothing is due for
        their sake."""
        facts = self.facts
        if not self.service.running or self.service.status() == facts.told:
            return
        standing = self.service.standing()
        if standing != facts.standing or now >= facts.status_at + STATUS_SECONDS:
            facts.standing, facts.status_at = standing, now
            self.service.notify(Status.STATUS)
