"""The bytes of an HTTP/1.1 response (RFC 9112, 6 and 9; RFC 9110, 8.6 and 15).

Owns: the format of the head, its checks, and the framing of the body. Must not: write, know asyncio or a scope. Fails
by: `RuntimeError`, `ValueError` or `TypeError` in the application's `send`, because the application's data is invalid.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Sequence

from uvicorn.net.grammar import is_token
from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http.headers import Headers, blame_value, check_name, encoded, known_response_names, same_length
from uvicorn.worker.http1.request_head import RequestHead

_PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus}
_STATUS_200 = b"HTTP/1.1 200 OK\r\n"
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b"")) for status in range(100, 600)}

_CACHE_ENTRIES = 512
_CACHED_BYTES = 1024


class HeaderBlock:
    """Header fields as bytes, and what they mean for the response.

    `codings`: the transfer codings that the application has applied, without `chunked`, which the server applies.
    `chunked`: the application has sent both a transfer coding and a Content-Length, as frameworks do that pass on the
    fields of another server. A message must have only one of them (RFC 9112, 6.2); the length may belong to another
    body, so it is dropped, and the body is sent in chunks. `length_only`: there is a Content-Length, and nothing else
    that concerns the server. Then `ready` has whole heads with status 200, for a connection that is kept and for one
    that is closed, and first the default fields in them, which change every second.
    """

    __slots__ = (
        "chunked",
        "close",
        "codings",
        "content_length",
        "data",
        "has_connection",
        "has_date",
        "has_server",
        "length_only",
        "ready",
    )

    def __init__(self, headers: Headers) -> None:
        """Raises ValueError for a name that is no token, a value with CR, LF or NUL, contradicting lengths, or transfer
        codings that cannot be."""
        length: int | None = None
        self.close = self.has_connection = self.has_date = self.has_server = False
        lines: list[bytes] = []
        codings: list[bytes] | None = None
        length_at = 0
        for name, value in headers:
            lowered = known_response_names.get(name)
            if lowered is None:
                lowered = check_name(name)
            if lowered in _SPECIAL:
                if lowered == b"content-length":
                    again, length = length is not None, same_length(value, length)
                    if again:
                        continue
                    length_at, value = len(lines), b"%d" % length
                elif lowered == b"transfer-encoding":
                    codings = [*(codings or ()), *value.lower().split(b",")]
                    continue  # the server decides how the body is framed
                elif lowered == b"date":
                    self.has_date = True
                elif lowered == b"server":
                    self.has_server = True
                else:
                    self.has_connection = True
                    self.close = self.close or b"close" in [one.strip() for one in value.lower().split(b",")]
            lines.append(b"%b: %b\r\n" % (name, value))
        data = b"".join(lines)
        if data.count(b"\n") != len(lines) or data.count(b"\r") != len(lines) or b"\x00" in data:
            blame_value(headers)
        self.codings = _applied(codings) if codings else []
        self.chunked = codings is not None and length is not None
        if self.chunked:
            length = None
            del lines[length_at]
            data = b"".join(lines)
        self.data = data
        self.ready: tuple[bytes | None, bytes, bytes] = (None, b"", b"")
        self.content_length = length
        self.length_only = length is not None and not (self.has_connection or self.has_date or self.has_server)


def _applied(codings: list[bytes]) -> list[bytes]:
    """The codings of an application's Transfer-Encoding without `chunked`, which may be the last one."""
    found = [coding.strip(b" \t") for coding in codings]
    found = [coding for coding in found if coding not in (b"", b"identity")]
    if found[-1:] == [b"chunked"]:
        del found[-1]
    for coding in found:
        if coding == b"chunked" or not is_token(coding):
            raise ValueError(f"Invalid Transfer-Encoding in the response: {b', '.join(codings)!r}")
    return found


def _check_taken(request: RequestHead, codings: list[bytes]) -> None:
    """Raises ValueError unless the client accepts these transfer codings (RFC 9110, 10.1.4; RFC 9112, 7.4)."""
    taken = set()
    for name, value in request.fields:
        if name == b"te":
            for one in value.lower().split(b","):
                coding, *parameters = [part.strip(b" \t") for part in one.split(b";")]
                if not any(re.fullmatch(rb"q=0(?:\.0*)?", part) for part in parameters):
                    taken.add(coding.removeprefix(b"x-"))
    for coding in codings:
        if request.http_version != "1.1" or coding.removeprefix(b"x-") not in taken:
            raise ValueError(
                f"The client does not take the transfer coding {coding.decode('latin-1')!r} (TE)."
                " Compressed content has a Content-Encoding, and no Transfer-Encoding."
            )


_SPECIAL = frozenset((b"content-length", b"transfer-encoding", b"connection", b"date", b"server"))
_blocks: dict[tuple[Sequence[bytes], ...], HeaderBlock] = {}


