"""What a frame codec tells its session, and what both know about closing. No code of either."""

from __future__ import annotations

from typing import Protocol

NO_STATUS = 1005
"""Stands for a close frame without a code (RFC 6455, 7.4.1); never on the wire."""

_ASSIGNED = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))


class Sink(Protocol):
    """The methods that a codec calls while it takes in bytes."""

    full: bool
    """Whether messages wait that nobody took: the codec keeps what follows as bytes until it is asked again."""

    def message(self, text: str | None, data: bytes | None) -> None:
        """A whole message: one of both is None."""

    def pinged(self, payload: bytes) -> None:
        """The peer wants a pong."""

    def ponged(self, payload: bytes) -> None:
        """The peer answers a ping, or says that it is there."""

    def ended(self, code: int, reason: str, answer: bytes, failed: bool) -> None:
        """Nothing more is heard: the peer's close frame arrived, or the connection `failed`. `answer` is to be sent."""


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
