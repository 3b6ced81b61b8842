"""A stream that is open, what a server grants, and whom the machine tells what. No code of any of them.

Owns: `Stream`, `Terms` and `Sink`. Must not: know a frame. Fails by: nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from uvicorn.errors import BadRequest
from uvicorn.worker.http2.fields import Head
from uvicorn.worker.http2.frames import LARGEST_WINDOW, Setting


class Terms(NamedTuple):
    """What a server grants. Bytes and counts; `methods` are those that are served.

    `line`, `fields` and `size` are the most bytes of a method and a target, the most fields and the most bytes of a
    head.
    """

    streams: int = 128
    window: int = 1 << 18
    line: int = 1 << 80
    fields: int = 128
    size: int = 65536
    methods: Mapping[bytes, str] = MappingProxyType({})
    tunnels: bool = False

    def settings(self) -> list[tuple[int, int]]:
        """What a client is told of it."""
        values = [
            (Setting.MAX_CONCURRENT_STREAMS, self.streams),
            (Setting.INITIAL_WINDOW_SIZE, self.window),
            (Setting.MAX_HEADER_LIST_SIZE, min(self.size, LARGEST_WINDOW)),
            (Setting.NO_RFC7540_PRIORITIES, 1),
        ]
        if self.tunnels:
            values.append((Setting.ENABLE_CONNECT_PROTOCOL, 1))
        return [(int(name), value) for name, value in values]


class Stream:
    """One stream that is not closed. `exchange` is whatever the sink keeps there."""

    # Not slots: most streams need no more than what `__init__` sets, and the values of the class for the rest.
    we_ended = closed = False
    queued = 0
    """Bytes that wait to be sent."""
    received = 0
    credit = owed = 0
    length = -1
    queue: deque[bytes | memoryview] | None = None
    waiting = False
    ends: bytes | None = None
    """What comes behind the queue: trailers, or nothing but the end; None as long as more data may come."""

    def __init__(self, number: int, urgency: int, window: int, window_in: int, ended: bool) -> None:
        self.id = number
        self.exchange: Any = None
        self.peer_ended = ended
        self.window = window
        """Bytes that the peer still takes of it; below zero when it has made it smaller, and when it is closed."""
        self.urgency = urgency
        self.window_in = window_in


class Sink(Protocol):
    """What the machine tells."""

    def request(self, stream: Stream, head: Head) -> None:
        """A request has begun. Its body, if `stream.peer_ended` does not say that there is none, follows."""

    def refused(self, stream: Stream, fault: BadRequest) -> None:
        """A request that is to be answered with the status of `fault`."""

    def data(self, stream: Stream, data: bytes) -> None:
        """A part of a body; `stream.peer_ended` says whether it was the last."""

    def reset(self, stream: Stream) -> None:
        """The peer has reset it, or we had to. What still comes for it is dropped."""

    def fault(self, number: int, code: int, reason: str) -> None:
        """What the peer did wrong on a stream, which was reset for it; for a log."""

    def emptied(self, stream: Stream) -> None:
        """Everything that waited in it was sent."""

    def unfinished(self) -> None:
        """There is no room for another request: say which ones run no more (`Machine.finished`)."""

    def failed(self, code: int, reason: str) -> None:
        """The connection is over. Nothing is told after this."""
