"""What a connection wants of whatever occupies one of its streams: the interface only.

`exchange.Http2Exchange` is a request, `tunnel.Tunnel` a WebSocket.
"""

from __future__ import annotations

from typing import Protocol


class Occupant(Protocol):
    """Made when a stream begins; `Stream.exchange` until it is closed."""

    def begin(self) -> bool:
        """Call the application: everything that was read together with the request has been parsed. What `is_over`
        says afterwards.
        """

    @property
    def is_over(self) -> bool:
        """Whether the application has answered or returned, or will never be called."""

    def arrived(self, data: bytes) -> None:
        """A part of what the peer sends; `Stream.peer_ended` says whether it was the last."""

    def lost(self) -> None:
        """The stream is closed before its time, or the whole connection is."""

    def resume_writing(self) -> None:
        """There is room again."""

    def look(self, now: float) -> None:
        """End what is too slow. Called by the worker's one timer; `now` in seconds of its coarse clock."""

    def retire(self) -> None:
        """The connection is to end."""

    def eof(self) -> None:
        """The peer sends nothing more on this connection, and may still read."""

    def hang_up(self) -> None:
        """The application shall end: the drain's deadline is near."""

    def in_work(self, now: float) -> str:
        """A line for a person; "" when nothing is in work."""
