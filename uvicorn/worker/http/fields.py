"""What header fields mean to the server: names, framing, persistence. The one place both codecs are judged by.

Owns: the request's semantics after a codec has split the fields (RFC 9110, RFC 9112). Must not: know asyncio, ASGI or
a parser. Fails by: `BadRequest`.
"""

from __future__ import annotations

import re

from uvicorn.errors import BadRequest

Fields = list[tuple[bytes, bytes]]

_METHOD_NAMES = """
    GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND
    REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK
    UNLINK QUERY
"""
METHODS: dict[bytes, str] = {name.encode(): name for name in _METHOD_NAMES.split()}
"""The methods that every codec knows. Any other token is answered 501."""

VERSIONS: dict[bytes, str] = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}

_SPECIAL = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"))
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(  # RFC 3986, 3.2.2 and 3.2.3: a literal address, or a registered name; then a port
    rb"(?:\[[0-9A-Fa-f:.vV!$&'()*+,;=_~\-]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_TARGET = re.compile(rb"[!\"$-~]+")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)

_BOUND = 1024
"""Entries of a cache that a peer's bytes can fill; it is emptied when full."""

_names: dict[bytes, bytes] = {}
_hosts: set[bytes] = set()


def field_name(name: bytes) -> bytes:
    """`name` lower-cased; the usual ones come from a cache, so that equal names are one object."""
    known = _names.get(name)
    if known is None:
        known = name.lower()
        if len(_names) >= _BOUND:
            _names.clear()
        if len(name) <= 64:
            _names[name] = known
    return known


class Request:
    """The head of one request, checked.

    `content_length` is None for a chunked body and 0 for none. `keep_alive` is the peer's wish (RFC 9112, 9.3).
    """

    __slots__ = (
        "content_length",
        "expect_continue",
        "fields",
        "http_version",
        "keep_alive",
        "method",
        "target",
        "upgrade",
    )

    content_length: int | None

    def __init__(self, method: str, target: bytes, http_version: str, fields: Fields) -> None:
        """Raises BadRequest for what RFC 9112 and ../WIRE rules refuse in a request's fields."""
        self.method = method
        self.target = target
        self.http_version = http_version
        self.fields = fields
        self.content_length = 0
        self.keep_alive = http_version == "1.1"
        self.expect_continue = False
        self.upgrade: bytes | None = None
        host: bytes | None = None
        special: dict[bytes, bytes] | None = None
        for name, value in fields:
            if name in _SPECIAL:
                if name == b"host":
                    if host is not None:
                        raise BadRequest(400, "More than one Host")
                    host = value
                elif special is None:
                    special = {name: value}
                elif name in special:
                    special[name] = _repeated(name, special[name], value)
                else:
                    special[name] = value
        if host is None:
            if http_version == "1.1":
                raise BadRequest(400, "No Host")
        elif host not in _hosts:
            _check_host(host)
        if special is not None:
            self._apply(special)

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
            options = [option.strip(b" \t") for option in connection.lower().split(b",")]
            if b"close" in options:
                self.keep_alive = False
            elif b"keep-alive" in options:
                self.keep_alive = True
            if b"upgrade" in options:
                self.upgrade = special.get(b"upgrade")
        if self.http_version == "1.1" and special.get(b"expect", b"").lower() == b"100-continue":
            self.expect_continue = self.content_length != 0


def _repeated(name: bytes, first: bytes, second: bytes) -> bytes:
    if name == b"content-length":
        raise BadRequest(400, "More than one Content-Length")
    return first + b", " + second


def check_transfer_encoding(value: bytes) -> None:
    """Only `chunked` is served: an unknown coding is 501, anything that does not end in it 400 (RFC 9112, 6.1)."""
    codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
    if codings == [b"chunked"]:
        return
    if any(not _TOKEN.fullmatch(coding.partition(b";")[0].rstrip()) for coding in codings):
        raise BadRequest(400, "Invalid Transfer-Encoding")
    if b"chunked" in codings[:-1]:
        raise BadRequest(400, "Transfer-Encoding does not end in chunked")
    raise BadRequest(501, "Unknown transfer coding")


def refuse_transfer_encoding(fields: Fields) -> None:
    """For a codec that refused a head: raise the more telling BadRequest if a Transfer-Encoding was the reason."""
    if any(name == b"content-length" for name, _ in fields):
        return
    for name, value in fields:
        if name == b"transfer-encoding":
            check_transfer_encoding(value)


def _check_host(host: bytes) -> None:
    if not _HOST.fullmatch(host):
        raise BadRequest(400, "Invalid Host")
    if len(_hosts) >= _BOUND:
        _hosts.clear()
    if len(host) <= 255:
        _hosts.add(host)


def request_line(line: bytes) -> tuple[str, bytes, str]:
    """(method, target, version) of a request line without its CRLF. Raises BadRequest (RFC 9112, 3)."""
    parts = line.split(b" ")
    if len(parts) != 3:
        raise BadRequest(400, "Invalid request line")
    method, target, version = parts
    number = VERSIONS.get(version)
    if number is None:
        raise BadRequest(400, "Invalid HTTP version")
    name = METHODS.get(method)
    if name is None:
        if _TOKEN.fullmatch(method):
            raise BadRequest(501, "Unknown method")
        raise BadRequest(400, "Invalid method")
    if not _TARGET.fullmatch(target):
        raise BadRequest(400, "Invalid request target")
    if target[0] != 47 or name == "CONNECT":
        _check_target(name, target)
    return name, target, number


def _check_target(method: str, target: bytes) -> None:
    if method == "CONNECT":
        raise BadRequest(405, "CONNECT is not served")
    if target == b"*":
        if method != "OPTIONS":
            raise BadRequest(400, "Request target * without OPTIONS")
    elif not _ABSOLUTE.fullmatch(target):
        raise BadRequest(400, "Invalid request target")


def absolute_target(request: Request) -> None:
    """Turn an absolute-form target into its path; its authority replaces Host (RFC 9112, 3.2.2). Raises BadRequest."""
    match = _ABSOLUTE.fullmatch(request.target)
    if match is None:
        return
    authority, path = match.groups()
    if not authority or b"@" in authority or not _HOST.fullmatch(authority):
        raise BadRequest(400, "Invalid authority in the request target")
    request.target = path if path.startswith(b"/") else b"/" + path
    rest = [field for field in request.fields if field[0] != b"host"]
    request.fields[:] = [(b"host", authority), *rest]
