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
