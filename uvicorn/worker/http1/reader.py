"""Bytes → request heads and body parts, the same for every codec.

States of `RequestReader`:

    HEAD ──whole head──▶ HEAD (no body) │ LENGTH (n bytes) │ CHUNK_SIZE
    LENGTH ──n bytes──▶ HEAD            CHUNK_SIZE ⇄ CHUNK_DATA, CHUNK_SIZE ──0──▶ TRAILERS ──empty line──▶ HEAD

The reader finds the boundaries of messages itself. A head that repeats the last one, or is simple (`simple_fields`),
needs no parser; any other head is given to a codec as a whole, and nothing else is. Therefore pipelining needs no queue
of parsed requests (the next head stays bytes until the previous request is answered), an `Upgrade` that nobody serves
does no harm, and bodies, chunk sizes and trailers are checked in the same way with every codec. Rejected: giving the
parsers everything. httptools cannot pause, hides chunk extensions, and ends a message at the head if there is an
`Upgrade`; h11 differs in each of these points.

Must not: know asyncio, ASGI or the clock. Fails by: `BadRequest`; the reader must not be used after it.
"""

from __future__ import annotations

import enum
import re
from typing import NoReturn, Protocol

from uvicorn.errors import BadRequest
from uvicorn.net.grammar import TOKEN
from uvicorn.worker.http.headers import Fields
from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.http1.request_head import UNREAD, RequestHead
from uvicorn.worker.http1.request_line import known_lines, request_line
from uvicorn.worker.http1.simple_fields import simple_fields

MAX_CHUNK_LINE = 256
"""Bytes of a chunk's size and extensions."""
MAX_TRAILERS = 8192


class Codec(Protocol):
    """Parses one head, independently of those before.

    `reuse`: the last head was accepted, has no body, and is not the last one of its connection.
    """

    def parse(self, head: bytes) -> Fields: ...

    def reuse(self) -> None: ...


class Part(enum.IntEnum):
    """Which part of a message comes next."""

    HEAD = 0
    LENGTH = 1
    CHUNK_SIZE = 2
    CHUNK_DATA = 3
    CHUNK_END = 4
    TRAILERS = 5


REMEMBERED = 4096
"""Bytes of the largest head that is compared with the next one, or read without a codec."""

_HEAD = Part.HEAD
_END = b"\r\n\r\n"

Last = tuple[bytes, bytes, RequestHead]
"""A head that was accepted, the part after its request line (b"" if that part cannot follow another request line), and
the request."""
NOTHING: Last = (b"", b"", UNREAD)


class SharedParser:
    """What the readers of a worker share: a codec, and the last head (`last`) for one that has seen none yet, because
    clients resemble each other."""

    __slots__ = ("codec", "last", "limits")

    def __init__(self, codec: Codec, limits: PeerLimits | None = None) -> None:
        self.codec = codec
        self.limits = limits or PeerLimits()
        self.last = NOTHING


_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t !-~\x80-\xff]*)?")
_TRAILER = re.compile(TOKEN + rb":[\t !-~\x80-\xff]*")
_NO_TRAILER = frozenset((b"content-length", b"host", b"transfer-encoding"))
"""Fields that a trailer must not have, because they are about framing or routing (RFC 9110, 6.5.1), and a proxy may
have used them."""
_BARE_LF = re.compile(rb"(?<!\r)\n")
_FIRST_LINE = re.compile(TOKEN + rb"(?: [^\r\n]*\r?)?")
_REST_OF_LINE = re.compile(rb"[^\r\n]*\r?")


