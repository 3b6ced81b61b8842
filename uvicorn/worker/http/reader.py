"""Bytes → request heads and body parts. One for every codec.

States of `RequestReader`:

    HEAD ──whole head──▶ HEAD (no body) │ LENGTH (n bytes) │ CHUNK_SIZE
    LENGTH ──n bytes──▶ HEAD            CHUNK_SIZE ⇄ CHUNK_DATA, CHUNK_SIZE ──0──▶ TRAILERS ──empty line──▶ HEAD

It cuts the stream at message boundaries itself and gives a codec nothing but whole heads. That is why pipelining needs
no queue of parsed requests (the next head is parsed when the one before was answered; until then it is plain bytes),
why an `Upgrade` that nobody serves does no harm, and why bodies, chunk sizes and trailers are judged alike whatever
parses the heads. Rejected: feeding the parsers everything. httptools cannot pause, hides chunk extensions, and ends a
message at the head when it sees `Upgrade`; h11 differs in each of these.

Must not: know asyncio, ASGI or the clock. Fails by: `BadRequest`; after it the reader must not be used again.
"""

from __future__ import annotations

import enum
import re
from typing import Protocol

from uvicorn.errors import BadRequest
from uvicorn.worker.http.fields import Fields, Request, known_lines, request_line

MAX_HEAD = 65536
"""Bytes of a request line and its header fields together."""
_SMALL = 512
"""Bytes of a head that is within every limit."""
MAX_FIELDS = 128
MAX_CHUNK_LINE = 256
"""Bytes of a chunk's size and extensions."""
MAX_TRAILERS = 8192


class Codec(Protocol):
    """What a codec is: one head in, its fields out."""

    def parse(self, head: bytes) -> Fields: ...

    def expect_body(self) -> None: ...


class Part(enum.IntEnum):
    """Which part of a message comes next."""

    HEAD = 0
    LENGTH = 1
    CHUNK_SIZE = 2
    CHUNK_DATA = 3
    CHUNK_END = 4
    TRAILERS = 5


_HEAD = Part.HEAD
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t !-~\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t !-~\x80-\xff]*")
_FIRST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?: [^\r\n]*\r?)?")


class RequestReader:
    """Holds what was received and not consumed yet in `pending`: the connection adds, `head` and `body` take."""

    __slots__ = ("_codec", "_left", "_parse", "_scanned", "max_head", "part", "pending")

    def __init__(self, codec: Codec, max_head: int = MAX_HEAD) -> None:
        self._codec = codec
        self._parse = codec.parse
        self._left = 0
        self._scanned = 0
        self.max_head = max(max_head, _SMALL)
        self.pending = b""
        self.part = _HEAD

    def head(self) -> Request | None:
        """The next request, once its head is there; None until then. Raises BadRequest.

        Call it when `part` is HEAD. Afterwards `part` says whether a body follows.
        """
        data = self.pending
        if data[:1] == b"\r":
            data = self._skip_empty_line(data)
        end = data.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            self._check_partial(data)
            return None
        end += 4
        if end == len(data):
            self.pending = b""
        else:
            self.pending = data[end:]
            data = data[:end]
        self._scanned = 0
        if end > _SMALL and (end > self.max_head or data.count(b"\r\n") > MAX_FIELDS + 2):
            self._refuse_size(data)
        first = data[: data.find(b"\r\n")]
        request = Request(known_lines.get(first) or request_line(first), self._parse(data))
        length = request.content_length
        if length != 0:
            self._codec.expect_body()
            if length is None:
                self.part = Part.CHUNK_SIZE
            else:
                self.part = Part.LENGTH
                self._left = length
        return request

    def body(self) -> bytes:
        """What has arrived of the body, decoded, b"" for nothing. `part` is HEAD once it is complete.

        Raises BadRequest for broken chunked framing (RFC 9112, 7.1).
        """
        if self.part is Part.LENGTH:
            data = self.pending
            if len(data) <= self._left:
                self.pending = b""
            else:
                self.pending = data[self._left :]
                data = data[: self._left]
            self._left -= len(data)
            if not self._left:
                self.part = _HEAD
            return data
        return self._chunked()

    def _chunked(self) -> bytes:
        data, position, parts = self.pending, 0, []
        while self.part is not _HEAD:
            if self.part is Part.CHUNK_DATA:
                piece = data[position : position + self._left]
                if not piece:
                    break
                parts.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self.part = Part.CHUNK_END
            elif self.part is Part.CHUNK_END:
                if len(data) - position < 2:
                    if data[position : position + 1] not in (b"", b"\r"):
                        raise BadRequest(400, "Missing CRLF after a chunk")
                    break
                if data[position : position + 2] != b"\r\n":
                    raise BadRequest(400, "Missing CRLF after a chunk")
                position += 2
                self.part = Part.CHUNK_SIZE
            else:
                line = self._line(data, position)
                if line is None:
                    break
                position += len(line) + 2
                self._chunk_line(line)
        self.pending = data[position:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _line(self, data: bytes, position: int) -> bytes | None:
        limit = MAX_CHUNK_LINE if self.part is Part.CHUNK_SIZE else MAX_TRAILERS
        end = data.find(b"\n", position, position + limit + 2)
        if end < 0:
            if len(data) - position >= limit + 2:
                raise BadRequest(400, "Chunk extension or trailer too large")
            return None
        if end == position or data[end - 1] != 13:
            raise BadRequest(400, "Bare LF in chunked framing")
        return data[position : end - 1]

    def _chunk_line(self, line: bytes) -> None:
        if self.part is Part.CHUNK_SIZE:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise BadRequest(400, "Invalid chunk size")
            self._left = int(match[1], 16)
            if self._left:
                self.part = Part.CHUNK_DATA
            else:
                self.part = Part.TRAILERS
                self._left = MAX_TRAILERS
        elif not line:
            self.part = _HEAD
        else:  # trailers are checked and dropped: merged into the headers they would forge what a proxy vouches for
            self._left -= len(line) + 2
            if self._left < 0:
                raise BadRequest(400, "Trailers too large")
            if not _TRAILER.fullmatch(line):
                raise BadRequest(400, "Invalid trailer")

    def _skip_empty_line(self, data: bytes) -> bytes:
        """One CRLF before a request line is forgiven (RFC 9112, 2.2), once it is seen that no second one follows."""
        if data[:2] == b"\r\n" and data[2:3] not in (b"", b"\r"):
            self.pending = data = data[2:]
            self._scanned = 0
        return data

    def _check_partial(self, data: bytes) -> None:
        """Refuse early what can no longer become a head, so that nobody waits for the rest of it."""
        if len(data) > self.max_head:
            self._refuse_size(data)
        line, newline, _ = data.partition(b"\n")
        if data not in (b"", b"\r", b"\r\n") and not _FIRST_LINE.fullmatch(line):
            raise BadRequest(400, "Invalid request line")
        if newline and len(data.replace(b"\r\n", b"")) != len(data) - 2 * data.count(b"\n"):
            if line[-1:] == b"\r":
                request_line(line[:-1])  # a fault in the first line is told first, however the bytes were cut
            raise BadRequest(400, "Bare LF in the header")
        self._scanned = max(0, len(data) - 3)

    def _refuse_size(self, data: bytes) -> None:
        if data.find(b"\n", 0, self.max_head) < 0:
            raise BadRequest(414, "Request line too long")
        raise BadRequest(431, "Header too large, or too many fields")
