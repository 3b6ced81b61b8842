"""Bytes → frames, one call each. A field block is reported once, whole (RFC 9113, 4 and 6.10).

Owns: the preface, the limits of a frame and of a field block, padding. Must not: know a stream's state. Fails by:
`Fault`, which ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable

from uvicorn.worker.http2 import frames
from uvicorn.worker.http2.frames import (
    CONTINUATION,
    END_HEADERS,
    HEAD_SIZE,
    HEADERS,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    PADDED,
    PREFACE,
    WITH_PRIORITY,
    Code,
    Setting,
    unpack_head,
)

BLOCK_BYTES = 65536
BLOCK_FRAMES = 64
"""The most bytes and frames of one field block; above either the connection ends."""
_SPECIAL = END_HEADERS | PADDED | WITH_PRIORITY
DEPENDS_ON_ITSELF = 1 << 16
"""Set beside the flags of HEADERS if its stream depends on itself (RFC 7540, 5.3.1)."""


class Fault(Exception):
    """A connection error (RFC 9113, 5.4.1): an error code and a reason, for GOAWAY and for the log."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """Calls `headers` with flags, stream and bytes of each field block, without padding and priority, and `frame` with
    type, flags, stream and payload of each other frame, until `stop` is set. `most`: the most bytes of a field section.
    """

    __slots__ = ("_begun", "_flags", "_frame", "_headers", "_most", "_rest", "_size", "_stream", "block", "stop")

    def __init__(
        self,
        headers: Callable[[int, int, bytes], None],
        frame: Callable[[int, int, int, bytes], None],
        most: int,
    ) -> None:
        self._headers = headers
        self._frame = frame
        self._most = max(BLOCK_BYTES, most)
        self._rest = b""
        self._begun = self.stop = False
        self.block: list[bytes] | None = None
        """The parts of a field block whose rest is still to come."""
        self._stream = self._flags = self._size = 0

    def feed(self, data: bytes) -> None:
        """Parse received bytes; an incomplete frame is kept until the next call. Raises Fault."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at = 0
        end = len(data)
        if not self._begun:
            if data[: len(PREFACE)] != PREFACE[:end]:
                raise Fault(Code.PROTOCOL_ERROR, "invalid connection preface")
            if end < len(PREFACE):
                self._rest = data
                return
            self._begun = True
            at = len(PREFACE)
        while end - at >= HEAD_SIZE:
            first, flags, stream = unpack_head(data, at)
            size = first >> 8
            if size > LARGEST_FRAME:
                raise Fault(Code.FRAME_SIZE_ERROR, "frame larger than SETTINGS_MAX_FRAME_SIZE")
            begin = at + HEAD_SIZE
            if begin + size > end:
                break
            at = begin + size
            kind = first & 0xFF
            stream &= LARGEST_WINDOW
            if kind == HEADERS and flags & _SPECIAL == END_HEADERS and self.block is None:
                self._headers(flags, stream, data[begin:at])  # nearly always
            elif kind == HEADERS or self.block is not None:
                self._part(kind, flags, stream, data[begin:at])
            else:
                self._frame(kind, flags, stream, data[begin:at])
            if self.stop:
                return
        if at < end:
            self._rest = data[at:]

    def _part(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        parts = self.block
        if parts is not None:
            if kind != CONTINUATION or stream != self._stream:
                raise Fault(Code.PROTOCOL_ERROR, "another frame inside a field block")
            parts.append(payload)
            self._size += len(payload)
            if self._size > self._most or len(parts) > BLOCK_FRAMES:
                raise Fault(Code.ENHANCE_YOUR_CALM, "field block too large")
            if flags & END_HEADERS:
                self.block = None
                self._headers(self._flags, stream, b"".join(parts))
            return
        if flags & (PADDED | WITH_PRIORITY):
            payload = unpadded(payload, flags)
            if flags & WITH_PRIORITY:
                if len(payload) < 5:
                    raise Fault(Code.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
                if frames.number(payload) == stream:
                    flags |= DEPENDS_ON_ITSELF
                payload = payload[5:]
        if flags & END_HEADERS:
            self._headers(flags, stream, payload)
        else:
            self.block = [payload]
            self._stream, self._flags, self._size = stream, flags, len(payload)


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload without its padding (RFC 9113, 6.1). Raises Fault."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Fault(Code.PROTOCOL_ERROR, "padding longer than the frame")
    return payload[1 : len(payload) - payload[0]]


def check_setting(name: int, value: int) -> None:
    """Raises Fault for an invalid value of a client's setting (RFC 9113, 6.5.2)."""
    if name == Setting.INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
        raise Fault(Code.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE above 2**31-1")
    if name == Setting.MAX_FRAME_SIZE and not LARGEST_FRAME <= value < 1 << 24:
        raise Fault(Code.PROTOCOL_ERROR, "invalid SETTINGS_MAX_FRAME_SIZE")
    if name in _SWITCHES and value > 1:
        raise Fault(Code.PROTOCOL_ERROR, "setting is neither 0 nor 1")


_SWITCHES = (Setting.ENABLE_PUSH, Setting.ENABLE_CONNECT_PROTOCOL, Setting.NO_RFC7540_PRIORITIES)
