"""Random histories: the machine against a simulated fleet with spawn latency, and what must hold in every
one.

`UVICORN_TEST_HISTORIES` sets how many are played (1000; ten times as many with
the system tests). A failure names its seed; `play(seed)` repeats it
exactly.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from uvicorn.process.drainmode import DrainMode
from uvicorn.process.interrupts import AGAIN_SECONDS
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.policy import Policy, recycled_at_once
from uvicorn.supervisor.service import ServiceState
from uvicorn.supervisor.supervisor import Supervisor
from uvicorn.supervisor.table import State

HISTORIES = int(os.environ.get("UVICORN_TEST_HISTORIES", "1000"))
BLOCKS = 20
LENGTH = 40.0
BUSY_SECONDS = 0.5
SIGNALS = [ev.Signal.HUP] * 4 + [ev.Signal.TTIN, ev.Signal.TTOU, ev.Signal.USR1, ev.Signal.USR2, ev.Signal.WINCH]
STOPS = [ev.Signal.TERM] * 4 + [ev.Signal.INT] * 3 + [ev.Signal.QUIT]


@dataclass
class Temper:
    """How badly the workers of one history behave; probabilities."""

    bad_boot: float
    bad_life: float
    stubborn: float
    spends: float
    late_master: float

    @classmethod
    def draw(cls, rng: random.Random) -> Temper:
        return cls(*(rng.choice([0.0, 0.0, 0.1, 0.5, 1.0]) * rng.random() for _ in range(5)))


@dataclass
class Fake:
    """One simulated process."""

    serial: int
    born: float
    ready: bool = False
    stuck_since: float | None = None
    told: bool = False
    dying: bool = False

    def beat(self, now: float) -> float:
        return self.stuck_since if self.stuck_since is not None else now - 0.2


@dataclass
class World:
    """Clock, processes and what is to happen; performs actions and feeds what comes of them."""

    rng: random.Random
    temper: Temper
    machine: Supervisor
    now: float = 0.0
    alive: dict[int, Fake] = field(default_factory=dict)
    reaped: set[int] = field(default_factory=set)
    exited: set[int] = field(default_factory=set)
    """Those whose exit is to be handled; an order that came in the same wake-up may still be for them."""
    queue: list[tuple[float, int, Callable[[], ev.Event | None]]] = field(default_factory=list)
    order: int = 0
    last_serial: int = 0
    exits: list[int] = field(default_factory=list)
    kills: list[str] = field(default_factory=list)
    stops: list[tuple[ev.Signal, float]] = field(default_factory=list)
    listeners_open: bool = True
    listens: bool = False
    recycling: int = 99
    bad_settings: float = 0.0
    new_numbers: float = 0.0
    still: int = 0
    together: float = 0.0
    """How often what happens within `BUSY_SECONDS` comes as one wake-up."""
    moves: float = 0.0
    """How often the machine is dumped, and loaded into one that goes on beside it."""
    moved: Supervisor | None = None
    number: tuple[int | None, int] = (None, 0)
    """How many workers there are to be: after the reload if the log has told, and if it fails or there is none."""

    def __post_init__(self) -> None:
        self.number = (None, self.machine.fleet.target)

    def later(self, delay: float, what: Callable[[], ev.Event | None]) -> None:
        self.order += 1
        heapq.heappush(self.queue, (self.now + delay, self.order, what))

    # -- one step --------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Go to the next moment at which anything happens."""
        due = self.machine.deadline()
        at = self.queue[0][0] if self.queue else None
        before = self.now
        if due is None or (at is not None and at <= due):
            assert at is not None, "nothing will ever happen again"
            end = min(at + BUSY_SECONDS, math.inf if due is None else due)
            events = [self.happens()]
            if self.rng.random() < self.together:
                while self.queue and self.queue[0][0] <= end:
                    events.append(self.happens())
            happened = sorted((event for event in events if event is not None), key=rank)
            self.feed(*(event for event in happened if not isinstance(event, ev.SettingsRead)))
            for event in happened:
                if isinstance(event, ev.SettingsRead):  # an answer, not part of a wake-up
                    self.feed(event)
        else:
            late = self.rng.random() * 50 if self.rng.random() < self.temper.late_master * 0.05 else 0.0
            self.now = max(self.now, due) + late
            beats = tuple(ev.Heartbeat(fake.serial, fake.beat(self.now), 1) for fake in self.alive.values())
            self.feed(ev.Heartbeats(beats))
            self.feed(ev.Tick())
            due = self.machine.deadline()
            assert due is None or due > self.now, "a Tick left a deadline in the past"
        self.still = self.still + 1 if self.now == before else 0
        assert self.still < 200, "the machine spins"

    def happens(self) -> ev.Event | None:
        at, _, what = heapq.heappop(self.queue)
        self.now = max(self.now, at)
        return what()

    def feed(self, *events: ev.Event) -> None:
        if not events:
            return
        due = self.machine.watchdog.due
        for event in events:
            if isinstance(event, ev.SignalReceived) and event.signal in STOPS and not self.exits:
                self.stops.append((event.signal, self.now))
            if isinstance(event, ev.SettingsRead) and not event.failure:
                self.number = (None, self.number[1])
        if len(events) == 1:
            self.reaped |= self.exited
        actions = self.machine.handle(events, self.now)
        self.check_moved(events, actions)
        self.check_urgency()
        if isinstance(events[-1], ev.Tick) and due is not None and due <= self.now:
            self.check_watchdog(do.Status.WATCHDOG in [a.status for a in actions if isinstance(a, do.Notify)])
        for action in actions:
            self.perform(action)
        self.reaped |= self.exited
        self.exited.clear()
        self.check()

    def check_moved(self, events: Sequence[ev.Event], actions: list[do.Action]) -> None:
        """A machine that was loaded does what the first one does."""
        if self.moved is not None:
            assert self.moved.handle(events, self.now) == actions
            assert self.moved.deadline() == self.machine.deadline()
            assert self.moved.dump() == self.machine.dump()
        if self.rng.random() < self.moves:
            self.moved = Supervisor.load(json.loads(json.dumps(self.machine.dump())))
            assert self.moved.deadline() == self.machine.deadline()

    def check_urgency(self) -> None:
        """What is wanted follows from the signals so far, and from nothing else: no TERM is urgent."""
        service, interrupts = self.machine.facts.state, [at for signal, at in self.stops if signal is ev.Signal.INT]
        now = any(signal is ev.Signal.QUIT for signal, _ in self.stops) or (
            bool(interrupts) and interrupts[-1] - interrupts[0] >= AGAIN_SECONDS
        )
        if service is ServiceState.NOW:
            assert now, "nobody has asked for a stop at once"
        if service is ServiceState.STOPPING:
            assert not now, "a stop at once was asked for"
            assert (self.machine.facts.stop_mode is DrainMode.INTERRUPT) == bool(interrupts)
        if service is ServiceState.RUNNING and self.stops:
            assert not interrupts, "an INT waits for nobody"
            assert self.now <= self.stops[0][1] + self.machine.fleet.policy.delay or self.temper.late_master

    def check_watchdog(self, answered: bool) -> None:
        """The answer is withheld for stuck loops only, and always when most loops are stuck."""
        stuck = [fake for fake in self.alive.values() if fake.stuck_since is not None]
        assert answered or stuck, "the watchdog is not answered although every loop turns"
        if self.temper.late_master == 0.0:
            limit = max(1.0, self.machine.fleet.policy.watchdog / 2)
            dead = {fake.serial for fake in stuck if self.now - (fake.stuck_since or 0.0) >= limit}
            loops = {w.serial for w in self.machine.fleet.workers.values() if w.state in (State.READY, State.HUNG)}
            starting = sum(w.state is State.BOOTING for w in self.machine.fleet.workers.values())
            assert not answered or 2 * len(loops & dead) <= len(loops) + starting, "most loops are dead"

    def check(self) -> None:
        """What holds after every event."""
        machine = self.machine
        if machine.facts.state is not ServiceState.RUNNING:
            return
        if not machine.fleet.epoch.rolling:
            assert machine.fleet.target == self.number[1], "another number than the log says"
            self.number = (None, machine.fleet.target)
        active = machine.fleet.active()
        booting = [w.slot for w in active if w.state is State.BOOTING]
        assert len(booting) == len(set(booting)), "two starts in one slot"
        filled = {w.slot for w in active}
        for index in set(range(machine.fleet.target)) - filled:
            wait = machine.fleet.slot(index).not_before - self.now
            assert 0 < wait <= 30.5 or machine.facts.pending is not None, "a slot is left empty"
        if not machine.fleet.epoch.rolling:
            marked = {w.slot for w in active if w.marked and w.state is State.READY}
            assert sum(slot in marked for slot in booting) <= self.recycling, "too many are recycled at a time"

    # -- actions ---------------------------------------------------------------------------------------------

    def perform(self, action: do.Action) -> None:
        assert not self.exits, "something is wanted after the exit"
        match action:
            case do.Spawn(serial):
                self.spawn(serial)
            case do.Tell(serial) | do.DumpStack(serial) | do.ReportStack(serial):
                assert serial not in self.reaped
            case do.Terminate(serial):
                self.terminate(self.signalled(serial))
            case do.Quit(serial):
                fake = self.signalled(serial)
                if fake is not None and fake.stuck_since is None and self.rng.random() > self.temper.stubborn:
                    self.die(fake, self.rng.random() * 0.3, 0, "")
            case do.Kill(serial, reason):
                self.kills.append(reason)
                fake = self.signalled(serial)
                if fake is not None:
                    self.die(fake, 0.01, 137, "SIGKILL", final=True)
            case do.MeasureMemory():
                for fake in self.alive.values():
                    size = int(self.rng.choice([10, 1000]) * self.rng.random())
                    self.later(0.0, lambda s=fake.serial, size=size: ev.MemoryMeasured(s, size))  # type: ignore[misc]
            case do.ReadSettings():
                failure = "nonsense" if self.rng.random() < self.bad_settings else ""
                target = self.rng.randint(1, 6) if self.rng.random() < self.new_numbers else None
                self.later(0.0, lambda: ev.SettingsRead(failure, target=target))
            case do.Log(_, text):
                self.read_number(text)
            case do.Listen():
                assert self.listeners_open and not self.listens
                self.listens = True
                self.later(0.0, ev.Listened)
            case do.Notify(do.Status.READY):
                assert self.listens, "it is ready, and nobody can connect"
            case do.CloseListeners():
                self.listeners_open = False
            case do.Exit(code):
                self.exits.append(code)
                assert not self.alive, "the master leaves workers behind"

    def read_number(self, text: str) -> None:
        """What the log says of the number of workers holds, however a reload ends."""
        if found := re.search(r"Received SIGTT\w+: (\d+) workers? wanted(?:, (\d+) if the reload fails)?\.", text):
            self.number = (int(found[1]), int(found[2] or found[1]))
        elif found := re.match(r"reloaded: (\d+) workers?,", text):
            assert self.number[0] in (None, int(found[1])), "the log has said another number"
            self.number = (None, int(found[1]))

    def signalled(self, serial: int) -> Fake | None:
        assert serial not in self.reaped, "a reaped worker is signalled"
        return self.alive.get(serial)

    def spawn(self, serial: int) -> None:
        assert serial > self.last_serial, "serials grow"
        assert self.listeners_open, "a worker is started on closed listeners"
        self.last_serial = serial
        roll = self.rng.random()
        if roll < self.temper.bad_boot * 0.05:
            self.later(0.0, lambda: self.no_fork(serial))
            return
        fake = self.alive[serial] = Fake(serial, self.now)
        self.later(0.0, lambda: ev.Spawned(serial, 1000 + serial))
        boot = self.rng.choice([0.05, 0.3, 3.0]) * self.rng.random()
        if roll > self.temper.bad_boot:
            self.later(boot, lambda: self.becomes_ready(fake))
        elif roll < self.temper.bad_boot * 0.4:
            self.later(boot, lambda: self.said(fake, ev.WorkerFailed(serial, 3, "no app")))
            self.die(fake, boot + 0.05, 3, "")
        elif roll < self.temper.bad_boot * 0.9:
            self.die(fake, boot, *self.rng.choice([(0, ""), (1, ""), (139, "SIGSEGV"), (143, "SIGTERM")]))
        else:
            fake.stuck_since = self.now  # never ready, deaf to what is not SIGKILL

    def no_fork(self, serial: int) -> ev.Event:
        self.exited.add(serial)
        return ev.SpawnFailed(serial, "no processes")

    def said(self, fake: Fake, event: ev.Event) -> ev.Event | None:
        return event if fake.serial in self.alive else None

    def doom(self) -> None:
        """What every worker needs is gone: those that serve die, and no start works any more."""
        self.temper.bad_boot = 1.0
        for fake in self.alive.values():
            self.die(fake, self.rng.random(), 1, "")

    def becomes_ready(self, fake: Fake) -> ev.Event | None:
        if fake.serial not in self.alive or fake.dying:
            return None
        fake.ready = True
        if self.rng.random() < self.temper.spends:
            broken = self.rng.random() < 0.5
            spent = ev.WorkerSpent(fake.serial, "has had enough", broken)
            self.later(self.rng.random() * 10, lambda: self.said(fake, spent))
        if self.rng.random() < self.temper.bad_life:
            delay = self.rng.choice([0.5, 5.0, 40.0]) * self.rng.random()
            kind = self.rng.random()
            if kind < 0.3:
                self.later(delay, lambda: self.sticks(fake))
            elif kind < 0.4:
                self.later(delay, lambda: self.said(fake, ev.WorkerDrained(fake.serial)))
                self.die(fake, delay + 1, 0, "")
            else:
                self.die(fake, delay, *self.rng.choice([(0, ""), (1, ""), (137, "SIGKILL"), (139, "SIGSEGV")]))
        return ev.WorkerReady(fake.serial)

    def sticks(self, fake: Fake) -> None:
        fake.stuck_since = self.now
        if self.rng.random() < 0.5:
            self.later(self.rng.random() * 6, lambda: self.recovers(fake))

    def recovers(self, fake: Fake) -> None:
        fake.stuck_since = None
        if fake.told:
            self.terminate(fake)

    def terminate(self, fake: Fake | None) -> None:
        if fake is None:
            return
        fake.told = True
        if fake.stuck_since is None and self.rng.random() >= self.temper.stubborn:
            code, name = (0, "") if fake.ready else (143, "SIGTERM")
            self.die(fake, self.rng.random() * (6 if fake.ready else 0.1), code, name)

    def die(self, fake: Fake, delay: float, code: int, name: str, final: bool = False) -> None:
        self.later(delay, lambda: self.exits_now(fake, code, name, final))

    def exits_now(self, fake: Fake, code: int, name: str, final: bool) -> ev.Event | None:
        if fake.serial not in self.alive or (fake.stuck_since is not None and not final and not name):
            return None
        del self.alive[fake.serial]
        self.exited.add(fake.serial)
        return ev.WorkerExited(fake.serial, code, name)


