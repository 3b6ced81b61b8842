"""The operating system, as the master sees it: the only file that forks, kills, reaps, waits and reads the
clock.

Owns: the processes behind the serials, their channel ends, heartbeats and dump files, the signal handlers
(each only writes its number to the wake-up socket) and the one blocking wait. Facts go out as events, in an order that
loses nothing: every heartbeat that is new, as one event (whether a loop turns matters to what follows), then signals (a
stop explains the deaths that come with it), then what a worker said, then its exit, and last, when the deadline has
come, the Tick.

Invariants: a pid is signalled only while it is not reaped, so it cannot be somebody else's; only own pids
are waited for (as PID 1 every orphan is reaped and only own children are judged); all signals are blocked
around a fork, so that none that is meant for a worker runs the master's handlers. The master's ends of all
channels are closed in every child: EOF is the lifeline.

Must not: decide, or know a state. Fails by: OSError where the system refuses what cannot be refused. A process that
cannot be made (no descriptor, memory or process is left, or a filter forbids it) is an event, and leaves nothing open.
"""

from __future__ import annotations

import json  # noqa: F401  # what the channel needs, before the first fork
import logging
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from uvicorn.process import channel
from uvicorn.process import exiting as leaving
from uvicorn.process.terminal import Terminal
from uvicorn.process.ttysettings import TTYSettings
from uvicorn.supervisor import child, inspection
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.caller import Caller, Pairs
from uvicorn.supervisor.events import Event

logger = logging.getLogger("uvicorn.error")

RunWorker = Callable[[], int]

READ_SECONDS = 0.05
"""Between two readings of the heartbeats, unless a deadline has come."""


@dataclass(slots=True, eq=False)
class Process:
    """One child that is not reaped yet. `endpoint` is None once its other end is closed."""

    serial: int
    pid: int
    slot: int
    endpoint: channel.Endpoint | None
    heartbeat: channel.Heartbeat
    dump_fd: int
    dumped: int = 0
    last_beat: float = 0.0

    def close(self) -> None:
        if self.endpoint is not None:
            self.endpoint.close()
        self.heartbeat.close()
        if self.dump_fd >= 0:
            os.close(self.dump_fd)


@dataclass(slots=True)
class Signals:
    """The wake-up socket and the handlers that were there before us."""

    reader: socket.socket
    writer: socket.socket
    previous_fd: int = -1
    previous: dict[int, Any] = field(default_factory=dict)

    @classmethod
    def install(cls) -> Signals:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self = cls(reader, writer)
        self.previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for name in [*(one.value for one in ev.Signal), "SIGCHLD"]:
            number = getattr(signal, name)
            self.previous[number] = signal.signal(number, _wake)
        return self

    def read(self) -> bytes:
        """The numbers of the signals that have arrived, one a byte."""
        numbers = b""
        try:
            while data := self.reader.recv(4096):
                numbers += data
        except BlockingIOError:
            pass
        return numbers

    def restore(self) -> None:
        for number, handler in self.previous.items():
            if not leaving.is_kept(number):
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self.previous_fd)
        self.close()

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


def _wake(number: int, frame: FrameType | None) -> None:
    """Nothing: the interpreter has written the number to the wake-up socket."""


