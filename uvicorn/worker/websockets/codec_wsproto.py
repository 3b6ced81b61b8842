"""The frame codec over the package wsproto, which is several times slower than the other one.

All bytes go through the library's `Connection`. What it lacks is added here: a limit for the size of messages, counted
while they arrive (inflated, if they are compressed), and permessage-deflate by `deflate`.

Owns: the library's state and the parts of a message. Must not: know asyncio or ASGI, or read a clock. Fails by:
telling its sink that the connection is over, with the close code.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

from uvicorn.worker.websockets.codec import NO_STATUS, check_close, data_frame
from uvicorn.worker.websockets.deflate import Deflate, TooBig

if TYPE_CHECKING:
    from uvicorn.worker.websockets.codec import Sink

_WHOLE_TEXT, _WHOLE_BINARY, _COMPRESSED = 0x81, 0x82, 0x40


class _Bounded(Extension):
    """permessage-deflate where it was agreed, and the limit for a message, checked before its payload is taken in."""

    name = "bounded"

    def __init__(self, deflate: Deflate | None, max_size: int) -> None:
        self._deflate = deflate
        self._max_size = max_size
        self._size = 0
        self._compressed = self._control = False
        self._inside = False

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool | str:
        return False

    def frame_inbound_header(self, proto: Any, opcode: Opcode, rsv: RsvBits, payload_length: int) -> Any:
        self._control = opcode.iscontrol()
        if self._control:
            return RsvBits(False, False, False)
        if not self._inside:  # called again for the same header while its mask is incomplete
            self._size = 0
            self._compressed = rsv.rsv1 and self._deflate is not None
        elif rsv.rsv1:
            return CloseReason.PROTOCOL_ERROR
        if payload_length > self._max_size - (0 if self._compressed else self._size):
            return CloseReason.MESSAGE_TOO_BIG
        return RsvBits(self._deflate is not None, False, False)

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> Any:
        if self._control:
            return data
        self._inside = True
        return self._inflate(data, last=False) if self._compressed and data else self._count(data)

    def frame_inbound_complete(self, proto: Any, fin: bool) -> Any:
        if self._control or not fin:
            return None
        self._inside = False
        return self._inflate(b"", last=True) if self._compressed else None

    def _inflate(self, data: bytes, last: bool) -> bytes | CloseReason:
        assert self._deflate is not None
        try:
            return self._count(self._deflate.inflate(data, last, self._max_size - self._size))
        except zlib.error:
            return CloseReason.PROTOCOL_ERROR
        except TooBig:
            return CloseReason.MESSAGE_TOO_BIG

    def _count(self, data: bytes) -> bytes:
        self._size += len(data)
        return data


class Codec:
    """See `codec.Codec`."""

    __slots__ = ("_deflate", "_library", "_parts", "_sink", "over")

    def __init__(self, sink: Sink, max_size: int, deflate: Deflate | None) -> None:
        self._sink = sink
        self._deflate = deflate
        self._library = Connection(ConnectionType.SERVER, [_Bounded(deflate, max_size)])
        self._parts = bytearray()  # not a list: a peer could send empty fragments for ever, six bytes each
        self.over = False

    @property
    def pending(self) -> int:
        """By a private attribute, because the library has no public one."""
        return len(self._library._proto._frame_decoder.buffer)

    # -- in ---------------------------------------------------------------------------------------------------

    def whole(self, data: bytes) -> None:
        """Always None: the library must see every byte."""

    def receive(self, data: bytes) -> None:
        self._library.receive_data(data)
        if self._sink.full:
            return
        for event in self._library.events():
            self._hear(event)
            if self.over or self._sink.full:
                return

    def _hear(self, event: Event) -> None:
        if isinstance(event, Message):
            if isinstance(event, TextMessage):
                if event.message_finished and not self._parts:
                    self._sink.message(event.data)
                    return
                self._parts += event.data.encode()
            else:
                self._parts += event.data
            if event.message_finished:
                parts, self._parts = self._parts, bytearray()
                if isinstance(event, TextMessage):
                    self._sink.message(parts.decode())
                else:
                    self._sink.message(bytes(parts))
        elif isinstance(event, Ping):
            self._sink.pinged(bytes(event.payload))
        elif isinstance(event, Pong):
            self._sink.ponged(bytes(event.payload))
        elif isinstance(event, CloseConnection):
            code, reason = int(event.code), event.reason or ""
            state = self._library.state
            if state is ConnectionState.REMOTE_CLOSING:
                self._report_end(code, reason, self._library.send(event.response()), failed=False)
            elif state is ConnectionState.CLOSED:
                self._report_end(code, reason, b"", failed=False)
            else:  # the library reports a fault of the peer
                self.fail(code, "")

    # -- out --------------------------------------------------------------------------------------------------

    def text(self, text: str) -> bytes:
        return self._frame(_WHOLE_TEXT, text.encode())

    def binary(self, data: bytes) -> bytes:
        return self._frame(_WHOLE_BINARY, data)

    def _frame(self, first: int, data: bytes) -> bytes:
        if self._deflate is not None:
            return data_frame(first | _COMPRESSED, self._deflate.compress(data))
        return data_frame(first, data)

    def ping(self, payload: bytes) -> bytes:
        return data_frame(0x89, payload)

    def pong(self, payload: bytes) -> bytes:
        return data_frame(0x8A, payload)

    def close(self, code: int, reason: str) -> bytes:
        if self.over or self._library.state is not ConnectionState.OPEN:
            return b""
        check_close(code, reason)
        if code == NO_STATUS:
            return self._library.send(CloseConnection(code=CloseReason.NO_STATUS_RCVD))
        return self._library.send(CloseConnection(code=code, reason=reason))

    def fail(self, code: int, reason: str) -> None:
        self._report_end(code, reason, self.close(code, reason), failed=True)

    def _report_end(self, code: int, reason: str, answer: bytes, failed: bool) -> None:
        self.over = True
        self._parts = bytearray()
        self._sink.ended(code, reason, answer, failed)
