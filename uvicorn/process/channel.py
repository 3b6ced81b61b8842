"""The contract between the master and one worker: messages, heartbeat, lifeline. Both sides import only this.

States of the link: open → closed (the other process is gone). Who says what:

    worker → master   Ready (serving), Failed (cannot start, and why), Drained (its listeners are empty and closed),
                      Spent (it should be replaced, and why; it goes on serving until it is told to leave)
    watcher → master  Changed (files of the application; under --reload), Failed
    master → worker   Listening (accept), Drain (finish and leave, how, and by when), Reopen (log files were moved away)

A message is one JSON line on a Unix stream socket pair made before the fork. EOF is the lifeline: for the worker it
means that the master is gone (finish what is in flight, leave), for the master that the worker is going. A message is
only a report: the master judges it against its own table and ignores what does not fit.

The heartbeat is a page of shared memory per worker, made before the fork: the loop's last tick on the monotonic clock
(the same clock for all processes of a machine), the number of requests in flight and begun, and a phase. Whoever reads
may see a value one tick old; that is harmless.

Must not: decide anything, block (but for `send` with a bounded wait), or import more than the standard library.
Fails by: `ChannelClosed` when the other side is gone; a line that is no message is an internal fault (`ValueError`).
"""

from __future__ import annotations

import enum
import mmap
import select
import socket
import struct
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from uvicorn.surface.later import Later

if TYPE_CHECKING:
    import json
else:
    json = Later("json", globals())


LONGEST_WAIT = 2_000_000.0
"""Seconds (23 days). The kernel's waits take milliseconds in an int: whoever has longer to wait waits again."""


class DrainMode(enum.Enum):
    """How a worker leaves. The order is that of urgency: a drain can only become more urgent."""

    RETIRE = "retire"
    """Reload, recycling: leave the kernel's queue to the siblings, leave idle connections their keep-alive time."""
    STOP = "stop"
    """Full stop: accept until the queue is empty; idle connections close after at most a second."""
    INTERRUPT = "interrupt"
    """Somebody waits at a terminal: like STOP, and idle connections close at once."""
    CUT = "cut"
    """Development: the queue is left to the successor and what is open ends after a moment, so that a stream nobody
    ends holds nothing up; the time until the deadline is for the lifespan's shutdown."""


_URGENCY = {mode: rank for rank, mode in enumerate(DrainMode)}


class Ready(NamedTuple):
    """The lifespan's startup completed and the worker accepts connections, or will as soon as the listeners listen."""


class Failed(NamedTuple):
    """The worker cannot start; it leaves with `exit_code`. `cause` is text for a person, traceback included."""

    exit_code: int
    cause: str


class Drained(NamedTuple):
    """A worker that stops for good, or unasked, has closed its copy of every listener; no order of its master's made it
    leave the queue to others."""


class Spent(NamedTuple):
    """The worker has reached a limit of its own and asks to be replaced; `cause` completes "Worker 1 …".

    `fault`: it is no limit, something in it has broken.
    """

    cause: str
    fault: bool = False


class Changed(NamedTuple):
    """Files that count are new, gone or changed: `total` of them, the first `paths` by name. `by` is who saw it."""

    by: str
    paths: list[str]
    total: int


class Listening(NamedTuple):
    """The listeners listen from now on. Said once, to those that were forked before."""


class Drain(NamedTuple):
    """Leave. `deadline` is when the drain must be over, in seconds of `time.monotonic()`."""

    mode: DrainMode
    deadline: float

    def merged(self, other: Drain) -> Drain:
        """The more urgent of both, field by field: a drain is shortened, never extended."""
        mode = max(self.mode, other.mode, key=_URGENCY.__getitem__)
        return Drain(mode, min(self.deadline, other.deadline))


class Reopen(NamedTuple):
    """Open the log files anew."""


Message = Ready | Failed | Drained | Spent | Changed | Listening | Drain | Reopen

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Ready, Failed, Drained, Spent, Changed, Listening, Drain, Reopen)
}


def encode(message: Message) -> bytes:
    """One JSON line: the message's class name and its fields."""
    fields = message._asdict()
    if isinstance(message, Drain):
        fields["mode"] = message.mode.value
    return json.dumps([type(message).__name__, fields]).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The inverse of `encode`. Raises ValueError for anything else."""
    try:
        name, fields = json.loads(line)
        if name == "Drain":
            fields["mode"] = DrainMode(fields["mode"])
        return _KINDS[name](**fields)
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"not a message: {line[:80]!r}") from exc


class ChannelClosed(Exception):
    """The process at the other end is gone."""


class Endpoint:
    """One end of the socket pair. Reading never blocks; writing waits at most `SEND_WAIT` seconds for room."""

    __slots__ = ("_buffer", "sock")

    SEND_WAIT = 1.0

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._buffer = b""

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: Message) -> None:
        """Write one message. Raises ChannelClosed if the peer is gone or takes nothing for `SEND_WAIT` seconds."""
        data = encode(message)
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                poller = select.poll()
                poller.register(self.sock, select.POLLOUT)
                if not poller.poll(self.SEND_WAIT * 1000):
                    raise ChannelClosed("the peer does not read") from None
            except OSError as exc:
                raise ChannelClosed(str(exc)) from exc

    def receive(self) -> list[Message]:
        """All messages that have arrived. Raises ChannelClosed at EOF, once every message before it was returned."""
        lines: list[bytes] = []
        while True:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                break
            except OSError as exc:
                if lines:
                    break
                raise ChannelClosed(str(exc)) from exc
            if not data:
                if lines:
                    break
                raise ChannelClosed("end of file")
            *complete, self._buffer = (self._buffer + data).split(b"\n")
            lines.extend(complete)
        return [decode(line) for line in lines]

    def close(self) -> None:
        self.sock.close()


def pair() -> tuple[Endpoint, Endpoint]:
    """(the master's end, the worker's end), both close-on-exec and non-blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Endpoint(ours), Endpoint(theirs)


