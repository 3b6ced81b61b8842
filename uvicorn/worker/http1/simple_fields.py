"""The fields of a usual head without a parser: each line from a cache, or by one regular expression.

A line is plain when every codec makes the same of it: a token, a colon, at most one space, visible ASCII with spaces
inside. A head with any other line (white space elsewhere, tabs, bytes from 0x80 on, folding, no field at all) or with a
Transfer-Encoding is a codec's to judge. What the fields mean is judged after both (`request_head`).

It is quicker than llhttp, which calls back for each field: most lines of a head have been seen before, in another head
or on another connection, and a known line is one look into a dictionary. What tells users apart is parsed each time and
not kept.

Must not: refuse anything, or know what a field means. Fails by: None.
"""

from __future__ import annotations

import re

from uvicorn.net.grammar import TOKEN
from uvicorn.worker.http.headers import Fields, field_name

_PLAIN = re.compile(rb"(%b): ?((?:[!-~](?:[ -~]*[!-~])?)?)" % TOKEN).fullmatch
_NOT_KEPT = frozenset((b"authorization", b"content-length", b"cookie", b"proxy-authorization"))
_BOUND = 1024
"""Lines in the cache; it is emptied when full."""
_LONGEST = 256
"""Bytes of the longest line in it."""

_known: dict[bytes, tuple[bytes, bytes]] = {}


def simple_fields(head: bytes, start: int) -> Fields | None:
    """The fields of a whole head, whose first one begins at `start`; None when a codec has to see it."""
    known = _known.get
    try:
        return [known(line) or _field(line) for line in head[start:-4].split(b"\r\n")]
    except _NotPlain:
        return None


class _NotPlain(Exception):
    pass


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _PLAIN(line)
    if match is None:
        raise _NotPlain
    name = field_name(match[1])
    if name == b"transfer-encoding":
        raise _NotPlain
    field = name, match[2]
    if len(line) <= _LONGEST and name not in _NOT_KEPT:
        if len(_known) >= _BOUND:
            _known.clear()
        _known[line] = field
    return field
