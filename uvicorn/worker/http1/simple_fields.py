"""The fields of a simple head without a parser: each line from a cache, or by one regular expression.

A line is simple if every codec has the same result for it: a token, a colon, at most one space, visible ASCII with
spaces inside. A head with any other line (other white space, tabs, bytes from 0x80 on, folding, no field at all), or
with a Transfer-Encoding, is left to a codec. The meaning of the fields is checked afterwards in both cases
(`request_head`).

This is faster than llhttp, which calls back for each field: most lines were seen before, in another head or on another
connection, and take one dictionary lookup. Lines that identify a user are parsed each time and not kept.

Must not: refuse anything, or know the meaning of a field. Fails by: None.
"""

from __future__ import annotations

import re

from uvicorn.net.grammar import TOKEN
from uvicorn.worker.http.headers import Fields, field_name

_SIMPLE = re.compile(rb"(%b): ?((?:[!-~](?:[ -~]*[!-~])?)?)" % TOKEN).fullmatch
_NOT_KEPT = frozenset((b"authorization", b"content-length", b"cookie", b"proxy-authorization"))
_BOUND = 1024
"""Lines in the cache; it is emptied when full."""
_LONGEST = 256
"""Bytes of the longest line in it."""

_known: dict[bytes, tuple[bytes, bytes]] = {}


def simple_fields(head: bytes, start: int) -> Fields | None:
    """The fields of a whole head, whose first one begins at `start`; None if it needs a codec."""
    known = _known.get
    try:
        return [known(line) or _field(line) for line in head[start:-4].split(b"\r\n")]
    except _NotSimple:
        return None


class _NotSimple(Exception):
    pass


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _SIMPLE(line)
    if match is None:
        raise _NotSimple
    name = field_name(match[1])
    if name == b"transfer-encoding":
        raise _NotSimple
    field = name, match[2]
    if len(line) <= _LONGEST and name not in _NOT_KEPT:
        if len(_known) >= _BOUND:
            _known.clear()
        _known[line] = field
    return field