def rank(event: ev.Event) -> int:
    """Where the kernel puts it in what one wake-up brings."""
    return 0 if isinstance(event, ev.SignalReceived) else 2 if isinstance(event, ev.WorkerExited) else 1


def play(seed: int, together: float = 0.0, moves: float = 0.0) -> World:
    rng = random.Random(seed)
    policy = Policy(
        drain=rng.choice([0.0, 2.0, 10.0]),
        hang=rng.choice([0.0, 2.0, 10.0]),
        boot=rng.choice([0.0, 0.0, 2.0]),
        delay=rng.choice([0.0, 0.0, 3.0]),
        lifetime=rng.choice([0.0, 0.0, 5.0]),
        memory=rng.choice([0, 0, 500]),
        watchdog=rng.choice([0.0, 1.0, 6.0]),
    )
    world = World(rng, Temper.draw(rng), Supervisor(policy, rng.choice([1, 1, 2, 4, 8, 20])))
    world.together, world.moves = together, moves
    world.bad_settings = rng.choice([0.0, 0.0, 0.5])
    world.new_numbers = rng.choice([0.0, 0.5])
    world.feed(ev.Started())
    length = rng.random() * LENGTH
    for _ in range(rng.choice([0, 1, 3, 25])):
        signal = rng.choice(SIGNALS)
        at = rng.choice([rng.random() * length, length / 2])
        world.later(at, lambda signal=signal: ev.SignalReceived(signal))  # type: ignore[misc]
    if rng.random() < 0.1:
        length += 100
        world.later(rng.random() * 10, world.doom)
    stops = [length + rng.random() * 3 for _ in range(rng.choice([1, 1, 2, 3, 6]))]
    for at in stops:
        stop = rng.choice(STOPS)
        world.later(at, lambda stop=stop: ev.SignalReceived(stop))  # type: ignore[misc]
    # Seen from the first stop: the drain, the grace, and a kill of what hung; a late master's sleep comes on top.
    bound = min(stops) + policy.delay + policy.drain + 2.0 + 2.0
    while not world.exits:
        world.step()
        if world.temper.late_master == 0.0:
            assert world.now <= bound, "a stop takes too long"
        else:
            assert world.now <= bound + 500
    return world


