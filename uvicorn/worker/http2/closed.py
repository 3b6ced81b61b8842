"""How the streams of a connection closed, for as long as that matters (RFC 9113, 5.1).

What a peer says of a closed stream may have been on its way when we reset it; after its own reset or its own end it
is a fault. Nearly all streams close because both sides have said everything: they are remembered by nothing, and
neither are those that a peer has left out, but for the last ones.

Owns: that memory, which is bounded. Must not: send. Fails by: `Fault`, where the connection has to end for it.
"""

from __future__ import annotations

from collections import deque

from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.reading import Fault

REMEMBERED = 1024
"""Resets that are remembered: the last ones."""
GAPS = 16
"""Gaps between the numbers of streams that are remembered: the last ones."""

BY_US, BY_PEER = range(2)
"""Who has reset it."""


class ClosedStreams:
    """Those of one connection."""

    __slots__ = ("_gaps", "_resets")

    def __init__(self) -> None:
        self._resets: dict[int, int] = {}
        self._gaps: deque[range] = deque(maxlen=GAPS)

    def remember(self, number: int, how: int) -> None:
        """It was reset, perhaps instead of being opened."""
        self._resets[number] = how
        if len(self._resets) > REMEMBERED:
            del self._resets[next(iter(self._resets))]

    def left_out(self, first: int, next_one: int) -> None:
        """The peer has gone on with `next_one`: the streams before it are closed (RFC 9113, 5.1.1)."""
        self._gaps.append(range(first, next_one, 2))

    def judge(self, number: int, what: str) -> str:
        """Why the stream is to be reset for `what` the peer has sent on it; "" when that is to be ignored. Raises
        Fault.
        """
        how = self._resets.get(number)
        if how == BY_US:
            return ""
        if how == BY_PEER:
            return f"{what} after a reset"
        if any(number in gap for gap in self._gaps):
            raise Fault(Code.PROTOCOL_ERROR, f"{what} on a stream that is older than the last one")
        raise Fault(Code.STREAM_CLOSED, f"{what} on a stream that is closed")
