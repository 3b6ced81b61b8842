"""How the streams of a connection closed, for as long as that matters (RFC 9113, 5.1).

What a peer says of a closed stream may have been on its way when we reset it; after its own reset or its own end it
is a fault. Owns: that memory, which is bounded. Must not: send. Fails by: `Fault`, where the connection has to end
for it.
"""

from __future__ import annotations

from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.reading import Fault

REMEMBERED = 1024
"""Streams of which is known how they closed: the last ones."""

BY_US, BY_PEER, ENDED = range(3)
"""A reset of ours; a reset of the peer's; or both sides had said everything."""


class ClosedStreams:
    """The last ones of a connection."""

    __slots__ = ("_how",)

    def __init__(self) -> None:
        self._how: dict[int, int] = {}

    def remember(self, number: int, how: int) -> None:
        """It has closed, or was never opened."""
        self._how[number] = how
        if len(self._how) > REMEMBERED:
            del self._how[next(iter(self._how))]

    def judge(self, number: int, what: str) -> str:
        """Why the stream is to be reset for `what` the peer has sent on it; "" when that is to be ignored. Raises
        Fault.
        """
        how = self._how.get(number)
        if how == BY_US:
            return ""
        if how == BY_PEER:
            return f"{what} after a reset"
        if how == ENDED:
            raise Fault(Code.STREAM_CLOSED, f"{what} on a stream that is closed")
        if what == "HEADERS":
            raise Fault(Code.PROTOCOL_ERROR, "a stream that is older than the last one")
        return f"{what} on a stream that is closed"
