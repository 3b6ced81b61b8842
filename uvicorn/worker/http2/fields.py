"""A field block → a checked request (RFC 9113, 8.2 and 8.3; RFC 8441, 4).

Results are remembered for whole blocks, and for blocks without their path, while the decoder's dynamic table does not
change: most clients send the same again, or the same with another path. They belong to one connection and are dropped
with it.

Owns: the order and the meaning of fields, and which requests are malformed. Must not: know streams or frames. Fails by:
`Malformed` (RFC 9113, 8.1.1), which resets the stream; `BadRequest` for a request that is answered with a status, as
in HTTP/1.1; ValueError for a block that cannot be decoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from uvicorn.errors import BadRequest
from uvicorn.net import proxies
from uvicorn.net.grammar import is_host, is_token
from uvicorn.worker.http.request import Request
from uvicorn.worker.http2.hpack import Decoder, Entry, Field, string_at
from uvicorn.worker.http2.schedule import DEFAULT_URGENCY, priority

USUAL, SPECIAL, PSEUDO, ILLEGAL = range(4)
"""Kinds of a field: one without a meaning for the server; one with a meaning; a pseudo-header field; and one that no
request may contain."""

_FORWARDED = frozenset(proxies.FIELDS)
_SPECIAL = _FORWARDED | {b"host", b"content-length", b"expect", b"cookie", b"priority"}
_CONNECTION = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_PSEUDO = {b":method": 0, b":scheme": 1, b":authority": 2, b":path": 3, b":protocol": 4}
_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_path = re.compile(rb"/[!-\"$-~]*").fullmatch
"""A path that needs no other check: printable ASCII without a fragment."""
_value = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?").fullmatch
_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch

KEPT = 64
"""The most blocks that are remembered for one connection."""
KEPT_BYTES = 2048
"""Longer blocks are not remembered."""
KEPT_SIZE = 8192
"""Nor are blocks that decode to more bytes than this: their fields may be copies of what is in the table."""


class Malformed(Exception):
    """A malformed request (RFC 9113, 8.1.1). Its stream is reset with PROTOCOL_ERROR."""


def kind_of(name: bytes, value: bytes) -> int:
    """The kind of a field (RFC 9113, 8.2.1 and 8.2.2)."""
    if name[:1] == b":":
        return PSEUDO if name in _PSEUDO and _value(value) else ILLEGAL
    if not _name(name) or not _value(value) or name in _CONNECTION:
        return ILLEGAL
    if name == b"te" and value.lower() != b"trailers":
        return ILLEGAL
    return SPECIAL if name in _SPECIAL else USUAL


class Fields(NamedTuple):
    """The regular fields: `others` are all but Host, with all Cookie fields joined to one.

    `content_length` is None without a Content-Length. `forwarded`: whether there are fields that proxies write.
    """

    others: list[Field]
    host: bytes | None
    content_length: int | None
    expect_continue: bool
    forwarded: bool
    urgency: int


class Head(Request):
    """The checked head of one request. It is never changed, because equal requests share it.

    `protocol` is :protocol of an extended CONNECT (RFC 8441), else None; `urgency` is that of RFC 9218. `fields` begin
    with Host.
    """

    __slots__ = ("protocol", "urgency")

    protocol: bytes | None
    urgency: int

    def __init__(self) -> None:
        self.http_version = "2"
        self.takes_trailers = True  # every client has to read them (RFC 9113, 8.1), whether or not it says so


class HeadReader:
    """Reads the heads of one connection's requests.

    `limits` are the most bytes of a method and a target, the most fields, and the most bytes of all names and values.
    `methods` are those that are served; `tunnels` says whether extended CONNECT was announced. `known`: blocks and
    their heads, valid while the dynamic table stays the same.
    """

    __slots__ = ("_bytes", "_count", "_line", "_methods", "_pathless", "_tunnels", "_warm", "decoder", "known")

    def __init__(
        self, decoder: Decoder, limits: tuple[int, int, int], methods: Mapping[bytes, str], tunnels: bool
    ) -> None:
        self.decoder = decoder
        self._line, self._count, self._bytes = limits
        self._methods = methods
        self._tunnels = tunnels
        self.known: dict[bytes, Head] = {}
        self._warm = False  # the first head of a connection is not remembered: often it is the only one
        self._pathless: dict[bytes, tuple[Head, int]] = {}  # and the bytes of their fields without the path

    def forget(self) -> None:
        """Drop all remembered results: the connection is idle, or the table has changed."""
        self.known.clear()
        self._pathless.clear()

    def read(self, block: bytes) -> Head:
        """The head in a block. Raises Malformed or BadRequest, after the whole block was decoded; or ValueError."""
        head = self.known.get(block)
        if head is not None:
            return head
        start, stop = _path_in(block)
        others = block[:start] + block[stop:]
        known = self._pathless.get(others) if stop else None
        if known is not None and (head := self._with_path(*known, block, start)) is not None:
            return head
        decoder = self.decoder
        changes = decoder.changes
        pseudo, regular = self._entries(block)
        size = self._bytes - decoder.left
        head = self._head(pseudo, _fields(regular))
        warm, self._warm = self._warm, True
        if warm and decoder.changes == changes and len(block) <= KEPT_BYTES and size <= KEPT_SIZE:
            if len(self.known) >= KEPT:
                self.forget()
            self.known[block] = head
            if stop:
                self._pathless[others] = head, size - len(head.target)
        return head

    def _with_path(self, known: Head, size: int, block: bytes, start: int) -> Head | None:
        """The head of a block that differs from a known one in its path only; None for a path that needs all checks."""
        path, _ = string_at(block, start + 1)
        if len(path) > self._line - len(known.method) or len(path) + size > self._bytes or not _path(path):
            return None
        head = Head()
        head.method, head.fields = known.method, known.fields
        head.protocol, head.urgency = known.protocol, known.urgency
        head.content_length, head.expect_continue = known.content_length, known.expect_continue
        head.forwarded, head.target = known.forwarded, path
        raw_path, _, head.query_string = path.partition(b"?")
        head.raw_path = raw_path
        text = raw_path.decode("ascii")
        head.path = unquote(text) if "%" in text else text
        return head

    def _entries(self, block: bytes) -> tuple[list[Entry], list[Entry]]:
        """The pseudo-header fields, and the fields behind them."""
        decoder = self.decoder
        changes = decoder.changes
        entries = decoder.decode(block, self._count + len(_PSEUDO), self._bytes)
        if decoder.changes != changes:
            self.forget()
        count = 0
        while count < len(entries) and entries[count][1] == PSEUDO:
            count += 1
        if count > len(_PSEUDO):
            raise Malformed("repeated pseudo-header field")
        if len(entries) - count > self._count:
            raise BadRequest(431, "Too many header fields")
        if decoder.overflow:
            raise BadRequest(431, "Header fields too large")
        return entries[:count], entries[count:]

    def trailers(self, block: bytes) -> None:
        """Check the trailers of a request; applications do not get them. Raises as `read` does."""
        pseudo, others = self._entries(block)
        if pseudo or any(kind >= PSEUDO or field[0] in (b"host", b"content-length") for field, kind in others):
            raise Malformed("field not allowed in trailers")

    def _head(self, pseudo: list[Entry], fields: Fields) -> Head:
        values: list[bytes | None] = [None] * len(_PSEUDO)
        for (name, value), kind in pseudo:
            place = _PSEUDO[name] if kind == PSEUDO else -1
            if place < 0 or values[place] is not None:
                raise Malformed("repeated or invalid pseudo-header field")
            values[place] = value
        method, scheme, authority, path, protocol = values
        head = Head()
        head.protocol = protocol
        if method is None:
            raise Malformed("missing :method")
        if method == b"CONNECT" and protocol is None:
            if scheme is not None or path is not None or authority is None:
                raise Malformed("CONNECT with :scheme or :path, or without :authority")
        elif scheme is None or path is None or not path or not _scheme(scheme):
            raise Malformed("missing or invalid :scheme or :path")
        if protocol is not None and (not self._tunnels or method != b"CONNECT"):
            raise Malformed(":protocol not allowed here")
        if path is None:
            raise BadRequest(405, "CONNECT is not served", ((b"allow", b", ".join(self._methods)),))
        known = self._methods.get(method)
        if known is None:
            if protocol is None:
                raise BadRequest(501, "Unknown method") if is_token(method) else Malformed("invalid method")
            known = "CONNECT"
        head.method = known
        head.target = path
        if len(method) + len(path) > self._line:
            raise BadRequest(414, "Request target too long")
        _split(head, known, path)
        host = fields.host
        if authority is not None:
            if host is not None and host != authority:
                raise BadRequest(400, "Host is not :authority")
            host = authority
        if not host:
            raise BadRequest(400, "No Host")
        if b"@" in host or not is_host(host):
            raise BadRequest(400, "Invalid Host")
        head.fields = [(b"host", host), *fields.others]
        head.content_length = fields.content_length
        head.expect_continue = fields.expect_continue
        head.forwarded = fields.forwarded
        head.urgency = fields.urgency
        return head


def _split(head: Head, method: str, target: bytes) -> None:
    """Set the parts of the target. Raises BadRequest as HTTP/1.1 does."""
    if not (target.isascii() and target.decode("ascii").isprintable()) or b" " in target or b"#" in target:
        raise BadRequest(400, "Invalid request target")
    if target[:1] != b"/" and (target != b"*" or method != "OPTIONS"):
        raise BadRequest(400, "Request target * without OPTIONS" if target == b"*" else "Invalid request target")
    raw_path, _, head.query_string = target.partition(b"?")
    head.raw_path = raw_path
    path = raw_path.decode("ascii")
    head.path = unquote(path) if "%" in path else path


def _fields(entries: list[Entry]) -> Fields:
    """The regular fields. Raises Malformed or BadRequest."""
    others: list[Field] = []
    host: bytes | None = None
    length: int | None = None
    cookie = -1
    urgency = DEFAULT_URGENCY
    expects = forwarded = False
    for field, kind in entries:
        if kind:
            if kind >= PSEUDO:
                raise Malformed("pseudo-header field after a regular field, or a forbidden field")
            name, value = field
            if name == b"host":
                if host is not None:
                    raise BadRequest(400, "More than one Host")
                host = value
                continue
            if name == b"content-length":
                if length is not None:
                    raise BadRequest(400, "More than one Content-Length")
                if not value.isdigit() or len(value) > 18:
                    raise BadRequest(400, "Invalid Content-Length")
                length = int(value)
            elif name == b"cookie":
                if cookie >= 0:
                    others[cookie] = name, others[cookie][1] + b"; " + value
                    continue
                cookie = len(others)
            elif name == b"expect":
                expects = value.lower() == b"100-continue"
            elif name == b"priority":
                urgency = priority(value)
            elif name in _FORWARDED:
                forwarded = True
        others.append(field)
    return Fields(others, host, length, expects and length != 0, forwarded, urgency)


_PATHS = (0x04, 0x05, 0x14, 0x15)
"""How a literal :path begins: never indexed, or not this time; with either of its indices (RFC 7541, 6.2)."""


def _path_in(block: bytes) -> tuple[int, int]:
    """Where :path is in a block, if it is a literal that does not enter the table, and all fields before it are named
    by an index of one byte; else (0, 0).
    """
    at = 0
    end = len(block)
    while at < end:
        byte = block[at]
        if byte < 0x80 or byte == 0xFF:  # an index of more bytes says nothing here
            if byte not in _PATHS or at + 1 >= end or (length := block[at + 1] & 0x7F) == 0x7F:
                break
            return at, at + 2 + length
        at += 1
    return 0, 0


_first: Decoder | None = None


def decoder() -> Decoder:
    """A decoder for a new connection, which judges fields by `kind_of`."""
    global _first
    if _first is None:
        _first = Decoder(kind_of)
    return _first.share()
