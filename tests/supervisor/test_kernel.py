"""The kernel's promises: the order of events, who is asked and reaped, and what a spawner is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator

import pytest

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

from programs import PATIENCE
from uvicorn.process import channel, reaping
from uvicorn.process.page import Phase
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.child import ChildSetup
from uvicorn.supervisor.events import Event
from uvicorn.supervisor.kernel import READ_SECONDS, Kernel
from uvicorn.supervisor.sources import Rank
from uvicorn.supervisor.spawner import ForkSpawner, Spawner


class PuppetSpawner:
    """Makes processes that do nothing; the test speaks for them, by copies of their ends of the channel."""

    def __init__(self) -> None:
        self.links: dict[int, channel.WorkerLink] = {}
        self.private: list[set[int]] = []

    def spawn(self, setup: ChildSetup, private: Collection[int], run: Callable[[], int]) -> int:
        link = setup.link
        copies = {link.endpoint.fileno() for link in self.links.values()}
        pid = ForkSpawner().spawn(setup, {*private, *copies}, wait_for_the_end)
        copy = channel.Endpoint(link.endpoint.sock.dup())
        self.links[pid] = channel.WorkerLink(copy, link.heartbeat, link.slot, link.generation)
        self.private.append(set(private))
        return pid

    def close(self) -> None:
        for link in self.links.values():
            link.endpoint.close()


def wait_for_the_end() -> int:
    while True:
        signal.pause()


class Fleet:
    """A kernel with puppets, by serial."""

    def __init__(self) -> None:
        self.spawner = PuppetSpawner()
        self.kernel = Kernel(spawner=self.spawner)
        self.pids: dict[int, int] = {}

    def spawn(self, *serials: int) -> None:
        for serial in serials:
            event = self.kernel.spawn(serial, serial - 1, 1, f"puppet {serial}", wait_for_the_end)
            assert isinstance(event, ev.Spawned)
            self.pids[serial] = event.pid

    def link(self, serial: int) -> channel.WorkerLink:
        return self.spawner.links[self.pids[serial]]

    def kill(self, serial: int) -> None:
        """It is a zombie afterwards, and its SIGCHLD has come."""
        os.kill(self.pids[serial], signal.SIGKILL)
        os.waitid(os.P_PID, self.pids[serial], os.WEXITED | os.WNOWAIT)
        signal.raise_signal(signal.SIGCHLD)  # the system's own may come a moment later

    def wait_for(self, kind: type[Event], count: int = 1) -> list[Event]:
        """All events until so many of that kind have come."""
        events: list[Event] = []
        deadline = self.kernel.now() + PATIENCE
        while sum(isinstance(event, kind) for event in events) < count:
            assert self.kernel.now() < deadline, f"it never came, but {events}"
            events += [event for event in self.kernel.wait(deadline) if not isinstance(event, ev.Tick)]
        return events

    def close(self) -> None:
        for pid in self.pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass  # the kernel has reaped it
        self.kernel.close()
        self.spawner.close()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet()
    yield made
    made.close()


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


waitid = pytest.mark.skipif(not hasattr(os, "waitid"), reason="the test cannot tell when a child has ended")


@pytest.mark.parametrize("what", ["signal", "change", "deadline"])
def test_heartbeats_are_not_read_again_at_once_unless_something_is_judged_by_them(fleet: Fleet, what: str) -> None:
    fleet.spawn(1)
    link = fleet.link(1)
    began = fleet.kernel.now()
    fleet.kernel.wait(began)
    link.beat(1.0, 0, Phase.SERVING, 0)
    link.say(channel.Ready())
    events = fleet.wait_for(ev.WorkerReady)
    if fleet.kernel.now() - began < READ_SECONDS / 2:  # else the machine was too busy to tell
        assert names(events) == ["WorkerReady"]
        link.beat(2.0, 0, Phase.SERVING, 0)
    else:
        link.beat(3.0, 0, Phase.SERVING, 0)
    if what == "signal":
        signal.raise_signal(signal.SIGHUP)
    elif what == "change":
        link.say(channel.Changed("StatReload", ["a.py"], 1))
    last = fleet.kernel.wait(fleet.kernel.now() + (0.0 if what == "deadline" else PATIENCE))
    assert names(last) == [
        "Heartbeats",
        {"signal": "SignalReceived", "change": "FilesChanged", "deadline": "Tick"}[what],
    ]


@waitid
def test_the_order_of_what_happened_between_two_waits(fleet: Fleet) -> None:
    """Heartbeats, signals, what each worker has said, its exit behind its last words, and the Tick."""
    fleet.spawn(1, 2, 3)
    for serial in (3, 2, 1):
        fleet.link(serial).say(channel.Ready())
        fleet.link(serial).beat(float(serial), serial, Phase.SERVING, 10 * serial)
    fleet.link(2).say(channel.Failed(3, "broken"))
    fleet.kill(2)
    signal.raise_signal(signal.SIGTERM)
    assert fleet.kernel.wait(fleet.kernel.now()) == [
        ev.Heartbeats(tuple(ev.Heartbeat(serial, float(serial), serial, 10 * serial) for serial in (1, 2, 3))),
        ev.SignalReceived(ev.Signal.TERM),
        ev.WorkerReady(1),
        ev.WorkerReady(2),
        ev.WorkerFailed(2, 3, "broken"),
        ev.WorkerReady(3),
        ev.WorkerExited(2, 137, "SIGKILL", 20),
        ev.Tick(),
    ]


def test_a_signal_is_told_with_the_newest_heartbeats_however_soon_it_comes(fleet: Fleet) -> None:
    """A Ctrl-C means one thing while a debugger holds the worker, and another once its loop turns again."""
    fleet.spawn(1)
    for at in (1.0, 2.0, 3.0):
        fleet.link(1).beat(at, 0, Phase.SERVING, 0)
        signal.raise_signal(signal.SIGINT)
        beats = ev.Heartbeats((ev.Heartbeat(1, at),))
        assert fleet.kernel.wait(None) == [beats, ev.SignalReceived(ev.Signal.INT)]


@waitid
def test_the_last_words_come_before_an_exit_that_is_noticed_first(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker says after the poll and before it is reaped."""
    fleet.spawn(1)
    link = fleet.link(1)
    reap = reaping.reap

    def late(pids: Collection[int]) -> dict[int, int]:
        link.say(channel.Failed(3, "the last words"))
        return reap(pids)

    monkeypatch.setattr(reaping, "reap", late)
    fleet.kill(1)
    assert names(fleet.kernel.wait(None)) == ["WorkerFailed", "WorkerExited"]


