"""An HTTP/2 client for tests, as bytes: frames and header blocks by hand, so that they can be wrong; and what a
server says.

Nothing here uses the code that is tested.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

KINDS = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
]
"""RFC 9113, 6."""
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
WITH_PRIORITY = 32

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = range(6, 10)
ENHANCE_YOUR_CALM = 11

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
ENABLE_CONNECT_PROTOCOL = 8

Field = tuple[bytes, bytes]


class Frame(NamedTuple):
    """One frame that a server has sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def __str__(self) -> str:
        name = KINDS[self.kind] if self.kind < len(KINDS) else f"type {self.kind}"
        return f"{name}(flags={self.flags}, stream={self.stream}, {self.payload[:40]!r})"

    @property
    def number(self) -> int:
        """The error code of RST_STREAM, the increment of WINDOW_UPDATE."""
        return int.from_bytes(self.payload[:4], "big")

    @property
    def goaway(self) -> tuple[int, int]:
        """(last stream, error code)."""
        return int.from_bytes(self.payload[:4], "big"), int.from_bytes(self.payload[4:8], "big")


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *one) for one in values))


def hello(*values: tuple[int, int]) -> bytes:
    """What a client begins with."""
    return PREFACE + settings(*values)


def literal(name: bytes, value: bytes, first: int = 0) -> bytes:
    """A field as RFC 7541, 6.2.2 has it: with its name, and in no table. `first` 0x40 puts it into the table."""
    return bytes([first]) + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest = len(text) - 127
    out = bytearray([127])
    while rest >= 128:
        out.append(rest % 128 | 128)
        rest //= 128
    return bytes(out) + bytes([rest]) + text


def block(fields: Iterable[Field]) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)


def request_fields(
    *more: Field, method: bytes = b"GET", path: bytes = b"/", authority: bytes = b"a.test"
) -> list[Field]:
    """Those of a request that is in order, and `more`."""
    return [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path), *more]


def headers(stream: int, fields: Iterable[Field], flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, block(fields))


def get(stream: int, *more: Field, path: bytes = b"/") -> bytes:
    """A request without a body."""
    return headers(stream, request_fields(*more, path=path))


def post(stream: int, *more: Field) -> bytes:
    """The head of a request whose body follows."""
    return headers(stream, request_fields(*more, method=b"POST"), END_HEADERS)


def data(stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, payload)


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big"))


def split(data: bytes) -> list[Frame]:
    """The frames in what a server has sent. Raises ValueError where the last one is not whole."""
    found, rest = frames_in(data)
    if rest:
        raise ValueError(f"{len(rest)} bytes of a frame that is not whole")
    return found


def frames_in(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the beginning of `data`, and what is left."""
    found = []
    at = 0
    while len(data) - at >= 9:
        size = int.from_bytes(data[at : at + 3], "big")
        if len(data) - at - 9 < size:
            break
        stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
        found.append(Frame(data[at + 3], data[at + 4], stream, data[at + 9 : at + 9 + size]))
        at += 9 + size
    return found, data[at:]
