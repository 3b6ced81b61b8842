"""The frame codec over the package websockets: its sans-I/O core, and a fast path for nearly all frames.

A data frame that is a whole message is unmasked and passed on here, and so are pings and pongs. Every other frame
(fragments, close frames, what is malformed or too large) goes to the library's `Protocol`, one whole frame at a time,
so that the library is always at the boundary of a frame and both can alternate. It is made when it is first needed: an
idle connection has neither that nor a decompressor. A differential test compares this codec with the library alone.

Owns: the bytes of incomplete frames, and the library's state. Must not: know asyncio or ASGI, or read a clock. Fails
by: telling its sink that the connection is over, with the close code.
"""

from __future__ import annotations

import codecs
import logging
import sys
import zlib
from struct import Struct
from typing import TYPE_CHECKING, Any

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.base import Extension
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

try:
    from websockets.speedups import apply_mask
except ImportError:  # the package was installed without its C part
    from websockets.utils import apply_mask

from uvicorn.worker.websockets.codec import NO_STATUS, check_close, data_frame
from uvicorn.worker.websockets.deflate import Deflate, TooBig

if TYPE_CHECKING:
    from uvicorn.worker.websockets.codec import Sink

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x88, 0x89, 0x8A
_FIN, _COMPRESSED = 0x80, 0x40
_WHOLE_TEXT, _WHOLE_BINARY = _FIN | _TEXT, _FIN | _BINARY
_CONTROL_SIZE = 125
_COPIED = 4096 if sys.implementation.name == "cpython" else sys.maxsize
"""Bytes of a payload above which a memoryview is cheaper than a copy. On PyPy a view that is no longer used still keeps
the buffer from being resized, until the garbage collector runs."""
_LENGTH_16, _LENGTH_64 = Struct("!H").unpack_from, Struct("!Q").unpack_from
_HEAD_7, _HEAD_16 = Struct("!BB4s").unpack_from, Struct("!BBH4s").unpack_from
_head_16 = Struct("!HH").pack
_TEXT_HEADS = [bytes((_WHOLE_TEXT, size)) for size in range(_CONTROL_SIZE + 1)]

_SIZE_SO_FAR = ("current_size", "cur_size")
"""The library's attribute for the size of a fragmented message so far: since its version 16, and before."""

_silent = logging.getLogger("uvicorn.asgi.frames")
_silent.setLevel(logging.CRITICAL)
"""The library logs nothing: the session logs faults."""


class _Inflating(Extension):
    """The extension with which the library inflates fragmented messages. Frames that are sent do not go through it."""

    def __init__(self, deflate: Deflate) -> None:
        self._deflate = deflate
        self._inside = False

    def encode(self, frame: Frame) -> Frame:
        return frame  # a close frame; the library sends no other

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.opcode >= 0x8 or (frame.opcode is Opcode.CONT and not self._inside):
            return frame
        if frame.opcode is Opcode.CONT:
            if frame.rsv1:
                raise ProtocolError("RSV1 bit set in continuation frame")
        elif not frame.rsv1:
            return frame
        self._inside = not frame.fin
        assert max_size is not None
        try:
            data = self._deflate.inflate(bytes(frame.data), frame.fin, max_size)
        except TooBig:
            raise PayloadTooBig(None, max_size) from None
        except zlib.error as exc:
            raise ProtocolError("decompression failed") from exc
        return Frame(frame.opcode, data, frame.fin, False, frame.rsv2, frame.rsv3)


