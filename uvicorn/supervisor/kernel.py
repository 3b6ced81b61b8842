"""The operating system, as the master sees it: the only module, with the spawner, that forks, signals, reaps, waits
and reads the clock.

One call of `wait` is one poll over all sources (`sources`), and then, in this order, which loses nothing:

1. the heartbeats that are new, as one event (whether a loop runs matters to what follows),
2. what the sources that are ready say, by their rank: signals (a stop explains the deaths that come with it), the
   caller's signals, the terminal, and what each worker has said,
3. the exits of workers, each behind the worker's last words,
4. when the deadline has come, the Tick.

The cost is that of what happened, but for one pass over the fleet's page: only ready sources are read, and children are
reaped after a signal (SIGCHLD among them) or at the end of a channel.

Invariants: a pid is signalled only while it is not reaped, so it cannot be somebody else's; only own pids are waited
for (as PID 1 every orphan is reaped and only own children are judged); no child has a descriptor of the master's that
it must not have (`Sources.private`), so the end of file of a channel is a lifeline.

Owns: the processes behind the serials, with their channels, counters and dump files; the signal handlers; the page.
Must not: decide, or know a worker's state. Fails by: OSError where the system refuses what cannot be refused. A process
that cannot be made (no descriptor, memory or process is left, or a filter forbids it) is an event, and leaves nothing
open.
"""

from __future__ import annotations

import json  # noqa: F401  # what the channel needs, before the first fork
import logging
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from uvicorn.process import channel, exiting, reaping
from uvicorn.process.page import Counters, FleetPage, Phase
from uvicorn.process.terminal import Terminal
from uvicorn.process.ttysettings import TTYSettings
from uvicorn.process.wakeup import SignalSocket
from uvicorn.supervisor import events as ev
from uvicorn.supervisor import inspection
from uvicorn.supervisor.caller import Caller, DuplicateFilter
from uvicorn.supervisor.child import ChildSetup
from uvicorn.supervisor.events import Event
from uvicorn.supervisor.sources import Rank, Sources
from uvicorn.supervisor.spawner import ForkSpawner, Spawner

logger = logging.getLogger("uvicorn.error")

RunWorker = Callable[[], int]

READ_SECONDS, READ_SECONDS_PER_WORKER, READ_SECONDS_MOST = 0.05, 0.002, 0.5
"""Between two readings of the heartbeats, unless something is judged by them. In a large fleet they are read less
often, so that a reload, which takes longer there, does not read more of them for each worker."""

SILENT_SECONDS = 0.2
"""Workers whose heartbeat is younger are not looked up in /proc."""

_SIGNALS = {int(getattr(signal, one.value)): one for one in ev.Signal if hasattr(signal, one.value)}


@dataclass(slots=True, eq=False)
class Process:
    """One child that is not reaped yet. `endpoint` is None once its other end is closed. `dumped` is how much of the
    dump file is older than the last request for stacks."""

    serial: int
    pid: int
    slot: int
    endpoint: channel.Endpoint | None
    counters: Counters
    dump_fd: int
    dumped: int = 0
    last_beat: float = 0.0