class Kernel:
    """Processes by serial, and one place to wait. Used from the main thread of a process without others."""

    def __init__(self, caller: Caller | None = None) -> None:
        self._processes: dict[int, Process] = {}
        self._terminal = Terminal.take()
        self._signals = Signals.install()
        self._poll = select.poll()
        self._poll.register(self._signals.reader, select.POLLIN)
        self._caller = caller
        self._pairs = Pairs()
        self._settings = TTYSettings()
        if caller is not None:
            self._poll.register(caller, select.POLLIN)
        if self._terminal is not None:
            self._watch_terminal(self._terminal)
        self._init = os.getpid() == 1
        self._read_at = 0.0
        self._dump_signal, self._report_signal = _free_signals()

    def now(self) -> float:
        return time.monotonic()

    def pid(self) -> int:
        return os.getpid()

    def close(self) -> None:
        """Let go of everything; workers that are still there see EOF on their lifeline and leave."""
        leaving.over()
        self._signals.restore()
        self._drop_caller()
        if self._terminal is not None:
            self._terminal.close()
        for process in self._processes.values():
            process.close()
        self._processes.clear()

    # -- waiting ---------------------------------------------------------------------------------------------

    def wait(self, deadline: float | None) -> list[Event]:
        """Block until something happened or `deadline` has come, or for LONGEST_WAIT. The only wait of the master."""
        timeout = None
        if deadline is not None:  # rounded up: waking early would make the master spin through the last millisecond
            timeout = max(0, math.ceil(min(deadline - time.monotonic(), channel.LONGEST_WAIT) * 1000))
        ready = {fd for fd, _ in self._poll.poll(timeout)}
        due = deadline is not None and time.monotonic() >= deadline
        events = self._read_heartbeats(due)
        signalled = self._signals.reader.fileno() in ready
        if signalled:
            events += self._heard(self._signals.read(), passed_on=False)
        if self._caller is not None and self._caller.fileno() in ready:
            events += self._read_caller(self._caller)
        if self._terminal is not None:
            self._look_at(self._terminal, ready)
        for process in list(self._processes.values()):
            if process.endpoint is not None and process.endpoint.fileno() in ready:
                events += self._read_channel(process)
        if signalled or due:  # an exit is a signal: of those that come at once one at least can be read
            events += self._reap()
        if due:
            events.append(ev.Tick())
        return events

    def _read_caller(self, caller: Caller) -> list[Event]:
        numbers = caller.read()
        if numbers is not None:
            return self._heard(numbers, passed_on=True)
        logger.warning("The process that started this master is gone: stopping.")
        self._drop_caller()
        return [ev.SignalReceived(ev.Signal.TERM)]

    def _heard(self, numbers: bytes, passed_on: bool) -> list[Event]:
        known = {getattr(signal, one.value): one for one in ev.Signal}
        now = time.monotonic()
        heard = [
            known[number]
            for number in numbers
            if number in known and (self._caller is None or self._pairs.is_new(number, passed_on, now))
        ]
        return [ev.SignalReceived(self._meant_by(one, now)) for one in heard]

    def _meant_by(self, one: ev.Signal, now: float) -> ev.Signal:
        if one is ev.Signal.HUP and self._terminal is not None and self._terminal.hung_up(now):
            logger.warning("The terminal is gone: stopping.")
            return ev.Signal.TERM
        return one

    def _watch_terminal(self, terminal: Terminal) -> None:
        for fd, what in terminal.watched.items():
            self._poll.register(fd, what)

    def _look_at(self, terminal: Terminal, ready: set[int]) -> None:
        """Its end is told once; that of its session's leader may be without consequence."""
        for fd in ready.intersection(terminal.watched):
            terminal.look(time.monotonic())
            self._poll.unregister(fd)

    def _drop_caller(self) -> None:
        if self._caller is not None:
            self._poll.unregister(self._caller)
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
                logger.error("Worker %d [%d] said what is not understood: %s", process.slot, process.pid, exc)
                continue
            if not messages:
                break
            events += [event for one in messages if (event := _event(process.serial, one)) is not None]
        return events

    def _drop_endpoint(self, process: Process) -> None:
        if process.endpoint is not None:
            self._poll.unregister(process.endpoint)
            process.endpoint.close()
            process.endpoint = None

    def _reap(self) -> list[Event]:
        exits = _reap_everybody() if self._init else _reap_own({p.pid for p in self._processes.values()})
        events: list[Event] = []
        if not exits:
            return events
        for process in list(self._processes.values()):
            if process.pid in exits:
                if os.WIFSIGNALED(exits[process.pid]):
                    self._settings.restore()
                events += self._read_channel(process)  # its last words come before its exit
                events.append(_exited(process.serial, exits[process.pid], process.heartbeat.read().requests))
                self._drop_endpoint(process)
                process.close()
                del self._processes[process.serial]
        return events

    def _read_heartbeats(self, judged: bool) -> list[Event]:
        """One event for the whole fleet. Without a judgement they are not read again within `READ_SECONDS`: a worker
        beats less often, and in a reload each message and each exit is a wake-up.

        Only before a judgement does it matter that somebody at a terminal explains a silence. A loop that turns says
        itself that a debugger holds one of its threads."""
        now = time.monotonic()
        if not judged and now - self._read_at < READ_SECONDS:
            return []
        self._read_at = now
        beats: list[ev.Heartbeat] = []
        for process in self._processes.values():
            beat = process.heartbeat.read()
            fresh = beat.at != process.last_beat
            process.last_beat = beat.at
            held, asking = beat.phase is channel.Phase.HELD, beat.phase is channel.Phase.ASKING
            if judged and not fresh and (held or inspection.is_held(process.pid, now - beat.at)):
                beats.append(ev.Heartbeat(process.serial, now, beat.in_flight, beat.requests, held=True))
            elif fresh or judged:
                beats.append(ev.Heartbeat(process.serial, beat.at, beat.in_flight, beat.requests, asking=asking))
        return [ev.Heartbeats(tuple(beats))] if beats else []

    def measure_memory(self) -> list[Event]:
        """The memory of every worker that can be measured."""
        sizes = {process.serial: inspection.memory_of(process.pid) for process in self._processes.values()}
        return [ev.MemoryMeasured(serial, size) for serial, size in sizes.items() if size is not None]

    # -- processes -------------------------------------------------------------------------------------------

    def spawn(self, serial: int, slot: int, generation: int, title: str, run: RunWorker) -> Event:
        """Fork. In the child this does not return."""
        try:
            process, theirs = _prepared(serial, slot, stacks=self._dump_signal != 0)
        except (OSError, MemoryError) as exc:
            return ev.SpawnFailed(serial, _reason(exc))
        ours = process.endpoint
        assert ours is not None
        link = channel.WorkerLink(theirs, process.heartbeat, slot, generation, self._report_signal, process.dump_fd)
        birth = child.Birth(link, title, process.dump_fd, self._dump_signal)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                foreign = [self._signals.close, ours.close, *(p.close for p in self._processes.values())]
                if self._caller is not None:
                    foreign.append(self._caller.close)
                if self._terminal is not None:
                    foreign.append(self._terminal.close)
                child.become(birth, foreign, run)
        except (OSError, MemoryError) as exc:
            process.close()
            return ev.SpawnFailed(serial, _reason(exc))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        process.pid = pid
        self._processes[serial] = process
        self._poll.register(ours, select.POLLIN)
        return ev.Spawned(serial, pid)

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
        """Raise KeyboardInterrupt in the worker's main thread. By the signal that it is asked by, where there is one:
        of two that are pending, the second one's handler would run with the first one's exception set."""
        process = self._processes.get(serial)
        if process is not None:
            process.heartbeat.pass_interrupt()
            os.kill(process.pid, self._report_signal or signal.SIGINT)

    def stack(self, serial: int) -> str | None:
        """What the main thread is doing, and the stacks that the last `dump_stack` brought; None without a
        process."""
        process = self._processes.get(serial)
        if process is None:
            return None
        text = b""
        if process.dump_fd >= 0:
            size = os.fstat(process.dump_fd).st_size
            text = os.pread(process.dump_fd, max(0, size - process.dumped), process.dumped)
        head = f"Worker {process.slot} [{process.pid}]: its main thread is {inspection.activity(process.pid)}."
        stacks = _without_machinery(text.decode("utf-8", "replace")).rstrip()
        return f"{head}\n{stacks}" if stacks else f"{head} No stack could be had."


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


