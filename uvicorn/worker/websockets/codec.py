"""What all frame codecs have in common: their interface, whom they report to, and the wire form of simple frames.

Owns: the protocols `Codec` and `Sink`, and what RFC 6455 says about close codes and unmasked frames. Must not: contain
code of a codec or of a session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uvicorn.worker.websockets.deflate import Deflate

NO_STATUS = 1005
"""Stands for a close frame without a code (RFC 6455, 7.4.1); never on the wire."""

_ASSIGNED = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))


class Sink(Protocol):
    """The methods that a codec calls while it takes in bytes."""

    @property
    def full(self) -> bool:
        """Whether the queue of messages is full. Then the codec keeps what follows as bytes."""

    def message(self, content: str | bytes) -> None:
        """A whole message: text or binary."""

    def pinged(self, payload: bytes) -> None:
        """The peer wants a pong."""

    def ponged(self, payload: bytes) -> None:
        """The peer answers a ping, or sends an unsolicited pong (RFC 6455, 5.5.3)."""

    def ended(self, code: int, reason: str, answer: bytes, failed: bool) -> None:
        """The codec takes in nothing more: the peer's close frame arrived, or the connection `failed` (RFC 6455,
        7.1.7).

        `answer` is the close frame to send, empty if one was sent before.
        """


class Codec(Protocol):
    """Frames of one WebSocket, both ways. Bytes in, messages out; no I/O and no clock."""

    over: bool
    """Whether the sink was told of the end: nothing more is taken in."""

    def __init__(self, sink: Sink, max_size: int, deflate: Deflate | None) -> None:
        """`max_size`: the most bytes of a message, inflated if it is compressed. `deflate`: None if none was agreed."""

    @property
    def pending(self) -> int:
        """Bytes that were received and are not part of a message yet."""

    def whole(self, data: bytes) -> str | bytes | None:
        """The message, if `data` is exactly one frame with a whole message; else None, and nothing was taken in."""

    def receive(self, data: bytes) -> None:
        """Take in bytes of the peer. The sink hears of every complete message until it is full."""

    def text(self, text: str) -> bytes:
        """The frame of a text message."""

    def binary(self, data: bytes) -> bytes:
        """The frame of a binary message."""

    def ping(self, payload: bytes) -> bytes:
        """A ping frame; the payload has 125 bytes at most."""

    def pong(self, payload: bytes) -> bytes:
        """A pong frame."""

    def close(self, code: int, reason: str) -> bytes:
        """The close frame; empty if one was sent before. Messages of the peer are taken in until its own arrives.

        Raises ValueError for a code that may not be sent, or a reason that is too long (RFC 6455, 5.5 and 7.4).
        """

    def fail(self, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455, 7.1.7): the sink gets the close frame, and nothing more is taken in."""


def check_close(code: int, reason: str) -> None:
    """Raises ValueError for a code that may not be sent, or a reason above 123 bytes (RFC 6455, 5.5 and 7.4)."""
    if code != NO_STATUS and code not in _ASSIGNED and not 3000 <= code < 5000:
        raise ValueError(f"A WebSocket cannot be closed with code {code}.")
    if len(reason.encode()) > 123:
        raise ValueError("The reason of a WebSocket close has at most 123 bytes in UTF-8.")


def data_frame(first: int, data: bytes) -> bytes:
    """A whole, unmasked frame (RFC 6455, 5.2): `first` is its first byte."""
    size = len(data)
    if size < 126:
        return b"%c%c%b" % (first, size, data)
    if size < 65536:
        return b"%c\x7e%b%b" % (first, size.to_bytes(2, "big"), data)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8, "big"), data)
