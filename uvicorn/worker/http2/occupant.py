"""The interface between a connection and what is served on one of its streams.

`exchange.Http2Exchange` serves a request, `tunnel.Tunnel` a WebSocket.
"""

from __future__ import annotations

from typing import Protocol


class Occupant(Protocol):
    """Made when a stream is opened; it is `Stream.exchange` until the stream is closed."""

    def begin(self) -> bool:
        """Call the application. Everything that was received together with the request has been parsed. Returns
        `is_over`.
        """

    @property
    def is_over(self) -> bool:
        """Whether it no longer counts as running: the application has answered or returned, or is never called."""

    def arrived(self, data: bytes) -> None:
        """Data was received; `Stream.peer_ended` says whether it was the last."""

    def lost(self) -> None:
        """The stream or the whole connection was closed early."""

    def resume_writing(self) -> None:
        """There is room for more data to be sent."""

    def look(self, now: float) -> None:
        """Apply the deadlines. Called by the worker's one timer; `now` in seconds of its coarse clock."""

    def retire(self) -> None:
        """The connection drains."""

    def eof(self) -> None:
        """The peer has closed its sending side of the connection, and may still read."""

    def hang_up(self) -> None:
        """Make the application end: the drain's deadline is near."""

    def in_work(self, now: float) -> str:
        """A description for the log; "" if nothing is in progress."""