class Kernel:
    """Processes by serial, and one place to wait. Used from the main thread of a process that has no other threads.

    `sources` is what it waits for: a further source is added there, before or while the master runs.
    """

    def __init__(self, caller: Caller | None = None, spawner: Spawner | None = None) -> None:
        self._processes: dict[int, Process] = {}
        self._by_pid: dict[int, Process] = {}
        self._silent: dict[int, Process] = {}  # by pid: their channel has ended, and their exit follows
        self._spawner = spawner or ForkSpawner()
        self._page: FleetPage | None = None
        self._read_at = 0.0
        self.sources = Sources()
        self._terminal = Terminal.take()
        self._signals = SignalSocket.install(one.value for one in ev.Signal)
        self._signalled = False
        self._caller = caller
        self._duplicates = DuplicateFilter()
        self._settings = TTYSettings()
        self._is_init = os.getpid() == 1
        self._dump_signal, self._report_signal = _free_signals()
        self.sources.add(self._signals.fileno(), Rank.SIGNALS, self._read_signals)
        self.sources.keep_private(self._signals.writer.fileno(), self.sources.fileno())
        if caller is not None:
            self.sources.add(caller.fileno(), Rank.CALLER, self._read_caller)
        if self._terminal is not None:
            for fd, awaited in self._terminal.watched.items():
                self.sources.add(fd, Rank.TERMINAL, partial(self._look_at_terminal, fd), awaited)

    def now(self) -> float:
        return time.monotonic()

    def pid(self) -> int:
        return os.getpid()

    def close(self) -> None:
        """Let go of everything; workers that are still there see EOF on their lifeline and leave."""
        exiting.over()
        self._signals.restore()
        self._drop_caller()
        if self._terminal is not None:
            self._terminal.close()
        for process in self._processes.values():
            self._close(process)
            process.counters.close()
        self._processes.clear()
        self._by_pid.clear()
        self._close_page()
        self.sources.close()

    def _close_page(self) -> None:
        if self._page is not None:
            self._page.close()
            self._page = None

    # -- waiting ---------------------------------------------------------------------------------------------

    def wait(self, deadline: float | None) -> list[Event]:
        """Block until something happened or `deadline` has come, or for LONGEST_WAIT. The only wait of the master."""
        timeout = None
        if deadline is not None:  # rounded up: waking early would make the master spin through the last millisecond
            timeout = max(0, math.ceil(min(deadline - time.monotonic(), channel.LONGEST_WAIT) * 1000))
        ready = self.sources.wait(timeout)
        due = deadline is not None and time.monotonic() >= deadline
        said = self.sources.read(ready)
        told = any(isinstance(event, ev.SignalReceived | ev.FilesChanged) for event in said)
        events = self._read_heartbeats(due, told) + said + self._reap()
        if due:
            events.append(ev.Tick())
        return events

    def _read_signals(self) -> list[Event]:
        self._signalled = True
        return self._heard(self._signals.read(), passed_on=False)

    def _read_caller(self) -> list[Event]:
        assert self._caller is not None
        numbers = self._caller.read()
        if numbers is not None:
            return self._heard(numbers, passed_on=True)
        logger.warning("The process that started this master is gone: stopping.")
        self._drop_caller()
        return [ev.SignalReceived(ev.Signal.TERM)]

    def _heard(self, numbers: bytes, passed_on: bool) -> list[Event]:
        now = time.monotonic()
        heard = [
            _SIGNALS[number]
            for number in numbers
            if number in _SIGNALS and (self._caller is None or self._duplicates.is_new(number, passed_on, now))
        ]
        return [ev.SignalReceived(self._meant_by(one, now)) for one in heard]

    def _meant_by(self, one: ev.Signal, now: float) -> ev.Signal:
        if one is ev.Signal.HUP and self._terminal is not None and self._terminal.hung_up(now):
            logger.warning("The terminal is gone: stopping.")
            return ev.Signal.TERM
        return one

    def _look_at_terminal(self, fd: int) -> list[Event]:
        """Its end is reported once; that of its session's leader may be without consequence."""
        assert self._terminal is not None
        self._terminal.look(time.monotonic())
        self.sources.mute(fd)
        return []

    def _drop_caller(self) -> None:
        if self._caller is not None:
            self.sources.remove(self._caller.fileno())
            self._caller.close()
            self._caller = None

    def _read_channel(self, process: Process) -> list[Event]:
        events: list[Event] = []
        while process.endpoint is not None:
            try:
                messages = process.endpoint.receive()
            except channel.ChannelClosed:
                self._drop_endpoint(process)
                break
            except ValueError as exc:
                logger.error("Worker %d [%d] sent a message that is not understood: %s", process.slot, process.pid, exc)
                continue
            if not messages:
                break
            events += [event for one in messages if (event := _event(process.serial, one)) is not None]
        return events

    def _drop_endpoint(self, process: Process) -> None:
        if process.endpoint is not None:
            self.sources.remove(process.endpoint.fileno())
            process.endpoint.close()
            process.endpoint = None
            self._silent[process.pid] = process

    def _reap(self) -> list[Event]:
        """The exits of workers. Also at the end of a channel: its process may have been reaped by another part of the
        program."""
        exits: dict[int, int] = {}
        if self._signalled:
            self._signalled = False
            exits = reaping.reap_all() if self._is_init else reaping.reap(self._by_pid.keys())
        for pid in self._silent:
            if pid not in exits and (status := reaping.reap_one(pid)) is not None:
                exits[pid] = status
        ended = [process for pid in exits if (process := self._by_pid.get(pid)) is not None]
        events: list[Event] = []
        for process in sorted(ended, key=lambda process: process.serial):
            status = exits[process.pid]
            if os.WIFSIGNALED(status):
                self._settings.restore()
            events += self._read_channel(process)  # its last words come before its exit
            events.append(_exited(process.serial, status, process.counters.read().requests))
            self._forget(process)
        return events

    def _read_heartbeats(self, judged: bool, told: bool) -> list[Event]:
        """One event for the whole fleet. They are read before a judgement and before what somebody wants. Else they are
        not read again at once: a worker beats ten times a second, and in a reload each message and each exit is a
        wake-up.

        Only before a judgement does it matter that somebody at a terminal explains a silence. A loop that turns says
        itself that a debugger holds one of its threads.
        """
        now = time.monotonic()
        pause = min(max(READ_SECONDS, READ_SECONDS_PER_WORKER * len(self._processes)), READ_SECONDS_MOST)
        if self._page is None or (not judged and not told and now - self._read_at < pause):
            return []
        self._read_at = now
        read = self._page.beats()
        beats: list[ev.Heartbeat] = []
        for process in self._processes.values():
            at, in_flight, phase, requests = read[process.counters.index]
            fresh = at != process.last_beat
            if not (fresh or judged):
                continue
            process.last_beat = at
            silent = now - at
            if not fresh and (
                phase == Phase.HELD or (silent >= SILENT_SECONDS and inspection.is_held(process.pid, silent))
            ):
                beats.append(ev.Heartbeat(process.serial, now, in_flight, requests, held=True))
            else:
                beats.append(ev.Heartbeat(process.serial, at, in_flight, requests, asking=phase == Phase.ASKING))
        return [ev.Heartbeats(tuple(beats))] if beats else []

    def measure_memory(self) -> list[Event]:
        """The memory of every worker that can be measured."""
        sizes = {process.serial: inspection.memory_of(process.pid) for process in self._processes.values()}
        return [ev.MemoryMeasured(serial, size) for serial, size in sizes.items() if size is not None]

    # -- processes -------------------------------------------------------------------------------------------

    def spawn(self, serial: int, slot: int, generation: int, title: str, run: RunWorker) -> Event:
        """Make a process that calls `run`. In that process this does not return."""
        try:
            process, theirs = self._prepare(serial, slot)
        except (OSError, MemoryError) as exc:
            return ev.SpawnFailed(serial, _reason(exc))
        link = channel.WorkerLink(theirs, process.counters, slot, generation, self._report_signal, process.dump_fd)
        setup = ChildSetup(link, title, self._dump_signal)
        try:
            process.pid = self._spawner.spawn(setup, self.sources.private, run)
        except (OSError, MemoryError) as exc:
            self._close(process)
            process.counters.release()
            if not self._processes:
                self._close_page()
            return ev.SpawnFailed(serial, _reason(exc))
        finally:
            theirs.close()
        self.sources.keep_private(process.dump_fd)
        self._processes[serial] = self._by_pid[process.pid] = process
        return ev.Spawned(serial, process.pid)

    def _prepare(self, serial: int, slot: int) -> tuple[Process, channel.Endpoint]:
        """A process that is not there yet, and its own end of the channel. Raises OSError or MemoryError; then nothing
        is open."""
        ours, theirs = channel.pair()
        try:
            if self._page is None:
                self._page = FleetPage.create()
            counters = self._page.take()
        except BaseException:
            ours.close()
            theirs.close()
            raise
        process = Process(serial, 0, slot, ours, counters, inspection.dump_file() if self._dump_signal else -1)
        self.sources.add(ours.fileno(), Rank.WORKER, partial(self._read_channel, process))
        return process, theirs

    def _forget(self, process: Process) -> None:
        """It was reaped."""
        del self._processes[process.serial], self._by_pid[process.pid]
        self._close(process)
        process.counters.release()

    def _close(self, process: Process) -> None:
        """Close the master's descriptors of it."""
        self._drop_endpoint(process)
        self._silent.pop(process.pid, None)
        if process.dump_fd >= 0:
            self.sources.remove(process.dump_fd)
            os.close(process.dump_fd)

    def tell(self, serial: int, message: channel.Message) -> None:
        process = self._processes.get(serial)
        if process is not None and process.endpoint is not None:
            try:
                process.endpoint.send(message)
            except channel.ChannelClosed:
                pass  # it is going; its exit follows

    def tell_all(self, message: channel.Message) -> None:
        for serial in list(self._processes):
            self.tell(serial, message)

    def signal(self, serial: int, name: str) -> None:
        """Send the signal called `name`, unless the process is reaped already."""
        process = self._processes.get(serial)
        if process is not None:
            try:
                os.kill(process.pid, getattr(signal, name))
            except ProcessLookupError:
                pass  # somebody else has reaped it: waitpid will say so

    # -- stacks ----------------------------------------------------------------------------------------------

    def dump_stack(self, serial: int) -> None:
        """Ask for the stacks; they arrive when the process is next scheduled, never if it is stopped."""
        process = self._processes.get(serial)
        if process is not None and process.dump_fd >= 0:
            process.dumped = os.fstat(process.dump_fd).st_size
            os.kill(process.pid, self._dump_signal)
        self.ask(serial)

    def ask(self, serial: int) -> None:
        """Have the worker say, in its heartbeat, whether a debugger holds it."""
        process = self._processes.get(serial)
        if process is not None and self._report_signal:
            os.kill(process.pid, self._report_signal)

    def interrupt(self, serial: int) -> None:
        """Raise KeyboardInterrupt in the worker's main thread, by the signal that `ask` uses, where there is one: with
        two different signals pending, the second handler would run with the exception of the first."""
        process = self._processes.get(serial)
        if process is not None:
            process.counters.pass_interrupt()
            os.kill(process.pid, self._report_signal or signal.SIGINT)

    def stack(self, serial: int) -> str | None:
        """What the main thread is doing, and the stacks that the last `dump_stack` brought. None without a process."""
        process = self._processes.get(serial)
        if process is None:
            return None
        text = b""
        if process.dump_fd >= 0:
            size = os.fstat(process.dump_fd).st_size
            text = os.pread(process.dump_fd, max(0, size - process.dumped), process.dumped)
        head = f"Worker {process.slot} [{process.pid}]: its main thread is {inspection.activity(process.pid)}."
        stacks = inspection.without_own_frames(text.decode("utf-8", "replace")).rstrip()
        return f"{head}\n{stacks}" if stacks else f"{head} No stacks are available."


