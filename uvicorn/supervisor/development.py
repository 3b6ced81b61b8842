"""The machine for development: one worker, replaced when a file changes. Same interface as `Supervisor`.

It is a machine of its own because every judgement differs. The old worker leaves *before* the new one starts: it may
hold a port, a lock or a file that the new one needs; meanwhile clients wait at the master's listeners. No failure is
final: the developer is working on it. A serving worker is not killed for a blocked loop. One that was ordered to leave
and whose loop is blocked is killed, unless a debugger holds it. See `development_table`.

ASKING: a change (to a worker whose loop is blocked, or one of whose threads a debugger has stopped) or a Ctrl-C
(`_wanted`) came. The worker is asked whether a debugger holds it. If not, the change or stop goes on once its loop has
turned, or half a second later. If so, the change waits until the debugger lets go. A Ctrl-C is passed on to the
debugger and does not stop the server; another one, a second later or more, does. A TERM does not wait: a held worker
gets the usual time to leave, and no more.

WAITING has a deadline only after a crash: a worker that had served is replaced at once, because most requests still
work; after the third in a row that lives less than a second, it waits for a change. A change that the watcher reports
while a worker leaves needs no action: the next worker reads the files afterwards.

The watcher is a child process with the serial `WATCHER`; one that dies is started again, after a longer wait each time.

Must not: hold a descriptor, read a clock, log, or block. Fails by: nothing; an input without a cell is a debug line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from uvicorn.errors import ExitCode
from uvicorn.process.drainmode import DrainMode
from uvicorn.process.interrupts import AGAIN_SECONDS, Interrupts
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import events as ev
from uvicorn.supervisor import wording
from uvicorn.supervisor.actions import Action, Level, Status
from uvicorn.supervisor.development_table import CUES, TABLE, Cue, Effect, Stage
from uvicorn.supervisor.events import WATCHER, Event, Report, Signal
from uvicorn.supervisor.handle import WorkerHandle
from uvicorn.supervisor.policy import GIVE_UP_SECONDS, STAY_SECONDS, Policy, SlotRecord

LEAVE_SECONDS = 5.0
"""The most seconds for a worker to leave: a moment for requests in flight, the rest for the lifespan's shutdown."""
LOOK_SECONDS = 2.0
"""Seconds after the order to leave; from then on a worker's loop must have turned within `QUIET_SECONDS`."""
QUIET_SECONDS = 1.0
SILENT_SECONDS = 0.3
"""Seconds after which a loop that has not turned may be held by a debugger."""
ANSWER_SECONDS = 0.05
LOOKS = 10
"""Seconds between two checks for the answer, and the number of checks."""
HELD_SECONDS = 1.0
"""Seconds between two questions whether a debugger has let go."""
CRASHES = 3
"""After this many workers in a row that live less than a second, wait for a change."""


