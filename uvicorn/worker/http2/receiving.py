"""The windows for what is received: what the peer may still send, and when it may send more (RFC 9113, 5.2).

Every byte of DATA counts against its stream's window and the connection's, until somebody has taken it or does not
want it. The peer hears of that when half of a window is free again.

Owns: both kinds of window. Must not: judge anything else. Fails by: `counts` and `counts_for`, which say that there
was more than a window allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from uvicorn.worker.http2.frames import FIRST_WINDOW, window_update
from uvicorn.worker.http2.streams import Stream

CONNECTION_WINDOW = 1 << 20
"""Bytes of all bodies that a peer may send before any is taken."""


class Intake:
    """`size` is a stream's window as our settings have it. Until the peer has acknowledged them, everybody's first
    window holds where it is larger."""

    __slots__ = ("_credit", "_say", "_size", "_window", "first")

    def __init__(self, size: int, say: Callable[[bytes], None]) -> None:
        self._size = size
        self._say = say
        self.first = max(FIRST_WINDOW, size)
        """The window of a stream that begins now."""
        self._window = CONNECTION_WINDOW
        self._credit = 0

    def acknowledged(self, streams: Iterable[Stream]) -> None:
        """The peer knows our settings now."""
        less = self.first - self._size
        if less:
            self.first = self._size
            for stream in streams:
                stream.window_in -= less

    def counts(self, size: int) -> bool:
        """So many bytes came. False when they are more than the connection's window."""
        self._window -= size
        return self._window >= 0

    def counts_for(self, stream: Stream, size: int) -> bool:
        """They are a stream's. False when they are more than its window."""
        stream.window_in -= size
        if stream.window_in < 0:
            return False
        stream.owed += size
        return True

    def taken(self, stream: Stream, size: int) -> None:
        """So many bytes of a stream were taken, or are not wanted any more."""
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
        """Nobody takes the rest."""
        if stream.owed:
            self.give_back(stream.owed)
            stream.owed = 0

    def give_back(self, size: int) -> None:
        """Of the connection's window only."""
        self._credit += size
        if self._credit >= CONNECTION_WINDOW // 2:
            self._window += self._credit
            self._say(window_update(0, self._credit))
            self._credit = 0
