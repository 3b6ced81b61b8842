"""Header fields in every version of HTTP: names, and what must not be sent.

Owns: for requests, the names in lower case and the check of Host; for responses, the checks of names, values and
lengths (RFC 9110, 5 and 8.6). Must not: know a wire format. Fails by: `BadRequest` for a request, TypeError or
ValueError for a response.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from uvicorn.errors import BadRequest
from uvicorn.net.grammar import is_host, is_token

Fields = list[tuple[bytes, bytes]]
"""The fields of a request, in order."""
Headers = Iterable[Sequence[bytes]]
"""The fields of a response, as an application sends them."""

_BOUND = 1024
"""Entries of a cache that clients can fill; it is emptied when full."""
_RESPONSE_BOUND = 512
_ILLEGAL = re.compile(rb"[\r\n\x00]")

_NO_TRAILERS = frozenset(
    (
        *(b"content-length", b"transfer-encoding", b"trailer", b"host", b"max-forwards"),
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"),
        *(b"authorization", b"proxy-authorization", b"proxy-authenticate", b"www-authenticate", b"set-cookie"),
        *(b"cache-control", b"expect", b"pragma", b"range"),
        *(b"age", b"date", b"expires", b"location", b"retry-after", b"vary"),
        *(b"content-encoding", b"content-range", b"content-type"),
    )
)
"""Framing and routing, the connection, authentication, what modifies a request or controls a response, and the format
of the content: a client needs these before the content (RFC 9110, 6.5.1)."""

known_names: dict[bytes, bytes] = {}
known_hosts: set[bytes] = set()
known_response_names: dict[bytes, bytes] = {}
"""Names that `check_name` has passed, and the same in lower case."""

# -- of requests -----------------------------------------------------------------------------------------------


def field_name(name: bytes) -> bytes:
    """`name` in lower case. Short names come from a cache, so that equal names are the same object."""
    known = known_names.get(name)
    if known is None:
        known = name.lower()
        if len(known_names) >= _BOUND:
            known_names.clear()
        if len(name) <= 64:
            known_names[name] = known
    return known


def check_host(host: bytes) -> None:
    """Raises BadRequest for an invalid host or port (RFC 9110, 7.2). A valid one is added to `known_hosts`."""
    if not is_host(host):
        raise BadRequest(400, "Invalid Host")
    if len(known_hosts) >= _BOUND:
        known_hosts.clear()
    if len(host) <= 255:
        known_hosts.add(host)


# -- of responses ----------------------------------------------------------------------------------------------


def check_name(name: bytes) -> bytes:
    """The name in lower case. Raises TypeError or ValueError for an invalid one."""
    if not isinstance(name, bytes):
        raise TypeError(f"A header name must be bytes, not {type(name).__name__}: {name!r}")
    if not is_token(name):
        raise ValueError(f"Invalid header name in the response: {name!r}")
    if len(known_response_names) >= _RESPONSE_BOUND:
        known_response_names.clear()
    return known_response_names.setdefault(bytes(name), name.lower())


def blame_value(headers: Headers) -> NoReturn:
    """Raises ValueError with the name of the field whose value is invalid."""
    for name, value in headers:
        if _ILLEGAL.search(value):
            raise ValueError(f"Invalid value of header {name!r} in the response: CR, LF or NUL in {value!r}")
    raise ValueError("Invalid headers in the response.")


def checked_trailers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The trailers of a response, with names in lower case. Raises TypeError or ValueError for what no trailers may
    have (RFC 9110, 6.5.1; RFC 9113, 8.1).
    """
    trailers = []
    for name, value in encoded(headers):
        if isinstance(name, bytes) and name[:1] == b":":
            raise ValueError(f"Pseudo headers are not allowed in trailers: {name!r}")
        lowered = known_response_names.get(name) or check_name(name)
        if lowered in _NO_TRAILERS or lowered.startswith(b"if-"):
            raise ValueError(f"{name.decode()!r} is not allowed in trailers: send it in http.response.start.")
        if not isinstance(value, bytes):
            raise TypeError(f"The value of a trailer must be bytes, not {type(value).__name__}: {value!r}")
        if _ILLEGAL.search(value):
            raise ValueError(f"Invalid value of trailer {name!r} in the response: CR, LF or NUL in {value!r}")
        trailers.append((lowered, value.strip(b" \t")))
    return trailers


def same_length(value: bytes, so_far: int | None) -> int:
    """The length that `value` says; several equal ones are one, in a field or in several (RFC 9110, 8.6)."""
    for one in value.split(b","):
        one = one.strip(b" \t")
        if not one.isdigit():
            raise ValueError(f"Invalid Content-Length in the response: {value!r}")
        length = int(one)
        if so_far not in (None, length):
            raise ValueError("Two different Content-Length values in the response.")
        so_far = length
    return length


def encoded(headers: Iterable[Sequence[Any]]) -> tuple[tuple[bytes, ...], ...]:
    """Text of ASCII becomes bytes. ASGI knows only bytes, but h11 takes text as well, and applications have come to
    rely on it; here both parsers do. Raises ValueError for other text.
    """
    return tuple([tuple([part.encode("ascii") if isinstance(part, str) else part for part in one]) for one in headers])
