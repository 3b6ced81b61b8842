"""The frames of HTTP/2 (RFC 9113, 4 and 6): types, flags, error codes, settings, and their wire format.

Owns: the numbers and the packing. Must not: know any state. Fails by: nothing.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of a client connection (RFC 9113, 3.4)."""

HEAD_SIZE = 9
LARGEST_FRAME = 16384
"""Bytes of payload that every peer accepts, and the most that we accept (RFC 9113, 4.2)."""
LARGEST_WINDOW = (1 << 31) - 1
FIRST_WINDOW = 65535
"""The initial size of each flow-control window, in bytes (RFC 9113, 6.9.2)."""

unpack_head = struct.Struct(">IBI").unpack_from
"""Nine bytes → (length << 8 | type, flags, reserved bit and stream)."""
pack_head = struct.Struct(">IBI").pack
"""The reverse."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
"""RFC 9218, 7.1."""

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20


class Code(enum.IntEnum):
    """Error codes of RST_STREAM and GOAWAY (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(enum.IntEnum):
    """RFC 9113, 6.5.2; RFC 8441, 3; RFC 9218, 2.1."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9


_number = struct.Struct(">I")
_setting = struct.Struct(">HI")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return pack_head(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join([_setting.pack(*one) for one in values]))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The (setting, value) pairs of a SETTINGS frame, in their order."""
    return list(_setting.iter_unpack(payload))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, _number.pack(size))


def rst_stream(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, _number.pack(code))


def ping(data: bytes, flags: int = 0) -> bytes:
    return frame(PING, flags, 0, data)


def goaway(last: int, code: int, reason: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, _number.pack(last) + _number.pack(code) + reason)


def number(payload: bytes, at: int = 0) -> int:
    """The 31-bit number at `at`; the reserved bit is dropped."""
    value: int = _number.unpack_from(payload, at)[0]
    return value & LARGEST_WINDOW


def head_block(stream: int, block: bytes, flags: int, largest: int) -> bytes:
    """HEADERS, and as many CONTINUATION frames as the field block needs."""
    if len(block) <= largest:
        return pack_head(len(block) << 8 | HEADERS, flags | END_HEADERS, stream) + block
    parts = [frame(HEADERS, flags, stream, block[:largest])]
    for at in range(largest, len(block), largest):
        last = at + largest >= len(block)
        parts.append(frame(CONTINUATION, END_HEADERS if last else 0, stream, block[at : at + largest]))
    return b"".join(parts)
