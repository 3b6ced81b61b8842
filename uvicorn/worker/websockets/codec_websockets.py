"""Frames by the package websockets: its sans-I/O core, and a short way for the frame that makes up nearly all traffic.

A whole, unfragmented data frame is unmasked and handed on here. Every other frame (fragments, control frames, what is
malformed or too large) goes to the library's `Protocol`, one whole frame at a time, so that it is always at a frame's
boundary and both ways can alternate. It is made when it is first needed: an idle connection has neither it nor a
decompressor. A differential test compares this codec with the library alone.

Owns: the bytes of frames that are not complete, and the library's state. Must not: know asyncio or ASGI, or read a clock.
Fails by: telling its sink that the connection is over, with the close code.
"""

from __future__ import annotations

import codecs
import logging
import zlib
from typing import TYPE_CHECKING, Any

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import OPEN, Protocol, Side
from websockets.typing import ExtensionHeader

try:
    from websockets.speedups import apply_mask
except ImportError:  # the package was installed without its C part
    from websockets.utils import apply_mask

from uvicorn.worker.websockets.sink import NO_STATUS, check_close

if TYPE_CHECKING:
    from uvicorn.worker.websockets.sink import Sink

_TEXT, _BINARY, _COMPRESSED, _FIN, _MASKED = 0x1, 0x2, 0x40, 0x80, 0x80
_PONG = _FIN | 0xA
_PLAIN = frozenset((_FIN | _TEXT, _FIN | _BINARY))
_DEFLATED = frozenset((_FIN | _COMPRESSED | _TEXT, _FIN | _COMPRESSED | _BINARY))
_TAIL = b"\x00\x00\xff\xff"
_silent = logging.getLogger("uvicorn.asgi.frames")
_silent.setLevel(logging.CRITICAL)
"""What the library would say of a fault, the session says."""

_WINDOW_BITS = 12
_FACTORY = ServerPerMessageDeflateFactory(
    server_max_window_bits=_WINDOW_BITS,
    client_max_window_bits=_WINDOW_BITS,
    compress_settings={"memLevel": 5},
)
"""Windows of 4 KiB: a connection that compresses costs a tenth of what zlib would take by default."""


class Deflate(PerMessageDeflate):
    """permessage-deflate (RFC 7692) as negotiated, without a compressor or decompressor until it is used."""

    def __init__(self, negotiated: PerMessageDeflate) -> None:
        self.remote_no_context_takeover = negotiated.remote_no_context_takeover
        self.local_no_context_takeover = negotiated.local_no_context_takeover
        self.remote_max_window_bits = negotiated.remote_max_window_bits
        self.local_max_window_bits = negotiated.local_max_window_bits
        self.compress_settings = negotiated.compress_settings
        self.decode_cont_data = False

    def __getattr__(self, name: str) -> Any:
        """`encoder` and `decoder` are made when they are first asked for."""
        if name == "decoder":
            self.decoder = zlib.decompressobj(wbits=-self.remote_max_window_bits)
            return self.decoder
        if name == "encoder":
            self.encoder = zlib.compressobj(wbits=-self.local_max_window_bits, **self.compress_settings)
            return self.encoder
        raise AttributeError(name)

    def compress(self, data: bytes) -> bytes:
        """The payload of one message."""
        encoder = self.encoder
        packed: bytes = encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH)
        if self.local_no_context_takeover:
            del self.encoder
        return packed[:-4]


def negotiate(offers: str) -> tuple[str | None, Deflate | None]:
    """(the value of the answer's Sec-WebSocket-Extensions, what it stands for); what cannot be served is passed over."""
    try:
        parsed = parse_extension(offers) if offers else []
    except InvalidHeader:
        return None, None
    for name, parameters in parsed:
        if name == _FACTORY.name:
            try:
                answer, extension = _FACTORY.process_request_params(parameters, [])
            except NegotiationError:
                continue
            header: list[ExtensionHeader] = [(name, answer)]
            return build_extension(header), Deflate(extension)
    return None, None