class RequestReader:
    """`pending` is what was received and not consumed: the connection adds to it, `head` and `body` take from it."""

    __slots__ = (
        "_announced",
        "_last",
        "_left",
        "_limits",
        "_parser",
        "_scanned",
        "part",
        "pending",
    )

    def __init__(self, parser: SharedParser) -> None:
        self._parser = parser
        self._limits = parser.limits
        self._last = parser.last
        self._announced = self._left = 0
        self._scanned = 0
        self.pending = b""
        self.part = _HEAD

    @property
    def received(self) -> int:
        """Bytes of the body so far, decoded."""
        return self._announced if self.part is Part.TRAILERS else self._announced - self._left

    def head(self) -> RequestHead | None:
        """The next request, or None if its head is incomplete. Raises BadRequest, and then keeps the invalid bytes.

        Called when `part` is HEAD. Afterwards `part` says whether there is a body.
        """
        data = self.pending
        last, _, request = self._last
        if last and data.startswith(last):
            self.pending = data[len(last) :] if len(data) != len(last) else b""
            self._scanned = 0
            if request.content_length != 0:
                self._expect_body(request.content_length)
            return request
        if data[:1] == b"\r":
            data = self._skip_empty_line(data)
        rest = b""
        found = self._without_codec(data) if data.endswith(_END) else None
        if found is None:
            end = data.find(_END, self._scanned) + 4
            if end < 4:
                self._check_partial(data)
                return None
            if end != len(data):
                rest = data[end:]
                data = data[:end]
                found = self._without_codec(data)
            if found is None:
                found = self._judged(data)
        if found.content_length != 0:
            self._expect_body(found.content_length)
        self._scanned = 0
        self.pending = rest
        return found

    def _without_codec(self, data: bytes) -> RequestHead | None:
        """The request, if `data` is one whole head for which every codec has the same result; else None."""
        limits, size, at = self._limits, len(data), data.find(b"\r\n")
        if size > REMEMBERED or size > limits.head or at > limits.line:
            return None
        _, last_fields, last = self._last
        first = data[:at]
        line = known_lines.get(first) or request_line(first)
        if size == at + len(last_fields) and data.endswith(last_fields) and last.fits(line):
            request = last.with_line(line)
        else:
            fields = simple_fields(data, at + 2)
            if fields is None or len(fields) > limits.fields:
                return None
            request = RequestHead(line, fields)
        self._remember(data, at, request, line.authority is None)
        return request

    def _judged(self, head: bytes) -> RequestHead:
        """The request of a head that needs a codec."""
        limits, size, at = self._limits, len(head), head.find(b"\r\n")
        if size > limits.head or at > limits.line:
            self._refuse_whole(head)
        first = head[:at]
        line = known_lines.get(first) or request_line(first)
        if size > limits.small and head.count(b"\r\n") > limits.fields + 2:
            self._refuse_whole(head)
        codec = self._parser.codec
        # A parser knows no HTTP/1.2 to 1.9, which are served as 1.1.
        parsed = head if first.endswith((b"1.1", b"1.0")) else first[:-1] + b"1" + head[at:]
        request = RequestHead(line, codec.parse(parsed))
        if request.content_length == 0 and request.keep_alive:
            codec.reuse()
        if len(head) <= REMEMBERED:
            self._remember(head, at, request, line.authority is None)
        return request

    def _remember(self, head: bytes, at: int, request: RequestHead, has_path: bool) -> None:
        fields = head[at:] if request.upgrade is None and has_path else b""
        self._last = self._parser.last = head, fields, request

    def forget(self) -> None:
        """Forget the last head: the client is idle, or gone."""
        self._last = NOTHING

    def _expect_body(self, length: int | None) -> None:
        if length is None:
            self.part = Part.CHUNK_SIZE
            self._announced = self._left = 0
            return
        if length > self._limits.body:
            raise BadRequest(413, "Request body too large")
        self.part = Part.LENGTH
        self._announced = self._left = length

    def body(self) -> bytes:
        """The part of the body that has arrived, decoded. `part` is HEAD when the body is complete.

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
                self._announced += self._left
                if self._announced > self._limits.body:
                    raise BadRequest(413, "Request body too large")
            else:
                self.part = Part.TRAILERS
                self._left = MAX_TRAILERS
        elif not line:
            self.part = _HEAD
        else:  # trailers are checked and dropped: in the headers they could pass for fields that a proxy has checked
            self._left -= len(line) + 2
            if self._left < 0:
                raise BadRequest(400, "Trailers too large")
            if not _TRAILER.fullmatch(line):
                raise BadRequest(400, "Invalid trailer")
            if line.partition(b":")[0].lower() in _NO_TRAILER:
                raise BadRequest(400, "A field that no trailer can be")

    def _skip_empty_line(self, data: bytes) -> bytes:
        """Ignore one CRLF before a request line (RFC 9112, 2.2), but not a second one."""
        if data[:2] == b"\r\n" and data[2:3] not in (b"", b"\r"):
            self.pending = data = data[2:]
            self._scanned = 0
        return data

    def _check_partial(self, data: bytes) -> None:
        """Refuse an incomplete head as soon as it is invalid.

        The first fault in the order of the bytes decides, no matter how they were cut. Bytes are checked only once, or
        a head that arrives byte by byte would take quadratic time.
        """
        limits = self._limits
        whole, data = data, data[: limits.head]
        start = max(0, self._scanned - 1)
        if data.find(b"\n", 0, start) < 0:
            self._check_first_line(data, start)
        if data.find(b"\n", start) >= 0 and _BARE_LF.search(data, start):
            line = data[: data.find(b"\n")]
            if line[-1:] == b"\r":
                request_line(line[:-1])  # a fault in the first line comes first
            raise BadRequest(400, "Bare LF in the header")
        if len(whole) > limits.head:
            self._refuse_size(data)
        self._scanned = max(0, len(data) - 3)

    def _check_first_line(self, data: bytes, start: int) -> None:
        """`data` was checked up to `start` before."""
        if data in (b"", b"\r", b"\r\n"):  # may be the empty line before a request
            return
        limit = self._limits.line
        end = data.find(b"\n")
        line = data if end < 0 else data[:end]
        form = _REST_OF_LINE if start and data.find(b" ", 0, start + 1) > 0 else _FIRST_LINE
        if not form.fullmatch(line, start, min(len(line), limit + 1)):
            raise BadRequest(400, "Invalid request line")
        if len(line) > limit and not (len(line) == limit + 1 and line[-1] == 13):
            raise BadRequest(414, "Request line too long")

    def _refuse_whole(self, head: bytes) -> NoReturn:
        """Refuse a whole head for its size, or for a fault that would have been found first had it arrived in parts."""
        self._scanned = 0
        self._check_partial(head)
        self._refuse_size(head[: self._limits.head])

    def _refuse_size(self, data: bytes) -> NoReturn:
        if data.find(b"\n") < 0:
            raise BadRequest(414, "Request line too long")
        raise BadRequest(431, "Header too large, or too many fields")