class Codec:
    """See `codec.Codec`."""

    __slots__ = (
        "_buffer",
        "_deflate",
        "_kind",
        "_library",
        "_max_size",
        "_most",
        "_needed",
        "_parts",
        "_short",
        "_sink",
        "_utf8",
        "over",
    )

    def __init__(self, sink: Sink, max_size: int, deflate: Deflate | None) -> None:
        self._sink = sink
        self._max_size = max_size
        self._deflate = deflate
        self._library: Protocol | None = None
        self._buffer: bytearray | None = None
        self._needed = 0
        self._kind = 0
        self._parts = bytearray()  # not a list: a peer could send empty fragments for ever, six bytes each
        self._utf8: codecs.IncrementalDecoder | None = None
        self._most = self._short = min(max_size + 6, _COPIED)
        self.over = False

    @property
    def pending(self) -> int:
        return 0 if self._buffer is None else len(self._buffer)

    # -- in ---------------------------------------------------------------------------------------------------

    def whole(self, data: bytes) -> str | bytes | None:
        size = len(data)
        if size > self._short:
            return None
        if size > _CONTROL_SIZE + 6:
            first, second, length, key = _HEAD_16(data)
            if second != 0xFE or length != size - 8:
                return None
            payload = data[8:]
        elif size > 5:
            first, second, key = _HEAD_7(data)
            if second != size - 6 + 0x80:
                return None
            payload = data[6:]
        else:
            return None
        if first == _WHOLE_TEXT:
            try:
                return apply_mask(payload, key).decode()
            except UnicodeDecodeError:
                return None
        return apply_mask(payload, key) if first == _WHOLE_BINARY else None

    def receive(self, data: bytes) -> None:
        sink = self._sink
        buffer = self._buffer
        view: bytes | bytearray = data
        if buffer is not None:
            buffer += data
            if len(buffer) < self._needed:
                return
            view = buffer
            self._needed = 0
        at, size = 0, len(view)
        while size - at >= 2 and not sink.full:
            first, length = view[at], view[at + 1] - 0x80
            body = at + 6
            if length == 126:
                body = at + 8
                if body > size:
                    break
                (length,) = _LENGTH_16(view, at + 2)
            elif length == 127:
                body = at + 14
                if body > size:
                    break
                (length,) = _LENGTH_64(view, at + 2)
            if not 0 <= length <= self._max_size:
                self._pass_on(bytes(view[at:]))  # not masked, or too long: the header alone is a fault
                return
            end = body + length
            if end > size:
                self._needed = end - at
                break
            masked = view[body:end] if length < _COPIED else memoryview(view)[body:end]
            if first == _WHOLE_TEXT and not self._kind:
                self._text(apply_mask(masked, view[body - 4 : body]))
            elif first == _WHOLE_BINARY and not self._kind:
                sink.message(apply_mask(masked, view[body - 4 : body]))
            elif first & 0xBF in (_WHOLE_TEXT, _WHOLE_BINARY) and not self._kind and self._deflate is not None:
                self._inflate(first & 0xF, apply_mask(masked, view[body - 4 : body]))
            elif first in (_PING, _PONG) and length <= _CONTROL_SIZE:
                payload = apply_mask(masked, view[body - 4 : body])
                if first == _PING:
                    sink.pinged(payload)
                else:
                    sink.ponged(payload)
            else:
                self._pass_on(bytes(view[at:end]))
            at = end
            del masked
            if self.over:
                return
        self._short = 0
        if at == size:
            self._buffer = None
            if not self._kind:
                self._short = self._most
        elif buffer is not None:
            del buffer[:at]
        else:
            self._buffer = bytearray(view[at:])

    def _text(self, payload: bytes) -> None:
        try:
            text = payload.decode()  # not str(payload, "utf-8"): on PyPy that accepts lone surrogates
        except UnicodeDecodeError:
            self.fail(1007, "invalid UTF-8")
            return
        self._sink.message(text)

    def _inflate(self, kind: int, payload: bytes) -> None:
        assert self._deflate is not None
        try:
            data = self._deflate.inflate(payload, True, self._max_size)
        except zlib.error:
            self.fail(1002, "decompression failed")
        except TooBig:
            self.fail(1009, f"over size limit of {self._max_size} bytes")
        else:
            if kind == _TEXT:
                self._text(data)
            else:
                self._sink.message(data)

    def _pass_on(self, frame: bytes) -> None:
        """Give a frame to the library."""
        library = self._protocol()
        if frame[0] == _CLOSE:  # allowed between fragments (RFC 6455, 5.4), but refused by the library
            for name in _SIZE_SO_FAR:
                setattr(library, name, None)
        library.receive_data(frame)
        event: Any  # a Frame: handshakes do not go through this object
        for event in library.events_received():
            self._fragment(event.opcode, event.data, event.fin)
            if self.over:
                return
        if library.parser_exc is not None:
            code, reason = 1006, ""
            if library.close_sent is not None:
                code, reason = int(library.close_sent.code), library.close_sent.reason
            self._report_end(code, reason, failed=True)
        elif library.close_rcvd is not None:
            self._report_end(int(library.close_rcvd.code), library.close_rcvd.reason, failed=False)

    def _fragment(self, opcode: Opcode, data: Any, fin: bool) -> None:
        if opcode is Opcode.CLOSE:
            return
        if opcode is not Opcode.CONT:
            self._kind = int(opcode)
            self._utf8 = codecs.getincrementaldecoder("utf-8")() if opcode is Opcode.TEXT else None
        if self._utf8 is not None:
            try:
                self._utf8.decode(bytes(data), fin)
            except UnicodeDecodeError:
                self.fail(1007, "invalid UTF-8")
                return
        self._parts += data
        if fin:
            parts, self._parts, kind, self._kind = self._parts, bytearray(), self._kind, 0
            if kind == _TEXT:
                self._sink.message(parts.decode())
            else:
                self._sink.message(bytes(parts))

    # -- out --------------------------------------------------------------------------------------------------

    def text(self, text: str) -> bytes:
        data = text.encode()
        if self._deflate is not None:
            return data_frame(_WHOLE_TEXT | _COMPRESSED, self._deflate.compress(data))
        size = len(data)
        if size < 126:
            return _TEXT_HEADS[size] + data
        if size < 65536:
            return _head_16(_WHOLE_TEXT << 8 | 126, size) + data
        return data_frame(_WHOLE_TEXT, data)

    def binary(self, data: bytes) -> bytes:
        if self._deflate is not None:
            return data_frame(_WHOLE_BINARY | _COMPRESSED, self._deflate.compress(data))
        return data_frame(_WHOLE_BINARY, data)

    def ping(self, payload: bytes) -> bytes:
        return data_frame(_PING, payload)

    def pong(self, payload: bytes) -> bytes:
        return data_frame(_PONG, payload)

    def close(self, code: int, reason: str) -> bytes:
        library = self._protocol()
        if self.over or library.state is not OPEN:
            return b""
        check_close(code, reason)
        if code == NO_STATUS:
            library.send_close()
        else:
            library.send_close(code, reason)
        return b"".join(library.data_to_send())

    def fail(self, code: int, reason: str) -> None:
        self._protocol().fail(code, reason)
        self._report_end(code, reason, failed=True)

    # -- the library ------------------------------------------------------------------------------------------

    def _protocol(self) -> Protocol:
        if self._library is None:
            self._library = Protocol(Side.SERVER, max_size=self._max_size, logger=_silent)
            if self._deflate is not None:
                self._library.extensions = [_Inflating(self._deflate)]
        return self._library

    def _report_end(self, code: int, reason: str, failed: bool) -> None:
        self.over = True
        self._short = 0
        self._buffer = None
        self._parts = bytearray()
        answer = b"".join(self._protocol().data_to_send())
        self._sink.ended(code, reason, answer, failed)