class Codec:
    """Frames of one connection, both ways. `max_size` bounds a message in bytes, inflated if it is compressed."""

    __slots__ = ("_buffer", "_deflate", "_kind", "_library", "_max_size", "_needed", "_parts", "_sink", "_utf8", "over")

    def __init__(self, sink: Sink, max_size: int, deflate: Deflate | None) -> None:
        self._sink = sink
        self._max_size = max_size
        self._deflate = deflate
        self._library: Protocol | None = None
        self._buffer = bytearray()
        self._needed = 0
        self._kind = 0
        self._parts: list[Any] = []
        self._utf8: codecs.IncrementalDecoder | None = None
        self.over = False

    # -- in ----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take in bytes of the peer; the sink hears of every message that is complete."""
        buffer = self._buffer
        view: bytes | bytearray = data
        if buffer:
            buffer += data
            if len(buffer) < self._needed:
                return
            view = buffer
        self._needed = 0
        at, size = 0, len(view)
        while not self.over and size - at >= 2:
            length = view[at + 1] & 0x7F
            head = 2
            if length >= 126:
                head = 4 if length == 126 else 10
                if size - at < head:
                    self._needed = head
                    break
                length = int.from_bytes(view[at + 2 : at + head], "big")
            if view[at + 1] & _MASKED:
                head += 4
            end = at + head + length
            if length > self._max_size or not view[at + 1] & _MASKED:
                self._pass_on(bytes(view[at:]))  # the head alone is a fault
                at = size
                break
            if end > size:
                self._needed = end - at
                break
            first = view[at]
            if first in _PLAIN and not self._kind:
                self._message(first & 0xF, apply_mask(view[at + head : end], view[at + head - 4 : at + head]))
            elif first in _DEFLATED and not self._kind and self._deflate is not None:
                self._inflate(first & 0xF, apply_mask(view[at + head : end], view[at + head - 4 : at + head]))
            elif first == _PONG and length <= 125:
                self._sink.ponged(bytes(apply_mask(view[at + head : end], view[at + head - 4 : at + head])))
            else:
                self._pass_on(bytes(view[at:end]))
            at = end
        self._buffer = bytearray(view[at:]) if at < size and not self.over else bytearray()

    def _message(self, kind: int, payload: bytes) -> None:
        if kind == _BINARY:
            self._sink.message(None, bytes(payload))
            return
        try:
            text = str(payload, "utf-8")
        except UnicodeDecodeError:
            self.fail(1007, "invalid UTF-8")
            return
        self._sink.message(text, None)

    def _inflate(self, kind: int, payload: bytes) -> None:
        deflate = self._deflate
        assert deflate is not None
        decoder = deflate.decoder
        try:
            data = decoder.decompress(bytes(payload) + _TAIL, self._max_size + 1)
        except zlib.error:
            self.fail(1002, "decompression failed")
            return
        if len(data) > self._max_size:
            self.fail(1009, f"over size limit of {self._max_size} bytes")
            return
        if deflate.remote_no_context_takeover:
            del deflate.decoder
        self._message(kind, data)

    def _pass_on(self, frame: bytes) -> None:
        """A frame that needs the whole protocol."""
        library = self._protocol()
        library.receive_data(frame)
        for event in library.events_received():
            self._hear(event.opcode, event.data, event.fin)
            if self.over:
                return
        self._write_out(library)
        closed = library.close_rcvd
        if closed is not None:
            self._end(int(closed.code), closed.reason)
        elif library.parser_exc is not None:
            sent = library.close_sent
            self._end(int(sent.code) if sent is not None else 1006, sent.reason if sent is not None else "")

    def _hear(self, opcode: Opcode, data: Any, fin: bool) -> None:
        if opcode is Opcode.PONG:
            self._sink.ponged(bytes(data))
        elif opcode in (Opcode.TEXT, Opcode.BINARY):
            self._kind = int(opcode)
            self._utf8 = codecs.getincrementaldecoder("utf-8")() if opcode is Opcode.TEXT else None
            self._fragment(data, fin)
        elif opcode is Opcode.CONT:
            self._fragment(data, fin)

    def _fragment(self, data: Any, fin: bool) -> None:
        try:
            self._parts.append(self._utf8.decode(bytes(data), fin) if self._utf8 is not None else bytes(data))
        except UnicodeDecodeError:
            self.fail(1007, "invalid UTF-8")
            return
        if fin:
            parts, self._parts, kind, self._kind = self._parts, [], self._kind, 0
            if kind == _TEXT:
                self._sink.message("".join(parts), None)
            else:
                self._sink.message(None, b"".join(parts))

    # -- out ---------------------------------------------------------------------------------------------------

    def text(self, text: str) -> bytes:
        return self._frame(_TEXT, text.encode())

    def binary(self, data: bytes) -> bytes:
        return self._frame(_BINARY, data)

    def _frame(self, kind: int, data: bytes) -> bytes:
        first = _FIN | kind
        if self._deflate is not None:
            first |= _COMPRESSED
            data = self._deflate.compress(data)
        size = len(data)
        if size < 126:
            return bytes((first, size)) + data
        if size < 65536:
            return bytes((first, 126)) + size.to_bytes(2, "big") + data
        return bytes((first, 127)) + size.to_bytes(8, "big") + data

    def ping(self, payload: bytes) -> bytes:
        """A ping frame; the payload has 125 bytes at most."""
        return bytes((_FIN | 0x9, len(payload))) + payload

    def close(self, code: int, reason: str) -> bytes:
        """The close frame; b"" when one was sent already. Messages of the peer are heard until its own arrives.

        Raises ValueError for a code that may not be sent, or a reason that is too long (RFC 6455, 5.5 and 7.4).
        """
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
        """End the connection for a fault: the close frame, and nothing is heard any more."""
        library = self._protocol()
        library.fail(code, reason)
        self._write_out(library)
        self._end(code, reason)

    # -- the library -------------------------------------------------------------------------------------------

    def _protocol(self) -> Protocol:
        if self._library is None:
            self._library = Protocol(Side.SERVER, max_size=self._max_size, logger=_silent)
            if self._deflate is not None:
                self._library.extensions = [self._deflate]
        return self._library

    def _write_out(self, library: Protocol) -> None:
        data = b"".join(library.data_to_send())
        if data:
            self._sink.write(data)

    def _end(self, code: int, reason: str) -> None:
        if not self.over:
            self.over = True
            self._sink.ended(code, reason)
