"""The supervisor as a pure machine: `handle(event, now)` gives actions, `deadline()` says when to be woken.

Owns: what an event means, and the reconcile step. What is wanted (how many workers, which generation, or
none because the service stops) and what is (one handle per process, each moved by the table) are separate
facts. An event records facts and feeds the table; then one reconcile step closes the gap. So no event needs
to know what else is going on: a reload, a changed target or a stop only change what is wanted, and each may
interrupt the others.

Must not: hold a descriptor, read a clock, log, or block. Fails by: nothing; what cannot be (a report about
a worker that is gone, a message that does not fit its state) is ignored with a debug line.
"""

from __future__ import annotations

from uvicorn.process.interrupts import Interrupts
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import events as ev
from uvicorn.supervisor import wording
from uvicorn.supervisor.actions import Action, Level, Mode, Status
from uvicorn.supervisor.effects import Effects, Service
from uvicorn.supervisor.events import Event, Signal
from uvicorn.supervisor.policy import (
    DUMP_SECONDS,
    LATE_SECONDS,
    MEASURE_SECONDS,
    RELEASE_SECONDS,
    STATUS_SECONDS,
    Code,
    Limits,
)
from uvicorn.supervisor.table import TABLE, Input, State, Table, WorkerHandle
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


class Supervisor(Effects):
    """The whole of the master's judgement. Feed it `Started` first; after an `Exit` it says no more."""

    def __init__(self, limits: Limits, target: int, table: Table = TABLE) -> None:
        super().__init__(limits, target, table)
        self._serial = 0
        self._measure_at: float | None = None
        self._interrupts = Interrupts()
        self.watchdog = Watchdog(limits.watchdog)
        self._told_of_small_limit = self._told_ready = False
        self._last_standing = ""
        self._status_at = 0.0

    # -- the two questions -----------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Action]:
        """What to do about `event`. `now` is seconds of a monotonic clock, the same at every call."""
        if self.service is Service.OVER:
            return []
        asked = self.deadline()
        if asked is not None and now - asked > LATE_SECONDS:
            self._excuse(now, now - asked)
        self._take(event, now)
        self._reconcile(now)
        self._tell_status(now)
        return self.collect()

    def deadline(self) -> float | None:
        """When to be woken with a Tick, or None when only an event can change anything."""
        if self.service is Service.OVER:
            return None
        times = [at for w in self.workers.values() for at in w.wake_times()]
        if self.watchdog.due is not None:
            times.append(self.watchdog.due)
        if self.service is Service.STOPPING and self._listeners_open:
            times.append(self._release_by)
        if self.service is Service.RUNNING:
            times += [at for at in (self._measure_at, self.leave_at) if at is not None]
            if self.verdict is not None:
                times.append(self.verdict.at)
            else:
                times.extend(self.slot(index).not_before for index in self._vacant())
                times.extend(self.slot(w.slot).not_before for w in self.epoch.recyclable(self.active(), self.target))
        return min(times, default=None)

    # -- what an event means ---------------------------------------------------------------------------------

    def _take(self, event: Event, now: float) -> None:
        match event:
            case ev.Started():
                self._measure_at = now + MEASURE_SECONDS if self.limits.memory else None
                self.watchdog.start(now)
            case ev.SettingsRead():
                self._begin_reload(event, now)
            case ev.Tick():
                self._expire(now)
            case ev.SignalReceived(signal):
                self._signal(signal, now)
            case ev.Listened():
                self.listening = True
            case ev.ListenFailed(reason):
                if self.service is Service.RUNNING:
                    self.give_up(Code.STARTUP, reason)
            case ev.Heartbeats(beats):
                for beat in beats:
                    self._report(beat, now)
            case ev.FilesChanged():
                pass  # only `Development` has a watcher
            case _:
                self._report(event, now)

    def _report(
        self,
        event: ev.Spawned
        | ev.SpawnFailed
        | ev.WorkerReady
        | ev.WorkerFailed
        | ev.WorkerDrained
        | ev.WorkerSpent
        | ev.MemoryMeasured
        | ev.WorkerExited
        | ev.Heartbeat,
        now: float,
    ) -> None:
        """A report about one worker: the facts go on its handle, the rest is the table's."""
        w = self.workers.get(event.serial)
        if w is None:
            self._log(Level.DEBUG, f"Nobody has serial {event.serial}: {type(event).__name__} is ignored.")
            return
        match event:
            case ev.Spawned(_, pid):
                w.pid = pid
                return
            case ev.SpawnFailed(_, reason):
                w.cause, w.failed_code = f"Cannot start a worker process: {reason}.", Code.STARTUP
            case ev.WorkerFailed(_, code, cause):
                w.cause, w.failed_code = cause, code
            case ev.WorkerExited(_, code, signal, requests):
                w.exit_code, w.exit_signal = code, signal
                self.requests_before += max(requests, w.requests)
            case ev.WorkerDrained():
                w.released = True
            case ev.WorkerSpent(_, cause, fault):
                self.spend(w, cause, now, fault)
                return
            case ev.MemoryMeasured(_, size):
                if self.limits.memory and size > self.limits.memory:
                    self._warn_of_small_limit(w, size, now)
                    self.spend(w, wording.too_large(size, self.limits.memory), now)
                return
            case ev.Heartbeat(_, at, in_flight, requests, held):
                if held and not w.held:
                    self._log(Level.WARNING, f"{w.name} is held by a debugger: it is not judged.")
                w.in_flight, w.requests, w.held = in_flight, requests, held
                if at <= w.beat:
                    return
                w.beat = at
            case _:
                pass
        self.feed(w, _INPUTS[type(event)], now)

    def _warn_of_small_limit(self, w: WorkerHandle, size: int, now: float) -> None:
        """A worker that is above its limit at the first look: the next one will be, too."""
        if now - w.ready_at <= MEASURE_SECONDS and not self._told_of_small_limit:
            self._told_of_small_limit = True
            self._log(Level.WARNING, wording.small_limit(w, size, self.limits.memory, now))

    def _signal(self, signal: Signal, now: float) -> None:
        running = self.service is Service.RUNNING and self.leave_at is None
        match signal:
            case Signal.TERM if running and self.limits.delay:
                self.leave_at = now + self.limits.delay
                self._log(Level.INFO, f"Received SIGTERM: accepting for {self.limits.delay:g} s more, then stopping.")
                self._notify(Status.STOPPING)
            case Signal.TERM if running:
                self._stop(signal, now)
            case Signal.INT if self.service in (Service.RUNNING, Service.STOPPING):
                self._interrupt(now)
            case Signal.QUIT if self.service in (Service.RUNNING, Service.STOPPING):
                self._stop_now(signal)
            case Signal.HUP if running:
                self._reload()
            case Signal.TTIN | Signal.TTOU if running:
                self._change_number(signal, 1 if signal is Signal.TTIN else -1)
            case Signal.USR1:
                self._out.append(do.ReopenLogs())
            case Signal.USR2:
                self._log(Level.WARNING, "Received SIGUSR2: an upgrade in place is not available.")
            case _:
                self._log(Level.DEBUG, f"Received {signal.value} while {self.service.value}: ignored.")

    def _change_number(self, signal: Signal, by: int) -> None:
        """During a roll it counts for either end: what a failure goes back to, and what the settings want."""
        limits, number = self._settled if self.epoch.rolling else (self.limits, self.target)
        number = max(1, number + by)
        self._settled = (limits, number)
        if self._wanted is not None:
            self._wanted = max(1, self._wanted + by)
        self.target = max(number, self._wanted or 0)
        self._log(Level.INFO, wording.wanted(signal.value, self._wanted or number, number))

    def _interrupt(self, now: float) -> None:
        """Somebody waits at a terminal: the first one ends a delay, and makes a stop that a TERM began more urgent."""
        again = self._interrupts.first is not None
        if self._interrupts.hear(now):
            self._stop_now(Signal.INT)
        elif self.service is Service.RUNNING:
            self._stop(Signal.INT, now)
        elif not again:
            self._log(Level.INFO, "Received SIGINT: stopping already; idle connections are closed at once.")
            self.stop_mode = Mode.INTERRUPT

    def _stop(self, signal: Signal, now: float) -> None:
        """The listeners go first: the last worker that closes its copy then refuses whoever comes later."""
        self._log(Level.INFO, f"Received {signal.value}: stopping within {self.limits.drain:g} s.")
        if self.leave_at is None:
            self._notify(Status.STOPPING)
        self._begin_stop(Mode.INTERRUPT if signal is Signal.INT else Mode.STOP, now)

    def _begin_stop(self, mode: Mode, now: float) -> None:
        self.service = Service.STOPPING
        self.stop_mode = mode
        self.stop_deadline = now + self.limits.drain
        self._release_by = now + RELEASE_SECONDS

    def _stop_now(self, signal: Signal) -> None:
        if self.service is Service.RUNNING and self.leave_at is None:
            self._notify(Status.STOPPING)
        self.close_listeners()
        self.service = Service.NOW
        self._log(Level.WARNING, f"Received {signal.value}: stopping now.")

    def _reload(self) -> None:
        """The settings come first: what cannot be read, or makes no sense, must not cost a worker."""
        self._log(Level.INFO, f"Received SIGHUP: reloading, generation {self.epoch.last + 1}.")
        if self._announced:
            self._notify(Status.RELOADING)
        self._out.append(do.ReadSettings())

    def _begin_reload(self, settings: ev.SettingsRead, now: float) -> None:
        if self.service is not Service.RUNNING:
            return
        if settings.failure:  # a roll that is under way goes on with the settings it has
            self.say_reload_failed(settings.failure)
            return
        if not self.epoch.rolling:
            self._settled = (self.limits, self.target)
        self.epoch.begin(now)
        self.limits = settings.limits or self.limits
        changed = settings.target is not None and settings.target != self._configured
        self._asked = settings.target if changed and settings.target is not None else self._configured
        self._wanted = self._asked if changed else None
        self.target = max(
            self._settled[1], self._wanted or 0
        )  # fewer only when the new ones have shown that they serve
        self._measure_at = now + MEASURE_SECONDS if self.limits.memory else None
        self._told_of_small_limit = False
        for record in self.slots.values():
            record.not_before = now  # somebody may have mended what the slot is waiting for
        if self.limits.fixed_code:
            self._log(Level.WARNING, "The application was given as an object: its code stays what it is.")

    # -- time ------------------------------------------------------------------------------------------------

    def _expire(self, now: float) -> None:
        for w in list(self.workers.values()):
            if w.report_at is not None and w.report_at <= now:
                w.report_at = None
                self._out.append(do.ReportStack(w.serial))
            if w.slow_at is not None and w.slow_at <= now:
                self.feed(w, Input.SLOW, now)
            if w.spent_at is not None and w.spent_at <= now and w.state is State.READY:
                w.spent_at = None
                self.spend(w, wording.too_old(now - w.ready_at), now)
            if w.deadline is not None and w.deadline <= now:
                self.feed(w, Input.DEADLINE, now)
        if self._measure_at is not None and self._measure_at <= now:
            self._measure_at = now + MEASURE_SECONDS
            self._out.append(do.MeasureMemory())
        if self.leave_at is not None and self.leave_at <= now and self.service is Service.RUNNING:
            self._log(Level.INFO, f"Stopping within {self.limits.drain:g} s.")
            self._begin_stop(Mode.STOP, now)
        if self.verdict is not None and self.verdict.at <= now and self.service is Service.RUNNING:
            self.give_up(Code.STARTUP, self.verdict.text)
        self._answer_watchdog(now)

    def _answer_watchdog(self, now: float) -> None:
        look = self.watchdog.look(now, self.workers.values())
        if look is not None and look.alive:
            self._notify(Status.WATCHDOG)
        elif look is not None:
            self._log(Level.ERROR, wording.watchdog(*look))

    def _excuse(self, now: float, late: float) -> None:
        """The master was suspended, stopped or starved, and perhaps its workers with it: old beats prove
        nothing."""
        overdue = False
        for w in self.workers.values():
            fresh = now + DUMP_SECONDS if w.state is State.HUNG else self.limits.hang_deadline(now)
            if w.state in (State.READY, State.HUNG) and w.deadline is not None and fresh is not None:
                overdue |= w.deadline <= now
                w.deadline = max(w.deadline, fresh)
        if overdue:
            self._log(Level.INFO, f"The master itself was held up for {late:.1f} s: no worker is judged for it.")

    # -- closing the gap -------------------------------------------------------------------------------------

    def _reconcile(self, now: float) -> None:
        if self.service is Service.RUNNING:
            self._keep_fleet(now)
        else:
            self._send_home(now)

    def _keep_fleet(self, now: float) -> None:
        self._retire(now)
        if self.verdict is not None:
            return
        for index in self._vacant():
            if self.slot(index).not_before <= now:
                self._spawn(index, now)
        for w in self.epoch.recyclable(self.active(), self.target):
            if self.slot(w.slot).not_before <= now and w in self.epoch.recyclable(self.active(), self.target):
                self._spawn(w.slot, now)
        if self.epoch.rolling:
            self._roll(now)
        if not self._announced and self.listening and self.served.issuperset(range(self.target)):
            self._announced = True
            self._notify(Status.READY)
        if not self._told_ready:
            self._tell_ready()

    def _tell_ready(self) -> None:
        """For a person, once: a service manager hears it already when each place has served."""
        ready = {w.slot for w in self.workers.values() if w.state is State.READY}
        if ready.issuperset(range(self.target)):
            self._told_ready = True
            self._log(Level.INFO, wording.all_ready(self.target))

    def _retire(self, now: float) -> None:
        for w in self.epoch.superfluous(self.active(), self.target):
            if (w.state, Input.STOP) in self._table:
                self.feed(w, Input.STOP, now)

    def _roll(self, now: float) -> None:
        fleet = self.active()
        if not self.epoch.done(fleet, self.target):
            index = self.epoch.next_slot(fleet, self.target)
            if index is not None:
                self._spawn(index, now)
            return
        took = 0.0 if self.epoch.since is None else now - self.epoch.since
        self.epoch.complete()
        if self._wanted is not None:
            self._configured, self.target = self._asked, self._wanted
            self._wanted = None
            self._retire(now)
        who, generation = wording.workers(self.target), self.epoch.generation
        self._log(Level.INFO, f"reloaded: {who}, generation {generation}, {took:.1f} s")
        if self._announced:
            self._notify(Status.READY)

    def _send_home(self, now: float) -> None:
        """At a stop those that hold a listener and do not accept come first, and the others go on serving meanwhile:
        else clients would wait where nobody accepts, and be reset in the end."""
        if self.service is Service.STOPPING and self._listeners_open:
            if now < self._release_by and any(w.state is State.READY for w in self.workers.values()):
                for w in [w for w in self.workers.values() if w.state is State.BOOTING and not w.cause]:
                    self.feed(w, Input.STOP, now)
                if any(w.holds_queue for w in self.workers.values()):
                    return
            self.close_listeners()
        for w in list(self.workers.values()):
            if self.service is Service.NOW:
                if not w.hurried and w.state is not State.KILLED:
                    self.feed(w, Input.NOW, now)
            elif (w.state, Input.STOP) in self._table and not (w.state is State.BOOTING and w.cause):
                self.feed(w, Input.STOP, now)  # who said that it failed is leaving by itself
        if not self.workers:
            self.service = Service.OVER
            self._out.append(do.Exit(self.code))

    def _vacant(self) -> list[int]:
        taken = {w.slot for w in self.workers.values() if w.active}
        return [index for index in range(self.target) if index not in taken]

    def _spawn(self, index: int, now: float) -> None:
        self._serial += 1
        w = WorkerHandle(
            serial=self._serial,
            slot=index,
            generation=self.epoch.generation,
            started_at=now,
            deadline=self.limits.boot_deadline(now),
            slow_at=self.limits.look_at(now),
        )
        self.workers[w.serial] = w
        self._out.append(do.Spawn(w.serial, w.slot, w.generation))

    def _tell_status(self, now: float) -> None:
        """Figures are renewed when something else wakes us, and not more often than once a second: nothing is due for
        their sake."""
        if self.service is not Service.RUNNING or self.status() == self.told:
            return
        standing = self.standing()
        if standing != self._last_standing or now >= self._status_at + STATUS_SECONDS:
            self._last_standing, self._status_at = standing, now
            self._notify(Status.STATUS)
