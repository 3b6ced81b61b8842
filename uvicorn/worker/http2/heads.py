"""The head of an ASGI response → a field block (RFC 9113, 8.3.2), and the length of its body.

Blocks use no dynamic table (see `hpack`), so equal ones come from a bounded cache for all connections. Owns: the checks
of names and values, and the removal of connection-specific fields. Must not: know a stream. Fails by: ValueError or
TypeError, in the application's `send`, for a head that cannot be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http.headers import Headers, blame_value, check_name, encoded, known_response_names, same_length
from uvicorn.worker.http2.hpack import encode, encoded_field

_CACHE_ENTRIES = 512
_CACHED_BYTES = 1024

_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Connection-specific fields, which are removed from a response (RFC 9113, 8.2.2)."""

UNKNOWN = -1
"""The length of a body without Content-Length."""


class FieldBlock:
    """The encoded header fields of a response, and which special fields are among them.

    `ready` is a whole block with status 200, behind the default fields that are in it, which change every second.
    """

    __slots__ = ("content_length", "data", "has_date", "has_server", "ready")

    def __init__(self, headers: Headers) -> None:
        """Raises TypeError or ValueError."""
        length: int | None = None
        self.has_date = self.has_server = False
        fields = []
        for name, value in headers:
            lowered = known_response_names.get(name)
            if lowered is None:
                lowered = check_name(name)
            if lowered in _CONNECTION:
                continue
            if lowered == b"content-length":
                again, length = length is not None, same_length(value, length)
                if again:
                    continue
                value = b"%d" % length
            elif lowered == b"date":
                self.has_date = True
            elif lowered == b"server":
                self.has_server = True
            if b"\r" in value or b"\n" in value or b"\x00" in value:
                blame_value(headers)
            fields.append((lowered, value.strip(b" \t")))
        self.content_length = UNKNOWN if length is None else length
        self.data = encode(fields)
        self.ready: tuple[bytes | None, bytes] = (None, b"")


_blocks: dict[tuple[Sequence[bytes], ...], FieldBlock] = {}
_rendered: dict[tuple[bytes, bool, bool], bytes] = {}
_statuses = {status: encoded_field(b":status", b"%d" % status) for status in range(200, 600)}
_CONTINUE = encoded_field(b":status", b"100")
_HINTS = encoded_field(b":status", b"103")


def field_block(headers: Headers) -> FieldBlock:
    """The checked block of some headers, from the cache if possible. Raises TypeError or ValueError."""
    key = tuple(headers)
    keep = True
    try:
        block = _blocks.get(key)
    except TypeError:  # fields given as lists
        block, keep = None, False
    if block is None:
        try:
            block = FieldBlock(key)
        except TypeError:
            block, keep = FieldBlock(encoded(key)), False
        if keep and len(block.data) <= _CACHED_BYTES:
            if len(_blocks) >= _CACHE_ENTRIES:
                _blocks.clear()
            _blocks[key] = block
    return block


def default_fields(default: DefaultFields, date: bool, server: bool) -> bytes:
    """The default fields, without Date or Server if the application sends its own."""
    key = default.block, date, server
    data = _rendered.get(key)
    if data is None:
        skipped = {b"date"} if date else set()
        if server:
            skipped.add(b"server")
        pairs = [(name.lower(), value.strip(b" \t")) for name, value in default.pairs]
        data = encode([pair for pair in pairs if pair[0] not in skipped])
        if len(_rendered) >= 8:  # of the last second or two
            _rendered.clear()
        _rendered[key] = data
    return data


def response_head(
    method: str, status: int, headers: Headers, default: DefaultFields, size: int, more: bool
) -> tuple[bytes, bool, int]:
    """(field block of a response, whether it has no body, Content-Length or UNKNOWN).

    `size` is the length of the first part of the body, `more` whether others follow. Raises ValueError or TypeError.
    """
    headers = tuple(headers)
    try:
        block = _blocks[headers]
    except (KeyError, TypeError):
        block = field_block(headers)
    length = block.content_length
    if status == 200 and length >= 0 and method != "HEAD":
        ready = block.ready
        if ready[0] is not default.block:
            head = _statuses[200] + default_fields(default, block.has_date, block.has_server) + block.data
            ready = block.ready = (default.block, head)
        return ready[1], False, length
    first = _statuses.get(status)
    if first is None:
        raise ValueError(f"Invalid status of a response: {status!r}")
    data = first + default_fields(default, block.has_date, block.has_server)
    bodiless = method == "HEAD" or status in (204, 205, 304)
    if status in (204, 205) and length >= 0:  # RFC 9110, 8.6 and 15.3.6
        data += FieldBlock([field for field in encoded(headers) if field[0].lower() != b"content-length"]).data
        length = UNKNOWN
    else:
        data += block.data
    if status == 205:
        data += encoded_field(b"content-length", b"0")
    elif length < 0 and not more and status not in (204, 304) and (size or not bodiless):
        length = size
        data += encoded_field(b"content-length", b"%d" % size)
    return data, bodiless, length


def interim_head(links: Iterable[bytes] | None) -> bytes:
    """The block of a 103 with these Link values (RFC 8297), or of a 100 for None. Raises TypeError or ValueError."""
    if links is None:
        return _CONTINUE
    return _HINTS + FieldBlock([(b"link", bytes(memoryview(link))) for link in links]).data


def trailer_block(headers: Headers) -> bytes:
    """The block of a response's trailers. Raises TypeError or ValueError."""
    return field_block(headers).data