def _event(serial: int, message: channel.Message) -> Event | None:
    match message:
        case channel.Ready():
            return ev.WorkerReady(serial)
        case channel.Failed(code, cause):
            return ev.WorkerFailed(serial, code, cause)
        case channel.Drained():
            return ev.WorkerDrained(serial)
        case channel.Spent(cause, fault):
            return ev.WorkerSpent(serial, cause, fault)
        case channel.Changed(by, paths, total):
            return ev.FilesChanged(by, tuple(paths), total)
        case _:
            return None  # the others are for us to say


def _exited(serial: int, status: int, requests: int) -> Event:
    if not os.WIFSIGNALED(status):
        return ev.WorkerExited(serial, os.WEXITSTATUS(status), "", requests)
    number = os.WTERMSIG(status)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return ev.WorkerExited(serial, 128 + number, name, requests)


def _free_signals() -> tuple[int, int]:
    """Two real-time signals that programs rarely use: to ask for stacks, and to ask for requests. 0 where there are
    none; macOS has SIGINFO for the second."""
    first = getattr(signal, "SIGRTMIN", 0)
    return (first + 9, first + 10) if first else (0, int(getattr(signal, "SIGINFO", 0)))


def _reason(exc: OSError | MemoryError) -> str:
    return getattr(exc, "strerror", None) or str(exc) or "no memory"
