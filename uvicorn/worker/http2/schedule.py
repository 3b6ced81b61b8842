"""Which stream sends next: by urgency (RFC 9218, 4.1), and in turns within one urgency. And the frames about priority.

Owns: the order of streams that have something to send. Must not: know windows. Fails by: `Fault`, for an invalid
priority frame.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Generic, TypeVar

from uvicorn.worker.http2.frames import Code, number
from uvicorn.worker.http2.reading import Fault

DEFAULT_URGENCY = 3
_URGENCIES = 8

_urgency = re.compile(rb"(?:^|[,\s])u=([0-7])(?=[\s,;]|$)").search
T = TypeVar("T")


def priority(value: bytes) -> int:
    """The urgency in a Priority field (RFC 9218, 4.1); the default for an invalid one."""
    urgency = _urgency(value)
    return int(urgency[1]) if urgency else DEFAULT_URGENCY


def priority_fault(stream: int, payload: bytes) -> tuple[int, str]:
    """(error code, reason) for an invalid PRIORITY frame, else (0, ""). The frame is deprecated and has no effect, but
    its syntax is checked (RFC 9113, 5.3.2 and 6.3). Raises Fault on stream 0.
    """
    if not stream:
        raise Fault(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
    if len(payload) != 5:
        return Code.FRAME_SIZE_ERROR, "PRIORITY with a wrong length"
    if number(payload) == stream:
        return Code.PROTOCOL_ERROR, "stream depends on itself"
    return 0, ""


def read_priority_update(stream: int, payload: bytes) -> tuple[int, int]:
    """(stream, its new urgency) from a PRIORITY_UPDATE that came on `stream` (RFC 9218, 7.1). Raises Fault."""
    if stream:
        raise Fault(Code.PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream")
    if len(payload) < 4:
        raise Fault(Code.FRAME_SIZE_ERROR, "PRIORITY_UPDATE with a wrong length")
    named = number(payload)
    if not named & 1:
        raise Fault(Code.PROTOCOL_ERROR, "PRIORITY_UPDATE for a stream that is not a client's")
    return named, priority(payload[4:])


class Turns(Generic[T]):
    """Waiting streams by urgency. The caller puts in each stream at most once."""

    __slots__ = ("_queues", "size")

    def __init__(self) -> None:
        self._queues: list[deque[T] | None] = []  # until something waits
        self.size = 0

    def put(self, stream: T, urgency: int, first: bool = False) -> None:
        """Add a stream behind the others of its urgency, or in front of them."""
        if not self._queues:
            self._queues = [None] * _URGENCIES
        queue = self._queues[urgency]
        if queue is None:
            queue = self._queues[urgency] = deque()
        if first:
            queue.appendleft(stream)
        else:
            queue.append(stream)
        self.size += 1

    def remove(self, stream: T) -> None:
        """It has nothing to send any more."""
        for queue in self._queues:
            if queue and stream in queue:
                queue.remove(stream)
                self.size -= 1
                return

    def take(self) -> T | None:
        """Remove and return the next stream; None if there is none."""
        if self.size:
            for queue in self._queues:
                if queue:
                    self.size -= 1
                    return queue.popleft()
        return None
