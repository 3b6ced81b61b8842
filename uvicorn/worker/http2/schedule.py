"""Which stream sends next, when all cannot: by urgency (RFC 9218, 4.1), and in turns within one.

Owns: the order of streams that have something to send. Must not: know windows. Fails by: `Fault`, for a
frame that says it in a wrong way.
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
    """The urgency in a Priority field (RFC 9218, 4.1); what is not understood counts as not said."""
    urgency = _urgency(value)
    return int(urgency[1]) if urgency else DEFAULT_URGENCY


def priority_fault(stream: int, payload: bytes) -> tuple[int, str]:
    """(error code, reason) for a PRIORITY frame, (0, "") for one in order. HTTP/2 has no use for it any more, but
    judges its form (RFC 9113, 5.3.2 and 6.3). Raises Fault where no stream is named.
    """
    if not stream:
        raise Fault(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
    if len(payload) != 5:
        return Code.FRAME_SIZE_ERROR, "PRIORITY of the wrong size"
    if number(payload) == stream:
        return Code.PROTOCOL_ERROR, "a stream that depends on itself"
    return 0, ""


def read_priority_update(stream: int, payload: bytes) -> tuple[int, int]:
    """(a stream, its urgency) as PRIORITY_UPDATE on `stream` has it (RFC 9218, 7.1). Raises Fault."""
    if stream:
        raise Fault(Code.PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream")
    if len(payload) < 4:
        raise Fault(Code.FRAME_SIZE_ERROR, "PRIORITY_UPDATE of the wrong size")
    named = number(payload)
    if not named & 1:
        raise Fault(Code.PROTOCOL_ERROR, "PRIORITY_UPDATE of a stream that no client begins")
    return named, priority(payload[4:])


class Turns(Generic[T]):
    """Streams by urgency. Each is in it once at most: whoever puts one in knows that."""

    __slots__ = ("_queues", "size")

    def __init__(self) -> None:
        self._queues: list[deque[T] | None] = [None] * _URGENCIES
        self.size = 0

    def put(self, stream: T, urgency: int, first: bool = False) -> None:
        """Behind the others of its urgency, or before them."""
        queue = self._queues[urgency]
        if queue is None:
            queue = self._queues[urgency] = deque()
        if first:
            queue.appendleft(stream)
        else:
            queue.append(stream)
        self.size += 1

    def take(self) -> T | None:
        """The next one; None when there is none."""
        if self.size:
            for queue in self._queues:
                if queue:
                    self.size -= 1
                    return queue.popleft()
        return None