class Development:
    """All decisions of a master under `--reload`. Feed it `Started` first; `Exit` is its last action."""

    def __init__(self, policy: Policy) -> None:
        self.stage = Stage.WAITING
        self.worker: WorkerHandle | None = None
        self.watcher: WorkerHandle | None = None
        self.again_at: float | None = None
        self._leave_seconds = min(policy.drain, LEAVE_SECONDS)
        self._code = int(ExitCode.OK)
        self._serial = 0
        self._crashes = 0
        self._wanted: set[Cue] = set()
        """In ASKING: CHANGED, STOP (a Ctrl-C), or both."""
        self._asked_at = 0.0
        self._looks = 0
        self._passed_at: float | None = None
        """When a Ctrl-C was passed on to a debugger that may still hold the worker."""
        self._waits = False
        self._watch_again = SlotRecord()
        self._over = False
        self._interrupts = Interrupts()
        self._out: list[Action] = []
        self._effects: dict[Effect, Callable[[float], None]] = {
            Effect.WELCOME: self._welcome,
            Effect.NOTE_FAILURE: self._note_failure,
            Effect.KILL_LINGERING: self._kill_lingering,
            Effect.START: self._start,
            Effect.TELL: self._tell,
            Effect.ASK: self._ask,
            Effect.JUDGE: self._judge,
            Effect.GO_ON: self._go_on,
            Effect.LEFT: self._left,
            Effect.LOOK: self._look,
            Effect.TELL_FAILURE: self._tell_failure,
            Effect.CRASHED: self._crashed,
            Effect.END: self._end,
            Effect.END_NOW: self._end_now,
            Effect.KILL: self._kill_now,
            Effect.GONE: self._gone,
        }

    # -- the two questions -----------------------------------------------------------------------------------

    def handle(self, events: Iterable[Event], now: float) -> list[Action]:
        """The actions for `events`, in their order. `now` is in seconds, of the same monotonic clock at every call."""
        if self._over:
            return []
        for event in events:
            self._take(event, now)
        if self.stage is Stage.ENDING and self.worker is None and self.watcher is None:
            self._over = True
            self._out.append(do.Exit(self._code))
        actions, self._out = self._out, []
        return actions

    def deadline(self) -> float | None:
        """When to be woken with a Tick, or None when only an event can change anything."""
        times = [] if self._over else [self._due(), self._watcher_due()]
        return min((at for at in times if at is not None), default=None)

    def _due(self) -> float | None:
        return self.again_at if self.worker is None else self.worker.deadline

    def _watcher_due(self) -> float | None:
        return None if self.watcher is not None or self.stage is Stage.ENDING else self._watch_again.not_before

    # -- what an event means ---------------------------------------------------------------------------------

    def _take(self, event: Event, now: float) -> None:
        match event:
            case ev.Started():
                self._watch(now)
                self._feed(Cue.CHANGED, now)
            case ev.Tick():
                self._expire(now)
            case ev.SignalReceived(signal):
                self._signal(signal, now)
            case ev.SettingsRead(failure):
                if failure:
                    self._log(Level.ERROR, f"{failure}\nStarting with the settings as they were.")
            case ev.FilesChanged(by, paths, total):
                if (self.stage, Cue.CHANGED) in TABLE or self.stage is Stage.ASKING:
                    self._log(Level.WARNING, wording.changed(by, paths, total))
                self._want(Cue.CHANGED, now)
            case ev.WorkerSpent() | ev.MemoryMeasured():
                pass  # a worker is replaced by a change, and by nothing else
            case ev.Listened() | ev.ListenFailed():
                pass  # not expected: under --reload the listeners listen from the beginning
            case ev.Heartbeats(beats):
                for beat in beats:
                    if beat.serial != WATCHER:
                        self._about_worker(beat, now)
            case _ if event.serial == WATCHER:
                self._about_watcher(event, now)
            case _:
                self._about_worker(event, now)

    def _signal(self, signal: Signal, now: float) -> None:
        insists = signal is Signal.INT and self._interrupts.hear(now)
        match signal:
            case Signal.INT | Signal.QUIT if insists or signal is Signal.QUIT:
                self._log(Level.WARNING, f"Received {signal.value}: stopping now.")
                self._feed(Cue.NOW, now)
            case Signal.TERM if self.stage is not Stage.ENDING:
                self._log(Level.INFO, "Received SIGTERM: stopping.")
                self._feed(Cue.STOP, now)
            case Signal.INT if self.stage is not Stage.ENDING:
                self._interrupted(now)
            case Signal.HUP if self.stage is not Stage.ENDING:
                self._log(Level.INFO, "Received SIGHUP: reloading.")
                self._want(Cue.CHANGED, now)
            case Signal.USR1:
                self._out.append(do.ReopenLogs())
            case Signal.TTIN | Signal.TTOU | Signal.USR2:
                self._log(Level.WARNING, f"Received {signal.value}: not available under --reload.")
            case _:
                self._log(Level.DEBUG, f"Received {signal.value} while {self.stage.value}: ignored.")

    def _about_worker(self, report: Report, now: float) -> None:
        w = self.worker
        if w is None or report.serial != w.serial:
            self._log(Level.DEBUG, f"No worker has serial {report.serial}: {type(report).__name__} is ignored.")
            return
        w.note(report)
        if isinstance(report, ev.Heartbeat):
            if not w.debugged and self._passed_at is not None and report.at > self._passed_at:
                self._passed_at = None
        elif type(report) in CUES:
            self._feed(CUES[type(report)], now)

    def _feed(self, cue: Cue, now: float) -> None:
        cell = TABLE.get((self.stage, cue))
        if cell is None:
            self._log(Level.DEBUG, f"The service is {self.stage.value}: {cue.value!r} is ignored.")
            return
        self.stage = cell.after
        self._effects[cell.effect](now)

    def _expire(self, now: float) -> None:
        due = self._due()
        if due is not None and due <= now:
            self._feed(Cue.DEADLINE, now)
        watcher_due = self._watcher_due()
        if watcher_due is not None and watcher_due <= now:
            self._watch(now)

    def _log(self, level: Level, text: str) -> None:
        self._out.append(do.Log(level, text))

    # -- effects ---------------------------------------------------------------------------------------------

    @property
    def _present(self) -> WorkerHandle:
        assert self.worker is not None
        return self.worker

    def _start(self, now: float) -> None:
        self._serial += 1
        self.again_at = self._passed_at = None
        self.worker = WorkerHandle(self._serial, 0, self._serial, started_at=now)
        if self._serial > 1:
            self._out.append(do.ReadSettings())
        self._out.append(do.Spawn(self._serial, 0, self._serial))

    def _welcome(self, now: float) -> None:
        w = self._present
        w.welcome(now, w.deadline)
        self._out.append(do.Notify(Status.READY, f"1 of 1 workers ready, generation {w.generation}"))

    # -- a debugger ------------------------------------------------------------------------------------------

    def _want(self, cue: Cue, now: float) -> None:
        """A change, or a Ctrl-C: at once, unless a debugger may hold the worker."""
        w = self.worker
        if self.stage is Stage.ASKING:
            self._wanted.add(cue)
            self._present.wait_until(now)
        elif w is not None and (self.stage, Cue.SILENT) in TABLE and self._may_be_held(w, cue, now):
            self._wanted = {cue}
            self._feed(Cue.SILENT, now)
        else:
            self._feed_wanted(cue, now)

    def _may_be_held(self, w: WorkerHandle, cue: Cue, now: float) -> bool:
        """A Ctrl-C may come in the moment in which a debugger has stopped the loop. A change waits afterwards, too."""
        silent = w.debugged or now - w.turned_at >= SILENT_SECONDS or cue is Cue.STOP
        return silent and not w.cause and not w.kill_reason

    def _feed_wanted(self, cue: Cue, now: float) -> None:
        if cue is Cue.STOP:
            self._log(Level.INFO, "Received SIGINT: stopping.")
        self._feed(cue, now)

    def _interrupted(self, now: float) -> None:
        passed = self._passed_at
        if passed is None:
            self._want(Cue.STOP, now)
        elif now - passed >= AGAIN_SECONDS:
            self._log(Level.WARNING, "Received SIGINT: stopping now.")
            self._feed(Cue.NOW, now)

    def _ask(self, now: float) -> None:
        w = self._present
        self._asked_at, self._looks = now, 0
        self._waits = False
        w.wait_until(now if w.debugged else now + ANSWER_SECONDS)
        self._out.append(do.Ask(w.serial))

    def _judge(self, now: float) -> None:
        w = self._present
        if not w.debugged:
            self._looks += 1
            if w.turned_at > self._asked_at or self._looks == LOOKS:
                self._go_on(now)
            else:
                w.wait_until(now + ANSWER_SECONDS)
            return
        if Cue.STOP in self._wanted:
            self._wanted.discard(Cue.STOP)
            self._passed_at, self._interrupts = now, Interrupts()
            self._log(Level.WARNING, f"{w.name} is held by a debugger: press Ctrl-C again to stop everything.")
            if w.held:  # else it is another thread, and this one serves
                self._out.append(do.Interrupt(w.serial))
        if not self._wanted:
            self.stage = Stage.SERVING if w.ready_at else Stage.STARTING
            w.wait_until(None)
            return
        self._asked_at, self._looks = now, 0
        self._wait_for_debugger(now)

    def _wait_for_debugger(self, now: float) -> None:
        w = self._present
        if not self._waits:
            self._waits = True
            self._log(
                Level.WARNING, f"{w.name} is held by a debugger: the change waits until the debugger lets it go on."
            )
        w.wait_until(now + HELD_SECONDS)
        self._out.append(do.Ask(w.serial))

    def _go_on(self, now: float) -> None:
        w = self._present
        w.wait_until(None)
        self.stage = Stage.SERVING if w.ready_at else Stage.STARTING
        if w.cause:
            self._note_failure(now)
        self._feed_wanted(Cue.STOP if Cue.STOP in self._wanted else Cue.CHANGED, now)

    def _left(self, now: float) -> None:
        if Cue.STOP in self._wanted:
            self.worker = None
            self.stage = Stage.ENDING
            self._end(now)
        else:
            self._start(now)

    # -- leaving ---------------------------------------------------------------------------------------------

    def _note_failure(self, now: float) -> None:
        self._present.expect_exit(now + GIVE_UP_SECONDS)

    def _kill_lingering(self, now: float) -> None:
        self._kill("it did not exit after it had failed")

    def _kill(self, reason: str) -> None:
        w = self._present
        w.kill(reason)
        self._out.append(do.Kill(w.serial, reason))

    def _tell(self, now: float) -> None:
        w = self._present
        if w.kill_reason or w.drain_deadline:
            return
        self._waits = False
        drain_deadline = now + self._leave_seconds
        w.leave(DrainMode.CUT, drain_deadline, min(now + LOOK_SECONDS, drain_deadline + GIVE_UP_SECONDS))
        self._out.append(do.Tell(w.serial, w.drain_mode, w.drain_deadline))
        self._out.append(do.Terminate(w.serial))
        self._out.append(do.Ask(w.serial))

    def _look(self, now: float) -> None:
        w = self._present
        end = w.drain_deadline + GIVE_UP_SECONDS
        if w.debugged and self.stage is Stage.REPLACING:
            self._wait_for_debugger(now)
            w.leave(DrainMode.CUT, now + HELD_SECONDS + self._leave_seconds, now + HELD_SECONDS)
            return
        if now < end and (w.debugged or now - w.turned_at < QUIET_SECONDS):
            w.wait_until(end)
            return
        reason = "it did not exit in time" if now >= end else "it was told to leave, and its event loop does not run"
        self._log(Level.WARNING, f"Killing {w.name[0].lower()}{w.name[1:]}: {reason}.")
        if self.stage is Stage.ENDING:
            self._code = int(ExitCode.FORCED)
        self._kill(reason)

    def _wait(self, reason: str) -> None:
        self._log(Level.ERROR, f"{reason}\nNothing is served until a file changes.")
        self._out.append(do.Notify(Status.STATUS, "waiting for a change"))

    def _tell_failure(self, now: float) -> None:
        w, self.worker = self._present, None
        self._wait(wording.boot_failure(w))

    def _crashed(self, now: float) -> None:
        w, self.worker = self._present, None
        self._crashes = self._crashes + 1 if now - w.ready_at < STAY_SECONDS else 1
        if self._crashes >= CRASHES:
            self._crashes = 0
            self._wait(wording.early_death(w, now))
            return
        self.again_at = now
        self._log(Level.ERROR, wording.crash(w))

    def _end(self, now: float) -> None:
        self._out.append(do.Notify(Status.STOPPING, "stopping"))
        self._out.append(do.CloseListeners())
        if self.watcher is not None:
            self._out.append(do.Kill(WATCHER, "the service ends"))
        if self.worker is not None:
            self._tell(now)

    def _end_now(self, now: float) -> None:
        self._end(now)
        self._kill_now(now)

    def _kill_now(self, now: float) -> None:
        if self.worker is not None and not self.worker.kill_reason:
            self._kill("it was asked to stop now")

    def _gone(self, now: float) -> None:
        self.worker = None

    # -- the watcher -----------------------------------------------------------------------------------------

    def _watch(self, now: float) -> None:
        self.watcher = WorkerHandle(WATCHER, -1, 0, started_at=now)
        self._out.append(do.SpawnWatcher())

    def _about_watcher(self, report: Report, now: float) -> None:
        w = self.watcher
        if w is None:
            return
        match report:
            case ev.SpawnFailed(_, reason):
                self._watcher_gone(w, f"cannot be started: {reason}", now)
            case ev.WorkerExited():
                w.note(report)
                self._watcher_gone(w, wording.death(w), now)
            case _:
                w.note(report)

    def _watcher_gone(self, w: WorkerHandle, how: str, now: float) -> None:
        self.watcher = None
        if self.stage is Stage.ENDING:
            return
        if now - w.started_at >= STAY_SECONDS:
            self._watch_again.lost(now, 0.0)
        wait = self._watch_again.failed(now)
        text = f"The process that watches files {how}; starting it again in {wait:.1f} s."
        self._log(Level.ERROR, f"{text}\n{w.cause}" if w.cause else text)
