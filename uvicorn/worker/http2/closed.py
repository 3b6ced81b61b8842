"""How the streams of a connection closed, as long as that matters (RFC 9113, 5.1).

A frame for a closed stream may have been on its way when we reset the stream; after the peer's own reset or END_STREAM
it is an error. Nearly all streams close because both sides have ended them. Those are not remembered; of the reset ones
and of stream numbers that the peer has skipped only the last ones are.

Owns: that bounded memory. Must not: send. Fails by: `Fault` for a connection error.
"""

from __future__ import annotations

from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.reading import Fault

REMEMBERED = 1024
"""The number of resets that are remembered."""
GAPS = 16
"""The number of gaps between stream numbers that are remembered."""

BY_US, BY_PEER = range(2)
"""Which side has reset a stream."""


class ClosedStreams:
    """The closed streams of one connection."""

    __slots__ = ("_gaps", "_resets")

    def __init__(self) -> None:
        self._resets: dict[int, int] = {}
        self._gaps: tuple[range, ...] = ()

    def remember(self, number: int, how: int) -> None:
        """A stream was reset, or refused."""
        self._resets[number] = how
        if len(self._resets) > REMEMBERED:
            del self._resets[next(iter(self._resets))]

    def left_out(self, first: int, next_one: int) -> None:
        """The peer has opened `next_one`: the unused streams from `first` on are closed (RFC 9113, 5.1.1)."""
        self._gaps = (*self._gaps[1 - GAPS :], range(first, next_one, 2))

    def judge(self, number: int, what: str) -> str:
        """The reason to reset a closed stream for which the peer has sent a `what` frame; "" if the frame is to be
        ignored. Raises Fault for a connection error.
        """
        how = self._resets.get(number)
        if how == BY_US:
            return ""
        if how == BY_PEER:
            return f"{what} after RST_STREAM"
        if any(number in gap for gap in self._gaps):
            raise Fault(Code.PROTOCOL_ERROR, f"{what} on a skipped stream")
        raise Fault(Code.STREAM_CLOSED, f"{what} on a closed stream")