def test_who_is_not_ready_is_not_read_and_nobody_is_reaped_without_a_reason(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.spawn(*range(1, 9))
    fleet.kernel.wait(fleet.kernel.now())  # SIGCHLD of nobody; from here on it is quiet
    asked: list[int] = []
    receive = channel.Endpoint.receive

    def noting(end: channel.Endpoint) -> list[channel.Message]:
        asked.append(end.fileno())
        return receive(end)

    def fail(pids: object) -> dict[int, int]:
        raise AssertionError("nobody has ended")

    monkeypatch.setattr(channel.Endpoint, "receive", noting)
    monkeypatch.setattr(reaping, "reap", fail)
    monkeypatch.setattr(reaping, "reap_one", fail)
    fleet.link(5).say(channel.Ready())
    assert fleet.wait_for(ev.WorkerReady) == [ev.WorkerReady(5)]
    assert len(set(asked)) == 1


def test_many_that_end_at_once_are_all_noticed(fleet: Fleet) -> None:
    fleet.spawn(*range(1, 13))
    for pid in fleet.pids.values():
        os.kill(pid, signal.SIGKILL)
    events = fleet.wait_for(ev.WorkerExited, 12)
    assert sorted(event.serial for event in events if isinstance(event, ev.WorkerExited)) == [*range(1, 13)]
    for pid in fleet.pids.values():
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_a_child_of_another_part_of_the_program_is_left_to_it(fleet: Fleet) -> None:
    fleet.spawn(1, 2)
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]) as other:
        os.kill(fleet.pids[2], signal.SIGKILL)
        assert fleet.wait_for(ev.WorkerExited)[-1] == ev.WorkerExited(2, 137, "SIGKILL")
    assert other.returncode == 7


def test_who_was_reaped_by_another_part_of_the_program_has_left(fleet: Fleet) -> None:
    """How it ended is lost; the end of its channel says that it did."""
    fleet.spawn(1, 2)
    os.kill(fleet.pids[1], signal.SIGKILL)
    os.waitpid(fleet.pids[1], 0)
    fleet.link(1).endpoint.close()
    assert fleet.wait_for(ev.WorkerExited)[-1] == ev.WorkerExited(1, 0)


