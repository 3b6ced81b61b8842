"""Random histories of the machine for development, against a model of the processes that it starts."""

from __future__ import annotations

import random

import pytest

from uvicorn.process.interrupts import AGAIN_SECONDS
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.development import Development
from uvicorn.supervisor.development_table import TABLE, Cue, Stage
from uvicorn.supervisor.events import WATCHER, Event, Signal
from uvicorn.supervisor.policy import Policy


class World:
    """The processes, the clock, and what must hold at every step."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = Development(Policy())
        self.now = 0.0
        self.alive: set[int] = set()
        self.obeys: set[int] = set()
        self.killed: set[int] = set()
        self.spawned = 0
        self.exit: int | None = None

    def feed(self, event: Event) -> None:
        pending = [event]
        while pending:
            for action in self.machine.handle([pending.pop(0)], self.now):
                pending += self.perform(action)

    def perform(self, action: do.Action) -> list[Event]:
        assert self.exit is None
        match action:
            case do.Spawn(serial):
                assert not self.alive - {WATCHER}, "the old worker has to be gone first"
                self.spawned += 1
                if self.random.random() < 0.05:
                    return [ev.SpawnFailed(serial, "no memory")]
                self.alive.add(serial)
                return [ev.Spawned(serial, serial)]
            case do.SpawnWatcher():
                assert WATCHER not in self.alive
                self.alive.add(WATCHER)
                return [ev.Spawned(WATCHER, 1)]
            case do.Terminate(serial):
                assert serial in self.alive
                if self.random.random() < 0.7:
                    self.obeys.add(serial)
            case do.Kill(serial):
                assert serial in self.alive
                self.killed.add(serial)
            case do.Exit(code):
                assert not self.alive
                self.exit = code
        return []

    def die(self, serial: int) -> None:
        status = ev.WorkerExited(serial, 137, "SIGKILL") if serial in self.killed else ev.WorkerExited(serial, 0)
        for group in (self.alive, self.obeys, self.killed):
            group.discard(serial)
        self.feed(status)

    def step(self) -> None:
        """One thing that happens by itself: what is due, or a process that was told to go."""
        doomed = sorted(self.killed | self.obeys)
        if doomed:
            self.die(doomed[0])
            return
        due = self.machine.deadline()
        if due is not None:
            self.now = max(self.now, due)
            self.feed(ev.Tick())

    def happen(self) -> None:
        self.now += self.random.choice([0.0, 0.01, 0.3, 2.0])
        due = self.machine.deadline()
        if due is not None and due <= self.now:
            self.feed(ev.Tick())
        worker = next(iter(self.alive - {WATCHER}), 1)
        events: list[Event] = [
            ev.FilesChanged("StatReload", ("a.py",), 1),
            ev.SignalReceived(Signal.HUP),
            ev.WorkerReady(worker),
            ev.WorkerFailed(worker, 3, "broken"),
            ev.WorkerDrained(worker),
            ev.Heartbeats((ev.Heartbeat(worker, self.now),)),
            ev.Heartbeats((ev.Heartbeat(worker, self.now, held=True),)),
            ev.Heartbeats((ev.Heartbeat(worker, self.now, asking=True),)),
            ev.WorkerReady(99),
        ]
        chance = self.random.random()
        if chance < 0.2 and self.alive:
            self.die(self.random.choice(sorted(self.alive)))
        elif chance < 0.4:
            self.step()
        else:
            self.feed(self.random.choice(events))


@pytest.mark.parametrize("seed", range(300))
def test_any_history_recovers_and_ends(seed: int) -> None:
    world = World(seed)
    world.feed(ev.Started())
    for _ in range(40):
        world.happen()
    before = world.spawned
    world.feed(ev.FilesChanged("StatReload", ("a.py",), 1))
    for worker in world.alive - {WATCHER}:
        world.feed(ev.Heartbeats((ev.Heartbeat(worker, world.now),)))  # a debugger lets go
    for _ in range(30):
        world.step()
    fork_failed = not world.alive - {WATCHER} and world.machine.stage is Stage.WAITING
    assert world.spawned > before or world.alive - {WATCHER} or fork_failed, "a change starts a worker, whatever was"
    stop(world)
    for _ in range(30):
        world.step()
    assert world.exit is not None
    assert world.machine.deadline() is None


def stop(world: World) -> None:
    """By any number of signals; only an INT a second after the first INT, and QUIT, are urgent."""
    interrupts: list[float] = []
    for signal in world.random.choices([Signal.TERM, Signal.INT, Signal.QUIT], [5, 5, 1], k=world.random.randint(1, 6)):
        world.now += world.random.choice([0.0, 0.01, 0.5, 0.9])
        if world.exit is not None:
            return
        kills = len(world.killed - {WATCHER})
        world.feed(ev.SignalReceived(signal))
        if signal is Signal.INT:
            interrupts.append(world.now)
        if signal is Signal.QUIT or (interrupts and interrupts[-1] - interrupts[0] >= AGAIN_SECONDS):
            assert world.killed >= world.alive - {WATCHER}
            return
        assert len(world.killed - {WATCHER}) == kills, "nobody has asked for a stop at once"


def test_the_table_leaves_no_stage_without_a_way_out() -> None:
    for stage in Stage:
        assert any(at is stage for at, _ in TABLE)
        if stage is not Stage.ENDING:
            assert TABLE[stage, Cue.STOP].after is Stage.ENDING
            assert TABLE[stage, Cue.NOW].after is Stage.ENDING
