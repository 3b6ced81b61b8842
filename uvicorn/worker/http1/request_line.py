"""The request line of HTTP/1: methods, versions, targets (RFC 9112, 3).

Owns: which methods and versions are served, the forms of a target, and a cache of parsed lines. Must not: know header
fields. Fails by: `BadRequest` with 400, 405 (CONNECT), 501 (an unknown method) or 505.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from uvicorn.errors import BadRequest
from uvicorn.net.grammar import is_host, is_token

_METHOD_NAMES = """
    GET HEAD POST PUT DELETE OPTIONS PATCH TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND
    REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK
    UNLINK QUERY
"""
METHODS: dict[bytes, str] = {name.encode(): name for name in _METHOD_NAMES.split()}
"""The methods that every codec knows, less CONNECT. Any other token is answered 501."""

VERSIONS: dict[bytes, str] = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0", **{b"HTTP/1.%d" % n: "1.1" for n in range(2, 10)}}
"""The versions that are served, and as which: a later 1.x is answered as 1.1 (RFC 9110, 2.5)."""

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
"""With which HTTP/2 begins in cleartext, up to where it is told from HTTP/1 (RFC 9113, 3.4)."""

_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)

_BOUND = 1024
"""Lines in the cache, which a peer's bytes can fill; it is emptied when full."""


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
        if _VERSION.fullmatch(version) and is_token(method):  # the first fault in the order of the bytes is told
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
