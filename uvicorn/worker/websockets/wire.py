"""What a WebSocket session needs of whatever carries it: the interface only.

Over HTTP/1.1 a session has a transport to itself, and `protocol.SessionProtocol` is its wire. Over HTTP/2 (RFC 8441)
the wire is a stream of a connection that has others as well (`http2/tunnel`): the stream's flow control stands in for
`writable` and `resume_reading`, END_STREAM and RST_STREAM for `end` and `abort`. Must not: contain code of either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn._types import Message
from uvicorn.worker.http import call

if TYPE_CHECKING:
    from uvicorn.worker.websockets.frames import Frames
    from uvicorn.worker.websockets.handshake import Offer


class Wire(call.Host, Protocol):
    """Carries one session: the answer to its handshake, and then its frames."""

    @property
    def writable(self) -> bool:
        """Whether there is room for more. The wire calls `Session.resume_writing` when there is again."""

    @property
    def retiring(self) -> bool:
        """Whether the server drains: it sends its peers away, or will do so in a moment."""

    # -- the answer to the handshake --------------------------------------------------------------------------

    def accept(
        self, offer: Offer, subprotocol: str | None, extension: str | None, fields: Sequence[tuple[bytes, bytes]]
    ) -> bytes:
        """Accept the handshake. The head of the answer, for the access log.

        Raises ValueError or TypeError for what cannot be put on the wire, and nothing was written then.
        """

    def carry(self, frames: Frames) -> None:
        """The handshake was accepted: from now on bytes go to `frames`, those that arrived before as well."""

    def refuse(self, status: int, text: str, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer with a whole response of the server's own, with these header fields."""

    def begin_denial(self, start: Message) -> None:
        """The application answers with a response; its head is sent with the first part of the body."""

    def deny(self, body: bytes, more: bool) -> None:
        """A part of that response's body, the last one unless `more`. Raises as `accept` does."""

    @property
    def denial_begun(self) -> bool:
        """Whether the head of that response was sent."""

    # -- frames -----------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send these bytes; never fails, even if the peer is gone."""

    def pause_reading(self) -> None:
        """Take nothing more from the peer for now."""

    def resume_reading(self) -> None:
        """Take on. May be called when nothing is paused."""

    # -- the end ----------------------------------------------------------------------------------------------

    def expect_close(self) -> None:
        """Our close frame was sent: the peer has a limited time to answer it."""

    def end(self, last: bytes, failed: bool) -> None:
        """Send `last` and close. The peer of a connection that `failed` may be sending: it must still get `last`."""

    def close(self) -> None:
        """Close once everything is written."""

    def abort(self) -> None:
        """Close without waiting for anything."""

    def soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call it in the next turn of the loop, in the server's context."""
