"""What one wake-up brings is judged together, and its cost for each worker is the same in a fleet of any size."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from uvicorn.process.drainmode import DrainMode
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.events import Signal
from uvicorn.supervisor.fleet import Fleet
from uvicorn.supervisor.plain import dump, load
from uvicorn.supervisor.policy import Policy
from uvicorn.supervisor.supervisor import Supervisor
from uvicorn.supervisor.table import State


def serving(count: int, policy: Policy | None = None) -> Supervisor:
    """A fleet in which everybody serves, at 0.5."""
    machine = Supervisor(policy or Policy(), count)
    machine.handle([ev.Started()], 0.0)
    machine.handle([ev.Spawned(serial, 1000 + serial) for serial in range(1, count + 1)], 0.0)
    machine.handle([ev.WorkerReady(serial) for serial in range(1, count + 1)], 0.5)
    machine.handle([ev.Listened()], 0.5)
    assert machine.fleet.ready_count == count
    return machine


def kinds(actions: list[do.Action]) -> list[str]:
    return [type(action).__name__ for action in actions if not isinstance(action, do.Log | do.Notify)]


def test_nobody_is_replaced_who_died_with_a_stop() -> None:
    machine = serving(2)
    actions = machine.handle([ev.SignalReceived(Signal.TERM), ev.WorkerExited(1, 0), ev.WorkerExited(2, 0)], 5.0)
    assert kinds(actions) == ["CloseListeners", "Tell", "Terminate", "Tell", "Terminate", "Exit"]
    assert not [action for action in actions if isinstance(action, do.Log) and action.level is do.Level.ERROR]


def test_two_reloads_of_one_wake_up_are_one() -> None:
    machine = serving(2)
    assert kinds(machine.handle([ev.SignalReceived(Signal.HUP)] * 2, 5.0)) == ["ReadSettings"]
    assert kinds(machine.handle([ev.SettingsRead()], 5.0)) == ["Spawn"]
    assert kinds(machine.handle([ev.SignalReceived(Signal.HUP)], 6.0)) == ["ReadSettings"]


def test_who_recovers_and_who_died_in_one_wake_up() -> None:
    machine = serving(3, Policy(hang=2.0))
    beats = ev.Heartbeats((ev.Heartbeat(2, 2.4), ev.Heartbeat(3, 2.4)))
    assert kinds(machine.handle([beats, ev.Tick()], 2.5)) == ["DumpStack"]
    late = ev.Heartbeats((ev.Heartbeat(1, 2.9),))
    assert kinds(machine.handle([late, ev.WorkerExited(2, 1), ev.Tick()], 3.0)) == ["ReportStack", "Spawn"]
    assert [w.state for w in machine.fleet.workers.values()] == [State.READY, State.READY, State.BOOTING]


def test_plain_data_survives_json_and_another_version() -> None:
    fleet = serving(3, Policy(lifetime=7.0)).fleet
    fleet.workers[2].leave(DrainMode.STOP, 9.0, 11.0)
    data = json.loads(json.dumps(dump(fleet)))
    data["of_a_newer_version"] = 1
    del data["workers"][0][1]["hurried"]
    loaded = load(Fleet, data)
    assert dump(loaded) == dump(fleet)
    assert loaded.wake_at() == fleet.wake_at()
    with pytest.raises((KeyError, TypeError, ValueError)):
        load(Fleet, {**data, "workers": [[1, {"serial": 1}]]})


def calls_in(work: Callable[[], object]) -> int:
    """How many functions written in Python were entered, resumed generators included."""
    count = 0

    def note(frame: FrameType, what: str, argument: object) -> None:
        nonlocal count
        count += what == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def roll(machine: Supervisor) -> None:
    """A reload in which everything is a wake-up of its own, as with one slow worker after another."""
    now = 10.0
    pending: list[ev.Event] = [ev.SignalReceived(Signal.HUP)]
    while pending:
        for action in machine.handle([pending.pop(0)], now):
            match action:
                case do.ReadSettings():
                    pending.append(ev.SettingsRead())
                case do.Spawn(serial):
                    pending += [ev.Spawned(serial, 1000 + serial), ev.WorkerReady(serial)]
                case do.Terminate(serial):
                    pending.append(ev.WorkerExited(serial, 0))
        machine.deadline()
    assert not machine.fleet.epoch.rolling


def stop(machine: Supervisor) -> None:
    exits: list[ev.Event] = [ev.WorkerExited(serial, 0) for serial in machine.fleet.workers]
    for event in [ev.SignalReceived(Signal.TERM), *exits]:
        machine.handle([event], 50.0)
        machine.deadline()
    assert machine.facts.state.value == "over"


def beats(machine: Supervisor) -> None:
    everybody = tuple(ev.Heartbeat(serial, 8.0, 1, 5) for serial in machine.fleet.workers)
    machine.handle([ev.Heartbeats(everybody)], 8.0)
    machine.deadline()


def recycle(machine: Supervisor) -> None:
    """All ask to be replaced at once."""
    machine.handle([ev.WorkerSpent(serial, "has had enough") for serial in machine.fleet.workers], 9.0)
    booting = [w.serial for w in machine.fleet.workers.values() if w.state is State.BOOTING]
    pending: list[ev.Event] = [ev.WorkerReady(serial) for serial in booting]
    while pending:
        for action in machine.handle([pending.pop(0)], 9.0):
            match action:
                case do.Spawn(serial):
                    pending.append(ev.WorkerReady(serial))
                case do.Terminate(serial):
                    pending.append(ev.WorkerExited(serial, 0))
        machine.deadline()
    assert not [w for w in machine.fleet.workers.values() if w.marked]


def crash(machine: Supervisor) -> None:
    """One after the other, right after their start: every slot waits in the end."""
    for serial in list(machine.fleet.workers):
        machine.handle([ev.WorkerExited(serial, 1)], 0.6)
        machine.deadline()
    assert not machine.fleet.workers


@pytest.mark.parametrize("work", [beats, roll, recycle, stop, crash])
def test_a_worker_costs_the_same_in_a_fleet_of_any_size(work: Callable[[Supervisor], None]) -> None:
    small, large = serving(16), serving(256)
    few = calls_in(lambda: work(small)) / 16
    many = calls_in(lambda: work(large)) / 256
    assert many <= 1.25 * few
