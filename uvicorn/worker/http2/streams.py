"""An open stream, the limits that a server announces, and the interface that the machine calls.

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
    """The limits for a client: `streams` open at a time, `window` bytes of each stream's flow-control window, `line`
    bytes of a method and a target, `fields` and `size` (bytes) of a field section. `methods` are those that are served;
    `tunnels`: whether extended CONNECT is (RFC 8441).
    """

    streams: int = 128
    window: int = 1 << 18
    line: int = 1 << 80
    fields: int = 128
    size: int = 65536
    methods: Mapping[bytes, str] = MappingProxyType({})
    tunnels: bool = False

    def settings(self) -> list[tuple[int, int]]:
        """The (setting, value) pairs of our SETTINGS frame."""
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
    """One stream that is not closed. `exchange` is for the sink."""

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
    """What follows the queue: a field block of trailers, or b"" for the end alone; None while more data may come."""

    def __init__(self, number: int, urgency: int, window: int, window_in: int, ended: bool) -> None:
        self.id = number
        self.exchange: Any = None
        self.peer_ended = ended
        self.window = window
        """Bytes that the peer still accepts; below zero if the stream is closed or after a smaller initial window."""
        self.urgency = urgency
        self.window_in = window_in


class Sink(Protocol):
    """What the machine calls."""

    def request(self, stream: Stream, head: Head) -> None:
        """A request has begun. Its body follows, unless `stream.peer_ended`."""

    def refused(self, stream: Stream, fault: BadRequest) -> None:
        """Answer a request with the status of `fault`."""

    def data(self, stream: Stream, data: bytes) -> None:
        """A part of a body; `stream.peer_ended` says whether it was the last."""

    def reset(self, stream: Stream) -> None:
        """The stream was reset, by the peer or for its error. Later frames for it are dropped."""

    def fault(self, number: int, code: int, reason: str) -> None:
        """A stream error: the stream was reset. For the log."""

    def emptied(self, stream: Stream) -> None:
        """The stream's queue was sent."""

    def unfinished(self) -> None:
        """The limit of requests is reached: report those that have finished (`Machine.finished`)."""

    def failed(self, code: int, reason: str) -> None:
        """A connection error. The machine calls nothing after this."""
