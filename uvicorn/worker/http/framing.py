"""An ASGI response → bytes (RFC 9112, 6 and 9; RFC 9110, 8.6 and 15).

Owns: the head's wire form, the checks of names and values, and how the body is delimited. Must not: write, know asyncio
or a request's scope. Fails by: `RuntimeError` or `ValueError` in the application's `send`, because what is wrong is
what the application sent.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Sequence

Headers = Iterable[Sequence[bytes]]

_PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus}
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b"")) for status in range(100, 600)}

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ILLEGAL = re.compile(rb"[\r\n\x00]")

_CACHE_ENTRIES = 512
_CACHED_BYTES = 1024


class HeaderBlock:
    """Header fields in wire form, and what they say about the response."""

    __slots__ = ("close", "content_length", "data", "has_connection", "has_date", "has_server")

    def __init__(self, headers: Headers) -> None:
        """Raises ValueError for a name that is no token, a value with CR, LF or NUL, or contradicting lengths."""
        self.content_length: int | None = None
        self.close = self.has_connection = self.has_date = self.has_server = False
        lines: list[bytes] = []
        transfer_encoding = False
        for name, value in headers:
            lowered = _names.get(name)
            if lowered is None:
                lowered = _check_name(name)
            if lowered in _SPECIAL:
                if lowered == b"content-length":
                    self._set_length(value)
                elif lowered == b"transfer-encoding":
                    transfer_encoding = True
                    continue  # how the body is delimited is our business
                elif lowered == b"date":
                    self.has_date = True
                elif lowered == b"server":
                    self.has_server = True
                else:
                    self.has_connection = True
                    self.close = self.close or b"close" in value.lower()
            lines.append(b"%b: %b\r\n" % (name, value))
        data = b"".join(lines)
        if data.count(b"\n") != len(lines) or data.count(b"\r") != len(lines) or b"\x00" in data:
            _blame_value(headers)
        if transfer_encoding and self.content_length is not None:
            raise ValueError("A response must not have both Content-Length and Transfer-Encoding.")
        self.data = data

    def _set_length(self, value: bytes) -> None:
        if not value.isdigit():
            raise ValueError(f"Invalid Content-Length in the response: {value!r}")
        length = int(value)
        if self.content_length not in (None, length):
            raise ValueError("Two different Content-Length values in the response.")
        self.content_length = length


_SPECIAL = frozenset((b"content-length", b"transfer-encoding", b"connection", b"date", b"server"))
_names: dict[bytes, bytes] = {}
_blocks: dict[tuple[Sequence[bytes], ...], HeaderBlock] = {}


def _check_name(name: bytes) -> bytes:
    if not isinstance(name, bytes):
        raise ValueError(f"A header name must be bytes, not {type(name).__name__}: {name!r}")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"Invalid header name in the response: {name!r}")
    if len(_names) >= _CACHE_ENTRIES:
        _names.clear()
    return _names.setdefault(bytes(name), name.lower())


def _blame_value(headers: Headers) -> None:
    for name, value in headers:
        if _ILLEGAL.search(value):
            raise ValueError(f"Invalid value of header {name!r} in the response: CR, LF or NUL in {value!r}")
    raise ValueError("Invalid headers in the response.")


def header_block(key: tuple[Sequence[bytes], ...]) -> HeaderBlock:
    """A checked block. Equal headers come from a bounded cache: most responses of an application look alike."""
    try:
        block = _blocks.get(key)
    except TypeError:  # fields given as lists
        return HeaderBlock(key)
    if block is None:
        block = HeaderBlock(key)
        if len(_blocks) >= _CACHE_ENTRIES:
            _blocks.clear()
        if len(block.data) <= _CACHED_BYTES:
            _blocks[key] = block
    return block


class ResponseFraming:
    """One response's head and body on the wire.

    `keep_alive` says whether the connection may go on afterwards; it can turn false in `head`, because an HTTP/1.0
    client has no other end of an unbounded body. `left` is what Content-Length still owes, None when there is none.
    """

    __slots__ = ("bodiless", "chunked", "http_version", "keep_alive", "left")

    def __init__(self, method: str, http_version: str, keep_alive: bool) -> None:
        self.bodiless = method == "HEAD"
        self.chunked = False
        self.http_version = http_version
        self.keep_alive = keep_alive
        self.left: int | None = None

    def head(self, status: int, headers: Headers, default: DefaultFields, size: int, more: bool) -> bytes:
        """The head. `size` is the length of the first body part, `more` whether others follow.

        `keep_alive` may be turned off from outside until this is called. Raises ValueError.
        """
        fields = tuple(headers)
        block = header_block(fields)
        status_line = _STATUS_LINES.get(status)
        if status_line is None or status < 200:
            raise ValueError(f"Invalid status of a response: {status!r}")
        data = block.data
        length = block.content_length
        if status == 204:
            self.bodiless = True
            if length is not None:  # RFC 9110, 8.6: no Content-Length in a 204
                data = b"".join(b"%b: %b\r\n" % (n, v) for n, v in fields if n.lower() not in _DELIMITERS)
        elif status == 304:
            self.bodiless = True
        elif length is not None:
            self.left = length
        elif not more:
            if not self.bodiless or size:
                data += b"content-length: %d\r\n" % size
                self.left = size
        elif self.bodiless:
            pass
        elif self.http_version == "1.1":
            self.chunked = True
            data += b"transfer-encoding: chunked\r\n"
        else:
            self.keep_alive = False
        if block.close:
            self.keep_alive = False
        if not block.has_connection:
            if not self.keep_alive:
                data += b"connection: close\r\n"
            elif self.http_version == "1.0":
                data += b"connection: keep-alive\r\n"
        elif not (self.keep_alive or block.close):
            data += b"connection: close\r\n"
        if block.has_date or block.has_server:
            return status_line + default.without(block.has_date, block.has_server) + data + b"\r\n"
        return status_line + default.block + data + b"\r\n"

    def body(self, data: bytes, more: bool) -> bytes:
        """One body part on the wire. Raises RuntimeError when it is more than Content-Length announced."""
        if self.bodiless:
            return b""
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                raise RuntimeError("Response content longer than Content-Length")
            return data
        if self.chunked:
            if not more:
                return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return data

    @property
    def short(self) -> bool:
        """Whether less was sent than Content-Length announced: the connection cannot be used again."""
        return bool(self.left) and not self.bodiless


_DELIMITERS = (b"content-length", b"transfer-encoding")


class DefaultFields:
    """The fields every response gets (Date, Server) unless the application sends its own.

    `pairs` is the list as ASGI has it; setting it renders `block`.
    """

    __slots__ = ("_pairs", "block")

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        return self._pairs

    @pairs.setter
    def pairs(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs
        self.block = b"".join(b"%b: %b\r\n" % pair for pair in pairs)

    def without(self, date: bool, server: bool) -> bytes:
        """The block, less what the application sent itself."""
        skipped = {b"date"} if date else set()
        if server:
            skipped.add(b"server")
        return b"".join(b"%b: %b\r\n" % (n, v) for n, v in self._pairs if n.lower() not in skipped)


def plain_response(
    status: int, text: str, default: DefaultFields, extra: list[tuple[bytes, bytes]], keep_alive: bool = False
) -> bytes:
    """A whole response of our own: a refusal or an error."""
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *extra]
    framing = ResponseFraming("GET", "1.1", keep_alive)
    return framing.head(status, headers, default, len(body), more=False) + body