def _reap_own(pids: set[int]) -> dict[int, int]:
    """The wait statuses of those that have exited. Where the system tells who has, a call for each of these is enough;
    else, or if the next one is another's child that nobody has waited for, each is asked."""
    exits: dict[int, int] = {}
    if hasattr(os, "waitid"):
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                return exits
            if found.si_pid not in pids or found.si_pid in exits:
                break
            exits[found.si_pid] = os.waitpid(found.si_pid, 0)[1]
    return exits | {pid: status for pid in pids - exits.keys() if (status := _reap_one(pid)) is not None}


def _reap_one(pid: int) -> int | None:
    """The wait status of an own child, None while it lives."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0  # reaped by somebody else in this process; how it ended is lost
    return status if found else None


def _reap_everybody() -> dict[int, int]:
    exits: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return exits
        if not pid:
            return exits
        exits[pid] = status


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
    """Two real-time signals that nothing else uses by habit (for the stack, for the requests); 0 where there are
    none. macOS has SIGINFO, for the second."""
    first = getattr(signal, "SIGRTMIN", 0)
    return (first + 9, first + 10) if first else (0, int(getattr(signal, "SIGINFO", 0)))


def _prepared(serial: int, slot: int, stacks: bool) -> tuple[Process, channel.Endpoint]:
    """A process that is not forked yet, and its own end of the channel. Raises OSError or MemoryError; then nothing is
    open."""
    ours, theirs = channel.pair()
    try:
        heartbeat = channel.Heartbeat()
    except BaseException:
        ours.close()
        theirs.close()
        raise
    return Process(serial, 0, slot, ours, heartbeat, _dump_file() if stacks else -1), theirs


def _reason(exc: OSError | MemoryError) -> str:
    return getattr(exc, "strerror", None) or str(exc) or "no memory"


def _dump_file() -> int:
    """A file without a name, for stacks: in memory, or where temporary files are. -1 where there can be none: a worker
    without one serves as any other, and only the report of a hang is poorer."""
    try:
        return os.memfd_create("stack", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # another system, or a filter of system calls
        pass
    try:
        import tempfile  # a millisecond or more of imports that Linux does not need

        fd, path = tempfile.mkstemp()
        os.unlink(path)
    except (ImportError, OSError) as exc:
        logger.debug("There is no file for a worker's stacks: %s.", exc)
        return -1
    return fd


def _without_machinery(stacks: str) -> str:
    """The main thread's frames below the event loop are ours, and the same in every report."""
    kept, ours = [], False
    for line in stacks.splitlines():
        ours = ours and line.startswith("  File ")
        if not ours:
            kept.append(line)
        ours = ours or line.endswith(" in run_in_loop")
    return "\n".join(kept)
