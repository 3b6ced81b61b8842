"""What header fields mean to the server: names, framing, persistence. The one place both codecs are judged by.

Owns: the request's semantics after a codec has split the fields (RFC 9110, RFC 9112). Must not: know asyncio, ASGI or
a parser. Fails by: `BadRequest`.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from uvicorn.errors import BadRequest
from uvicorn.net import proxies
from uvicorn.net.grammar import TOKEN, is_host, is_token

Fields = list[tuple[bytes, bytes]]

_METHOD_NAMES = """
    GET HEAD POST PUT DELETE OPTIONS PATCH TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND
    REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK
    UNLINK QUERY
"""
METHODS: dict[bytes, str] = {name.encode(): name for name in _METHOD_NAMES.split()}
"""The methods that every codec knows, less CONNECT. Any other token is answered 501."""

VERSIONS: dict[bytes, str] = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0", **{b"HTTP/1.%d" % n: "1.1" for n in range(2, 10)}}
"""The versions that are served, and as which: a later 1.x is answered as 1.1 (RFC 9110, 2.5)."""

_FORWARDED = frozenset(proxies.FIELDS)
_SPECIAL = _FORWARDED | {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"}
_PRINTABLE = re.compile(rb"[ -~]*")
_FIELD = re.compile(rb"(%b):([\t -~\x80-\xff]*)" % TOKEN)
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)

_BOUND = 1024
"""Entries of a cache that a peer's bytes can fill; it is emptied when full."""

known_names: dict[bytes, bytes] = {}
_hosts: set[bytes] = set()
_options: dict[bytes, frozenset[bytes]] = {}


def field_name(name: bytes) -> bytes:
    """`name` lower-cased; the usual ones come from a cache, so that equal names are one object."""
    known = known_names.get(name)
    if known is None:
        known = name.lower()
        if len(known_names) >= _BOUND:
            known_names.clear()
        if len(name) <= 64:
            known_names[name] = known
    return known


class Request:
    """The head of one request, checked.

    `content_length` is None for a chunked body and 0 for none. `keep_alive` is the peer's wish (RFC 9112, 9.3).
    `usual`: HTTP/1.1, not HEAD: the response needs no special care on the request's account. `forwarded`: a proxy's
    fields are there, which are read only if the peer is trusted.
    """

    __slots__ = (
        "content_length",
        "expect_continue",
        "fields",
        "forwarded",
        "http_version",
        "keep_alive",
        "line",
        "method",
        "upgrade",
        "usual",
    )

    content_length: int | None

    def __init__(self, line: RequestLine, fields: Fields) -> None:
        """Raises BadRequest for what RFC 9112 refuses in a request's fields."""
        self.line = line
        self.method = method = line.method
        self.http_version = http_version = line.http_version
        self.fields = fields
        self.content_length = 0
        self.keep_alive = self.usual = http_version == "1.1"
        if method == "HEAD":
            self.usual = False
        self.expect_continue = self.forwarded = False
        self.upgrade: bytes | None = None
        host: bytes | None = None
        special: dict[bytes, bytes] | None = None
        repeated = False
        for name, value in fields:
            if name in _SPECIAL:
                if name == b"host":
                    if host is not None:
                        raise BadRequest(400, "More than one Host")
                    host = value
                elif name in _FORWARDED:
                    self.forwarded = True
                elif special is None:
                    special = {name: value}
                elif name in special:
                    if name == b"content-length":
                        raise BadRequest(400, "More than one Content-Length")
                    repeated = True
                else:
                    special[name] = value
        if host is None:
            if http_version == "1.1":
                raise BadRequest(400, "No Host")
        elif host not in _hosts:
            _check_host(host)
        if special is not None:
            if repeated:
                special = {name: b", ".join([value for one, value in fields if one == name]) for name in special}
            self._apply(special)
        if line.authority is not None:  # replaces Host (RFC 9112, 3.2.2)
            fields[:] = [(b"host", line.authority), *(field for field in fields if field[0] != b"host")]

    def fits(self, line: RequestLine) -> bool:
        """Whether `with_line` gives what this line and the same fields would be parsed to."""
        return line.http_version == self.http_version and line.authority is None

    def with_line(self, line: RequestLine) -> Request:
        """The same fields behind another request line."""
        other = Request.__new__(Request)
        other.line = line
        other.method = line.method
        other.http_version = self.http_version
        other.usual = self.http_version == "1.1" and line.method != "HEAD"
        other.fields = self.fields
        other.content_length = self.content_length
        other.keep_alive = self.keep_alive
        other.expect_continue = self.expect_continue
        other.forwarded = self.forwarded
        other.upgrade = None
        return other

    def _apply(self, special: dict[bytes, bytes]) -> None:
        length = special.get(b"content-length")
        coding = special.get(b"transfer-encoding")
        if coding is not None:
            if length is not None:
                raise BadRequest(400, "Content-Length and Transfer-Encoding together")
            check_transfer_encoding(coding)
            if self.http_version == "1.0":
                raise BadRequest(400, "Transfer-Encoding in HTTP/1.0")
            self.content_length = None
        elif length is not None:
            if not length.isdigit() or len(length) > 18:
                raise BadRequest(400, "Invalid Content-Length")
            self.content_length = int(length)
        connection = special.get(b"connection")
        if connection is not None:
            options = _options.get(connection) or _connection_options(connection)
            if b"close" in options:
                self.keep_alive = False
            elif b"keep-alive" in options:
                self.keep_alive = True
            if b"upgrade" in options:
                self.upgrade = special.get(b"upgrade")
        if self.http_version == "1.1" and special.get(b"expect", b"").lower() == b"100-continue":
            self.expect_continue = self.content_length != 0


