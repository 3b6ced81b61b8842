"""The flow-control windows for received data (RFC 9113, 5.2).

Every byte of DATA counts against the window of its stream and that of the connection, until the application has taken
it or it was dropped. WINDOW_UPDATE is sent when half of a window is free again.

Owns: both kinds of window. Must not: judge anything else. Fails by: `counts` and `counts_for`, which return False when
the peer has sent more than a window allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from uvicorn.worker.http2.frames import FIRST_WINDOW, window_update
from uvicorn.worker.http2.streams import Stream

CONNECTION_WINDOW = 1 << 20
"""The connection's window: bytes of all bodies that may be received and not taken yet."""


class Intake:
    """`size` is a stream's window in our SETTINGS. Until the peer has acknowledged them, the protocol's initial window
    counts if it is larger."""

    __slots__ = ("_credit", "_say", "_size", "_window", "first")

    def __init__(self, size: int, say: Callable[[bytes], None]) -> None:
        self._size = size
        self._say = say
        self.first = max(FIRST_WINDOW, size)
        """The window of a new stream."""
        self._window = CONNECTION_WINDOW
        self._credit = 0

    def acknowledged(self, streams: Iterable[Stream]) -> None:
        """The peer has acknowledged our SETTINGS."""
        less = self.first - self._size
        if less:
            self.first = self._size
            for stream in streams:
                stream.window_in -= less

    def counts(self, size: int) -> bool:
        """Count received bytes. False if they exceed the connection's window."""
        self._window -= size
        return self._window >= 0

    def counts_for(self, stream: Stream, size: int) -> bool:
        """Count received bytes of a stream. False if they exceed its window."""
        stream.window_in -= size
        if stream.window_in < 0:
            return False
        stream.owed += size
        return True

    def taken(self, stream: Stream, size: int) -> None:
        """The application has taken bytes of a stream, or they were dropped."""
        if not size or stream.closed:
            return
        stream.owed -= size
        self.give_back(size)
        if not stream.peer_ended:
            stream.credit += size
            if stream.credit >= self._size // 2:
                stream.window_in += stream.credit
                self._say(window_update(stream.id, stream.credit))
                stream.credit = 0

    def closed(self, stream: Stream) -> None:
        """Give the bytes back that the application has not taken."""
        if stream.owed:
            self.give_back(stream.owed)
            stream.owed = 0

    def give_back(self, size: int) -> None:
        """Give bytes back to the connection's window only."""
        self._credit += size
        if self._credit >= CONNECTION_WINDOW // 2:
            self._window += self._credit
            self._say(window_update(0, self._credit))
            self._credit = 0
