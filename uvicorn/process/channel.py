"""The contract between the master and one worker: messages and lifeline. Both sides import this, and `page` for the
heartbeat.

States of the link: open → closed (the other process is gone). Who sends what:

    worker → master   Ready (serving), Failed (cannot start, and why), Drained (its listeners are empty and closed),
                      Spent (it should be replaced, and why; it goes on serving until it is told to leave)
    watcher → master  Changed (files of the application; under --reload), Failed
    master → worker   Listening (accept), Drain (finish and leave, how, and by when), Reopen (log files were moved away)

A message is one JSON line on a Unix stream socket pair made before the fork. Its end of file is the lifeline: for the
worker it means that the master is gone (finish what is in flight, leave), for the master that the worker is going. A
message is only a report: the master judges it against its own table and ignores what does not fit.

Must not: decide anything, block (but for `send` with a bounded wait), or import more than the standard library.
Fails by: `ChannelClosed` when the other side is gone; a line that is no message is an internal fault (`ValueError`).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from uvicorn.process.drainmode import DrainMode
from uvicorn.process.handlers import undisturbed
from uvicorn.process.page import Counters, Phase
from uvicorn.surface.later import Later

if TYPE_CHECKING:
    import json
else:
    json = Later("json", globals())


LONGEST_WAIT = 2_000_000.0
"""Seconds (23 days). Waits of the kernel take milliseconds in an int; a longer wait is one after the other."""


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
        mode = max(self.mode, other.mode, key=lambda one: one.urgency)
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


class WorkerLink:
    """A worker's side of the link, and what its master has said: `drain` is the merged order to leave, once one has
    arrived; `listening`: the listeners listen; `reopen`: log files are to be opened anew, until whoever does it clears
    this.

    `report_signal` is the signal by which a master that suspects a hang asks for the requests in flight, and
    `report_fd` the file where it reads them and the stacks; 0 and -1 where there are none. `failed` says that the
    master knows why this worker leaves. `after_beat` is called after each heartbeat, once the master is gone
    (`lifeline`).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        heartbeat: Counters,
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
        """The loop turns."""
        self.heartbeat.beat(now, in_flight, phase, requests)
        if self.after_beat is not None:
            self.after_beat()

    def say(self, message: Message) -> None:
        """Send to the master. Raises ChannelClosed when it is gone."""
        self.endpoint.send(message)
        self.failed |= isinstance(message, Failed)

    @undisturbed
    def hear_interrupt(self, number: int, frame: FrameType | None) -> None:
        """A signal handler: Ctrl-C reaches the whole group, and the master decides what it means. What the master
        passes on is for the debugger that holds this process."""
        if self.heartbeat.take_interrupt():
            raise KeyboardInterrupt

    def poll(self) -> bool:
        """Read what the master has sent. True while it lives, False once it is gone."""
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
    """The link, once: a second server that an application runs inside a worker has no master."""
    global current
    link, current = current, None
    return link