def _connection_options(value: bytes) -> frozenset[bytes]:
    """The options of a Connection field (RFC 9110, 7.6.1), lower-cased. There are few different ones."""
    options = frozenset(option.strip(b" \t") for option in value.lower().split(b","))
    if len(_options) >= _BOUND:
        _options.clear()
    if len(value) <= 64:
        _options[value] = options
    return options


def check_transfer_encoding(value: bytes) -> None:
    """Only `chunked` is served: an unknown coding is 501, anything that does not end in it 400 (RFC 9112, 6.1)."""
    codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
    if codings == [b"chunked"]:
        return
    if any(not is_token(coding.partition(b";")[0].rstrip()) for coding in codings):
        raise BadRequest(400, "Invalid Transfer-Encoding")
    if b"chunked" in codings[:-1]:
        raise BadRequest(400, "Transfer-Encoding does not end in chunked")
    raise BadRequest(501, "Unknown transfer coding")


def _check_host(host: bytes) -> None:
    if not is_host(host):
        raise BadRequest(400, "Invalid Host")
    if len(_hosts) >= _BOUND:
        _hosts.clear()
    if len(host) <= 255:
        _hosts.add(host)


class RequestLine(NamedTuple):
    """A request line, split and decoded. `path` has no percent-escapes; `authority` is set for an absolute target."""

    method: str
    target: bytes
    http_version: str
    path: str
    raw_path: bytes
    query_string: bytes
    authority: bytes | None


known_lines: dict[bytes, RequestLine] = {}


def request_line(line: bytes) -> RequestLine:
    """Parse a request line without its CRLF. Raises BadRequest (RFC 9112, 3).

    Lines come again and again: a bounded cache holds the last ones. What is accepted here every codec accepts, so a
    line may stand before fields that were parsed behind another one.
    """
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        raise BadRequest(400, "Invalid request line") from None
    if b"\r" in line or b"\n" in line:
        raise BadRequest(400, "Bare CR or LF in the request line")
    number = VERSIONS.get(version)
    if number is None:
        if _VERSION.fullmatch(version):
            raise BadRequest(505, "HTTP version not served")
        raise BadRequest(400, "Invalid HTTP version")
    name = METHODS.get(method)
    if name is None:
        if method == b"CONNECT":
            raise BadRequest(405, "CONNECT is not served", ((b"allow", b", ".join(METHODS)),))
        if is_token(method):
            raise BadRequest(501, "Unknown method")
        raise BadRequest(400, "Invalid method")
    if not (target.isascii() and target.decode("ascii").isprintable()):
        raise BadRequest(400, "Invalid request target")
    authority = None
    if target[:1] != b"/" or b"#" in target:
        target, authority = _unusual_target(name, target)
    raw_path, _, query_string = target.partition(b"?")
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    parsed = RequestLine(name, target, number, path, raw_path, query_string, authority)
    if len(line) <= 256:
        if len(known_lines) >= _BOUND:
            known_lines.clear()
        known_lines[line] = parsed
    return parsed


def _unusual_target(method: str, target: bytes) -> tuple[bytes, bytes | None]:
    if target == b"*":
        if method != "OPTIONS":
            raise BadRequest(400, "Request target * without OPTIONS")
        return target, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None or b"#" in target:
        raise BadRequest(400, "Invalid request target")
    authority, path = match.groups()
    if not authority or b"@" in authority or not is_host(authority):
        raise BadRequest(400, "Invalid authority in the request target")
    return (path if path.startswith(b"/") else b"/" + path), authority


def refusal(head: bytes) -> BadRequest:
    """Why a codec refused `head`, whose request line is in order.

    Parsers judge framing fields as well, each in its own order. Where the fields can be read at all, what they mean
    decides the status, so that every codec gives the same one. A parser's own words may quote the peer: they stay in
    the log, as the cause.
    """
    first, *lines = head[:-4].split(b"\r\n")
    if not _PRINTABLE.fullmatch(first):
        return BadRequest(400, "Invalid request target")
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            return BadRequest(400, "Malformed header")
        fields.append((match[1].lower(), match[2].strip(b" \t")))
    try:
        Request(request_line(first), fields)
    except BadRequest as fault:
        return fault
    return BadRequest(400, "Malformed header")