def test_a_row_of_the_page_is_used_again_once_its_process_is_reaped(fleet: Fleet) -> None:
    fleet.spawn(1, 2)
    first = fleet.link(1).heartbeat
    fleet.link(1).beat(5.0, 1, Phase.SERVING, 5)
    fleet.spawn(3)
    assert [fleet.link(serial).heartbeat.index for serial in (1, 2, 3)] == [0, 1, 2]
    os.kill(fleet.pids[1], signal.SIGKILL)
    assert fleet.wait_for(ev.WorkerExited)[-1] == ev.WorkerExited(1, 137, "SIGKILL", 5)
    fleet.spawn(4)
    assert fleet.link(4).heartbeat.index == first.index == 0
    assert fleet.link(4).heartbeat.read().at == 0.0


def test_a_source_that_is_added_is_heard_and_closed_in_every_child(fleet: Fleet) -> None:
    """As a control socket would be."""
    reader, writer = os.pipe()

    def read() -> list[Event]:
        os.read(reader, 10)
        return [ev.SignalReceived(ev.Signal.HUP)]

    fleet.kernel.sources.add(reader, Rank.CALLER, read)
    os.write(writer, b"x")
    assert fleet.wait_for(ev.SignalReceived) == [ev.SignalReceived(ev.Signal.HUP)]
    fleet.spawn(1, 2)
    assert all(reader in private for private in fleet.spawner.private)
    fleet.kernel.sources.remove(reader)
    fleet.spawn(3)
    assert reader not in fleet.spawner.private[-1]
    os.close(reader)
    os.close(writer)


def test_a_child_has_none_of_its_siblings_ends_and_keeps_its_own(fleet: Fleet) -> None:
    fleet.spawn(1, 2, 3)
    processes = fleet.kernel._processes
    ends = [process.endpoint.fileno() for process in processes.values() if process.endpoint is not None]
    dumps = [process.dump_fd for process in processes.values() if process.dump_fd >= 0]
    for number, private in enumerate(fleet.spawner.private):
        assert set(ends[: number + 1]) <= private, "its own other end, too"
        assert set(dumps[:number]) <= private and dumps[number] not in private


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="a process cannot list its descriptors here")
def test_no_child_has_a_descriptor_of_the_masters(fleet: Fleet) -> None:
    """By what is behind the numbers, which the child may have used again."""
    fleet.spawn(1, 2)
    processes = list(fleet.kernel._processes.values())
    ours = {identity(fd) for fd in fleet.kernel.sources.private}
    assert len(ours) >= 2 + 2 * len(processes), "the wake-up socket, and two for each worker"
    reader, writer = os.pipe()

    def say_what_is_open() -> int:
        found = {identity(int(name)) for name in os.listdir("/dev/fd")}
        os.write(writer, repr(sorted(ours & found)).encode())
        return wait_for_the_end()

    kernel = fleet.kernel
    kernel._spawner = ForkSpawner()
    event = kernel.spawn(3, 2, 1, "puppet 3", say_what_is_open)
    assert isinstance(event, ev.Spawned)
    fleet.pids[3] = event.pid
    assert os.read(reader, 1000) == b"[]"
    os.close(reader)
    os.close(writer)


def identity(fd: int) -> tuple[int, int]:
    """Of the open file behind a descriptor; of none, for the one by which a folder was listed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def test_a_spawner_that_fails_leaves_nothing_open(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.spawn(1)
    before = os.listdir("/dev/fd")

    def fail(self: object, setup: ChildSetup, private: Collection[int], run: Callable[[], int]) -> int:
        raise OSError("the template process is gone")

    monkeypatch.setattr(PuppetSpawner, "spawn", fail)
    assert fleet.kernel.spawn(2, 1, 1, "puppet 2", wait_for_the_end) == ev.SpawnFailed(
        2, "the template process is gone"
    )
    assert os.listdir("/dev/fd") == before
    monkeypatch.undo()
    fleet.spawn(3)
    assert fleet.link(3).heartbeat.index == 1


def test_the_puppets_are_spawners() -> None:
    spawners: list[Spawner] = [PuppetSpawner(), ForkSpawner()]
    assert len(spawners) == 2