class Phase(enum.IntEnum):
    """What the loop that beats is doing. HELD: a debugger in the process itself keeps it from turning. ASKING: it
    turns, and a debugger has stopped another thread."""

    BOOTING = 0
    SERVING = 1
    DRAINING = 2
    HELD = 3
    ASKING = 4


class Beat(NamedTuple):
    """One reading of a heartbeat. `at` is 0.0 before the first tick, else seconds of `time.monotonic()`."""

    at: float
    in_flight: int
    phase: Phase
    requests: int


class Heartbeat:
    """A page of anonymous shared memory that survives the fork. One writer (the worker's loop), one reader.

    One byte of it is the master's: a Ctrl-C that came from a terminal is for the debugger which holds the worker.
    """

    __slots__ = ("_page",)

    _LAYOUT = struct.Struct("=dIIQ")
    _INTERRUPT = 64

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def beat(self, now: float, in_flight: int, phase: Phase, requests: int) -> None:
        """Record a tick at `now` (seconds, monotonic)."""
        self._LAYOUT.pack_into(self._page, 0, now, in_flight, phase, requests)

    def read(self) -> Beat:
        at, in_flight, phase, requests = self._LAYOUT.unpack_from(self._page, 0)
        return Beat(at, in_flight, Phase(phase), requests)

    def pass_interrupt(self) -> None:
        """By the master, before it sends a signal: raise KeyboardInterrupt."""
        self._page[self._INTERRUPT] = 1

    def take_interrupt(self) -> bool:
        """By the worker: whether the signal is that one."""
        passed = self._page[self._INTERRUPT] == 1
        self._page[self._INTERRUPT] = 0
        return passed

    def close(self) -> None:
        self._page.close()


class WorkerLink:
    """What a worker holds of its master. `drain` is the merged order to leave, once one has arrived; `listening` is its
    word that the listeners listen.

    `report_signal` is the signal by which a master that suspects a hang asks for the requests in flight, and
    `report_fd` the file where it looks for them; 0 and -1 where there are none. `reopen` says that log files are to be
    opened anew, until somebody has done it and clears it. `failed` says that the master knows why this worker leaves.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        heartbeat: Heartbeat,
        slot: int,
        generation: int,
        report_signal: int = 0,
        report_fd: int = -1,
    ) -> None:
        self.endpoint = endpoint
        self.heartbeat = heartbeat
        self.slot = slot
        self.generation = generation
        self.report_signal = report_signal
        self.report_fd = report_fd
        self.after_beat: Callable[[], None] | None = None
        self.drain: Drain | None = None
        self.listening = False
        self.reopen = False
        self.failed = False

    def beat(self, now: float, in_flight: int, phase: Phase, requests: int) -> None:
        """The loop turns. `after_beat` hears of it as well, once the master is gone (`lifeline`)."""
        self.heartbeat.beat(now, in_flight, phase, requests)
        if self.after_beat is not None:
            self.after_beat()

    def say(self, message: Message) -> None:
        """Send to the master. Raises ChannelClosed when it is gone."""
        self.endpoint.send(message)
        self.failed |= isinstance(message, Failed)

    def hear_interrupt(self, number: int, frame: FrameType | None) -> None:
        """A handler: a Ctrl-C reaches the whole group, and the master decides about it. What it passes on is for the
        debugger that holds this process."""
        if self.heartbeat.take_interrupt():
            raise KeyboardInterrupt

    def poll(self) -> bool:
        """Take in what the master said. True while it lives, False once it is gone."""
        try:
            messages = self.endpoint.receive()
        except ChannelClosed:
            return False
        for message in messages:
            if isinstance(message, Drain):
                self.drain = message if self.drain is None else self.drain.merged(message)
            elif isinstance(message, Listening):
                self.listening = True
            elif isinstance(message, Reopen):
                self.reopen = True
        return True


current: WorkerLink | None = None
"""The link of this process to its master, until the worker's server takes it; None in a process without a master."""


def take() -> WorkerLink | None:
    """The link, once: a second server that an application runs inside a worker is no business of the master's."""
    global current
    link, current = current, None
    return link