def judge(world: World) -> None:
    """What holds of a whole history."""
    assert len(world.exits) == 1
    assert world.machine.handle([ev.Tick()], world.now + 1) == []
    assert world.machine.deadline() is None
    assert not world.listeners_open
    code = world.exits[0]
    assert code in (0, 3, 4, 5)
    if code == 3:
        assert not world.machine.fleet.served, "only a first boot is final"
    if code == 5:
        assert "its drain deadline passed" in world.kills
    if code == 4:
        assert world.machine.fleet.served


@pytest.mark.parametrize("block", range(BLOCKS))
def test_histories(block: int) -> None:
    for seed in range(block, HISTORIES, BLOCKS):
        try:
            judge(play(seed))
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {exc!r}") from exc


@pytest.mark.parametrize("block", range(BLOCKS))
def test_histories_in_which_much_comes_together(block: int) -> None:
    for seed in range(block, HISTORIES // 2, BLOCKS):
        try:
            judge(play(seed, together=0.7))
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {exc!r}") from exc


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_machine_that_was_dumped_and_loaded_goes_on_as_before(block: int) -> None:
    for seed in range(block, HISTORIES // 4, BLOCKS):
        try:
            world = play(seed, together=0.3, moves=0.05)
            judge(world)
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {exc!r}") from exc


@pytest.mark.system
@pytest.mark.parametrize("block", range(BLOCKS))
def test_many_histories(block: int) -> None:
    for seed in range(HISTORIES + block, 10_000, BLOCKS):
        try:
            judge(play(seed))
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {exc!r}") from exc


def test_they_end_in_every_way() -> None:
    """The histories are only worth something if they reach every end."""
    codes = {play(seed).exits[0] for seed in range(min(HISTORIES, 250))}
    assert codes >= {0, 3, 4, 5}


@pytest.mark.parametrize("seed", range(100))
def test_a_healthy_roll_never_dips(seed: int) -> None:
    """Any number of reloads at any time: once the fleet is up, READY never falls below the target."""
    rng = random.Random(seed)
    world = World(rng, Temper(0, 0, 0, 0, 0), Supervisor(Policy(drain=10, hang=5), rng.randint(1, 6)))
    world.feed(ev.Started())
    for _ in range(rng.choice([1, 2, 25])):
        world.later(rng.random() * rng.choice([0.25, 20.0]), lambda: ev.SignalReceived(ev.Signal.HUP))
    world.later(60.0, lambda: ev.SignalReceived(ev.Signal.TERM))
    machine = world.machine
    full, generations = False, set()
    while True:
        world.step()
        if machine.facts.state is not ServiceState.RUNNING:
            break
        ready = sum(w.state is State.READY for w in machine.fleet.workers.values())
        full = full or ready >= machine.fleet.target
        assert not full or ready >= machine.fleet.target, "READY dips"
        assert len(machine.fleet.active()) <= machine.fleet.target + 1, "more than one surge"
        generations = {w.generation for w in machine.fleet.active()}
    assert full
    assert not machine.fleet.epoch.rolling
    assert generations == {machine.fleet.epoch.last}


@pytest.mark.parametrize("seed", range(50))
def test_healthy_recycling_never_dips(seed: int) -> None:
    """Workers that ask to be replaced again and again, by three kinds of limits: READY never falls below the target,
    no more than a tenth of the fleet (and one at least) is on its way at a time, and everybody is replaced."""
    rng = random.Random(seed)
    target = rng.choice([1, 2, 4, 20])
    policy = Policy(drain=10, hang=5, lifetime=rng.choice([0.0, 8.0]), memory=rng.choice([0, 900]))
    world = World(rng, Temper(0, 0, 0, 1, 0), Supervisor(policy, target), recycling=recycled_at_once(target))
    world.feed(ev.Started())
    world.later(60.0, lambda: ev.SignalReceived(ev.Signal.TERM))
    machine = world.machine
    full = False
    while True:
        world.step()
        if machine.facts.state is not ServiceState.RUNNING:
            break
        ready = sum(w.state is State.READY for w in machine.fleet.workers.values())
        full = full or ready >= target
        assert not full or ready >= target, "READY dips"
        assert len(machine.fleet.active()) <= target + recycled_at_once(target), "more than the surge"
    assert world.last_serial >= 2 * target