def header_block(key: tuple[Sequence[bytes], ...]) -> HeaderBlock:
    """A checked block, from a bounded cache: most responses of an application have the same fields."""
    block, keep = None, True
    try:
        block = _blocks.get(key)
    except TypeError:  # fields given as lists
        keep = False
    if (
        block is None
    ):  # outside of the `except`: an exception about the headers must not have the first one as its context
        block = HeaderBlock(key)
        if keep and len(block.data) <= _CACHED_BYTES:
            if len(_blocks) >= _CACHE_ENTRIES:
                _blocks.clear()
            _blocks[key] = block
    return block


def _new_block(fields: tuple[Sequence[bytes], ...]) -> tuple[tuple[Sequence[bytes], ...], HeaderBlock]:
    """The fields in bytes, and their block; also for fields of text."""
    try:
        return fields, header_block(fields)
    except TypeError:
        pass
    fields = encoded(fields)
    return fields, header_block(fields)


# How a body ends on the wire (RFC 9112, 6.3).
BODILESS, LENGTH, CHUNKED, UNTIL_CLOSE = range(4)


def response_head(
    request: RequestHead, status: int, headers: Headers, default: DefaultFields, keep_alive: bool, size: int, more: bool
) -> tuple[bytes, int, int, bool]:
    """The head of a response: (bytes, how the body ends, for LENGTH its size, whether the connection may go on).

    `size` is the length of the first body part, `more` whether others follow. Raises ValueError or TypeError for what
    cannot be put on the wire.
    """
    fields = tuple(headers)
    try:
        block = _blocks[fields]
    except (KeyError, TypeError):
        block = None
    if block is None:
        fields, block = _new_block(fields)
    # A shortcut for most responses, with the result of the code below.
    if block.length_only and status == 200 and request.simple:
        ready = block.ready  # one tuple, because servers in other threads, with other default fields, share the block
        if ready[0] is not default.block:
            head = _STATUS_200 + default.block + block.data
            ready = block.ready = (default.block, head + b"\r\n", head + b"connection: close\r\n\r\n")
        return ready[1] if keep_alive else ready[2], LENGTH, block.content_length or 0, keep_alive
    length = block.content_length
    status_line = _STATUS_LINES.get(status)
    if status_line is None or status < 200:
        raise ValueError(f"Invalid status of a response: {status!r}")
    bodiless = request.method == "HEAD" or status in (204, 205, 304)
    coded = block.codings and not bodiless
    if coded:
        _check_taken(request, block.codings)
    # HTTP/1.0 has no other way to end a body of unknown length.
    unbounded = not bodiless and more and length is None and request.http_version != "1.1"
    keep_alive = keep_alive and not block.close and not unbounded
    dropped = []
    if status in (204, 205) and length is not None:  # RFC 9110, 8.6: no Content-Length in a 204; 15.3.6: 0 in a 205
        dropped.append(b"content-length")
    if block.has_connection and not (keep_alive or block.close):  # the server adds the opposite
        dropped.append(b"connection")
    data = HeaderBlock([field for field in fields if field[0].lower() not in dropped]).data if dropped else block.data
    ending = LENGTH
    if bodiless:
        ending = BODILESS
        if status == 205:
            data += b"content-length: 0\r\n"
        elif length is None and size and not more and status != 204:
            data += b"content-length: %d\r\n" % size
    elif unbounded:
        ending = UNTIL_CLOSE
    elif coded or (length is None and (more or (block.chunked and request.http_version == "1.1"))):
        ending = CHUNKED
        data += b"transfer-encoding: %b\r\n" % b", ".join([*block.codings, b"chunked"])
    elif length is None:
        length = size
        data += b"content-length: %d\r\n" % size
    if not keep_alive and not block.close:
        data += b"connection: close\r\n"
    elif keep_alive and request.http_version == "1.0" and not block.has_connection:
        data += b"connection: keep-alive\r\n"
    defaults = default.without(block.has_date, block.has_server)
    left = length if ending == LENGTH and length else 0
    return status_line + defaults + data + b"\r\n", ending, left, keep_alive


def early_hints(links: Iterable[bytes]) -> bytes:
    """A 103 (RFC 8297) with these Link values. Raises ValueError or TypeError for an invalid one."""
    fields = [(b"link", bytes(memoryview(link))) for link in links]
    return b"HTTP/1.1 103 Early Hints\r\n" + HeaderBlock(fields).data + b"\r\n"


def switching_head(headers: Headers, default: DefaultFields) -> bytes:
    """The head of a 101. After it, the connection uses another protocol (RFC 9110, 15.2.2)."""
    block = header_block(tuple(headers))
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        + default.without(block.has_date, block.has_server)
        + block.data
        + b"\r\n"
    )


def chunk(data: bytes, more: bool) -> bytes:
    """One part of a chunked body, and its end with the last one (RFC 9112, 7.1)."""
    if more:
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"


def last_chunk(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked body, with its trailers (RFC 9112, 7.1.2)."""
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])


def text_response(
    request: RequestHead, status: int, text: str, default: DefaultFields, extra: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """A whole response of the server's own: a refusal or an error, and the last one of its connection."""
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *extra]
    head, ending, _, _ = response_head(request, status, headers, default, False, len(body), more=False)
    return head if ending == BODILESS else head + body
