"""The meaning of an HTTP/1 request head: framing, keep-alive, upgrades; the same for every codec.

Owns: the semantics of the fields, after the line was parsed (`request_line`) and the fields were split (RFC 9110, RFC
9112). Must not: know asyncio, ASGI or a parser. Fails by: `BadRequest`.
"""

from __future__ import annotations

import re

from uvicorn.errors import BadRequest
from uvicorn.net import proxies
from uvicorn.net.grammar import TOKEN, is_token
from uvicorn.worker.http.headers import Fields, check_host, known_hosts
from uvicorn.worker.http.request import Request
from uvicorn.worker.http1.request_line import RequestLine, request_line

_FORWARDED = frozenset(proxies.FIELDS)
_SPECIAL = _FORWARDED | {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"te", b"upgrade"}
_PRINTABLE = re.compile(rb"[ -~]*")
_FIELD = re.compile(rb"(%b):([\t -~\x80-\xff]*)" % TOKEN)

_BOUND = 1024
"""Connection values in the cache, which a peer's bytes can fill; it is emptied when full."""

_options: dict[bytes, frozenset[bytes]] = {}


class RequestHead(Request):
    """The head of one HTTP/1 request, checked.

    `keep_alive`: whether the client wants to reuse the connection (RFC 9112, 9.3). `upgrade`: the value of Upgrade if
    Connection names it. `simple`: HTTP/1.1 and not HEAD, so that nothing in the response depends on the request.
    """

    __slots__ = ("keep_alive", "simple", "upgrade")

    def __init__(self, line: RequestLine, fields: Fields) -> None:
        """Raises BadRequest for what RFC 9112 refuses in a request's fields."""
        method, self.target, http_version, self.path, self.raw_path, self.query_string, authority = line
        self.method = method
        self.http_version = http_version
        self.fields = fields
        self.content_length = 0
        self.keep_alive = self.simple = http_version == "1.1"
        if method == "HEAD":
            self.simple = False
        self.expect_continue = self.forwarded = self.takes_trailers = False
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
        elif host not in known_hosts:
            check_host(host)
        if special is not None:
            if repeated:
                special = {name: b", ".join([value for one, value in fields if one == name]) for name in special}
            self._apply(special)
        if authority is not None:  # replaces Host (RFC 9112, 3.2.2)
            fields[:] = [(b"host", authority), *(field for field in fields if field[0] != b"host")]

    def fits(self, line: RequestLine) -> bool:
        """Whether `with_line` has the same result as parsing this line with the same fields."""
        return line.http_version == self.http_version and line.authority is None

    def with_line(self, line: RequestLine) -> RequestHead:
        """The same fields with another request line."""
        other = RequestHead.__new__(RequestHead)
        method, other.target, other.http_version, other.path, other.raw_path, other.query_string, _ = line
        other.method = method
        other.simple = self.http_version == "1.1" and method != "HEAD"
        other.fields = self.fields
        other.content_length = self.content_length
        other.keep_alive = self.keep_alive
        other.expect_continue = self.expect_continue
        other.forwarded = self.forwarded
        other.takes_trailers = self.takes_trailers
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
        if self.http_version == "1.1":
            if special.get(b"expect", b"").lower() == b"100-continue":
                self.expect_continue = self.content_length != 0
            if b"te" in special:
                codings = special[b"te"].lower().split(b",")
                self.takes_trailers = b"trailers" in [coding.strip(b" \t") for coding in codings]


def _connection_options(value: bytes) -> frozenset[bytes]:
    """The options of a Connection field (RFC 9110, 7.6.1) in lower case, cached."""
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


def refusal(head: bytes) -> BadRequest:
    """Why a codec has refused `head`, whose request line is valid.

    Parsers check framing fields too, each in another order. If the fields can be split, our own checks decide the
    status, so that it is the same for every codec. The message of the parser, which may quote the client, is only
    logged, as the cause.
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
        RequestHead(request_line(first), fields)
    except BadRequest as fault:
        return fault
    return BadRequest(400, "Malformed header")


UNREAD = RequestHead(request_line(b"GET / HTTP/1.0"), [])
"""In place of a request whose head could not be read, or was not read yet."""
