"""HPACK (RFC 7541): the decoder of a connection's field blocks, and a stateless encoder.

The decoder keeps the dynamic table that the peer fills. A field is judged when it enters the table, not each time the
peer refers to it by its index: an entry is a field with its kind, and `judge`, which the decoder is given, returns the
kind. The encoder uses the static table and literals only. So its blocks mean the same on every connection and can be
cached for all of them.

Owns: the tables, decoding and encoding. Must not: know what a field means. Fails by: ValueError for a block that cannot
be decoded. The table is undefined then, so the connection has to end (RFC 9113, 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from uvicorn.worker.http2 import huffman

Field = tuple[bytes, bytes]
Entry = tuple[Field, Any]
"""(a field, its kind)."""
Judge = Callable[[bytes, bytes], Any]

TABLE_SIZE = 4096
"""Bytes of the dynamic table: the initial SETTINGS_HEADER_TABLE_SIZE (RFC 9113, 6.5.2)."""
OVERHEAD = 32
"""Bytes added to the name and the value in the size of an entry (RFC 7541, 4.1)."""
_LARGEST = 1 << 28
"""Integers of a block are below this."""

STATIC: tuple[Field, ...] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    *((b":status", code) for code in (b"200", b"204", b"206", b"304", b"400", b"404", b"500")),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    *(
        (name, b"")
        for name in (
            b"accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control"
            b" content-disposition content-encoding content-language content-length content-location content-range"
            b" content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range"
            b" if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization"
            b" range referer refresh retry-after server set-cookie strict-transport-security transfer-encoding"
            b" user-agent vary via www-authenticate"
        ).split()
    ),
)
"""The static table (RFC 7541, Appendix A); its first entry has the index 1."""
_DYNAMIC = len(STATIC) + 1
"""The index of the newest entry of the dynamic table."""


class Decoder:
    """Decodes the field blocks of one connection, in their order.

    `changes` counts changes of the table: while it stays the same, equal blocks mean the same. `overflow`: the last
    block had more fields or more bytes than the caller's limits. It was decoded to its end all the same, because the
    table depends on it. `left`: how many bytes below the limit it was.
    """

    __slots__ = ("_judge", "_limit", "_size", "_static", "_table", "changes", "left", "overflow")

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._static: list[Entry] = [((b"", b""), None), *((field, judge(*field)) for field in STATIC)]
        self._table: list[Entry] = []  # the newest is the last
        self._size = 0
        self._limit = TABLE_SIZE
        self.changes = self.left = 0
        self.overflow = False

    def share(self) -> Decoder:
        """A decoder for another connection, with an empty dynamic table."""
        made = Decoder.__new__(Decoder)
        made._judge, made._static = self._judge, self._static
        made._table, made._size, made._limit = [], 0, TABLE_SIZE
        made.changes, made.left, made.overflow = 0, 0, False
        return made

    def decode(self, block: bytes, fields: int, size: int, at: int = 0) -> list[Entry]:
        """The fields of a block from `at` on, up to `fields` of them and `size` bytes of names and values. Raises
        ValueError.
        """
        entries: list[Entry] = []
        self.overflow = False
        end = len(block)
        while at < end:
            byte = block[at]
            at += 1
            if byte & 0x80:
                index = byte & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, index)
                entry = self._entry(index)
            elif byte & 0xE0 == 0x20:
                if entries or self.overflow:
                    raise ValueError("table size update after a field")
                index = byte & 0x1F
                if index == 0x1F:
                    index, at = _integer(block, at, index)
                self._resize(index)
                continue
            else:
                mask = 0x3F if byte & 0x40 else 0x0F
                index = byte & mask
                if index == mask:
                    index, at = _integer(block, at, index)
                if index:
                    name = self._entry(index)[0][0]
                else:
                    name, at = string_at(block, at)
                value, at = string_at(block, at)
                entry = (name, value), self._judge(name, value)
                if byte & 0x40:
                    self._insert(entry)
            size -= len(entry[0][0]) + len(entry[0][1])
            if size < 0 or len(entries) == fields:
                self.overflow = True
            else:
                entries.append(entry)
        self.left = size
        return entries

    def _entry(self, index: int) -> Entry:
        if index < _DYNAMIC:
            if index:
                return self._static[index]
        elif index - _DYNAMIC < len(self._table):
            return self._table[_DYNAMIC - 1 - index]
        raise ValueError("invalid index")

    def _insert(self, entry: Entry) -> None:
        self.changes += 1
        (name, value), _ = entry
        size = len(name) + len(value) + OVERHEAD
        if self._size + size > self._limit:
            self._evict(self._limit - size)
        if size <= self._limit:
            self._table.append(entry)
            self._size += size

    def _evict(self, limit: int) -> None:
        """Remove the oldest entries until the others take at most `limit` bytes."""
        gone = 0
        for (name, value), _ in self._table:
            if self._size <= limit:
                break
            self._size -= len(name) + len(value) + OVERHEAD
            gone += 1
        del self._table[:gone]

    def _resize(self, limit: int) -> None:
        if limit > TABLE_SIZE:
            raise ValueError("table size update above the limit")
        self.changes += 1
        self._limit = limit
        self._evict(limit)


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """(value, position behind it) of an integer whose prefix is full (RFC 7541, 5.1). Raises ValueError."""
    shift = 0
    for place in range(at, len(block)):
        byte = block[place]
        value += (byte & 0x7F) << shift
        if value >= _LARGEST or shift > 28:
            break
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise ValueError("invalid or incomplete integer")


def string_at(block: bytes, at: int) -> tuple[bytes, int]:
    """A string (RFC 7541, 5.2), and what comes after it. Raises ValueError."""
    if at >= len(block):
        raise ValueError("incomplete field")
    byte = block[at]
    length = byte & 0x7F
    at += 1
    if length == 0x7F:
        length, at = _integer(block, at, length)
    end = at + length
    if end > len(block):
        raise ValueError("incomplete string")
    text = block[at:end]
    return (huffman.decode(text) if byte & 0x80 else text), end


# -- encoding --------------------------------------------------------------------------------------------------

NO_TABLE = b"\x20"
"""Table size update to 0, for the first block after the peer has made its table smaller (RFC 7541, 4.2)."""

_NAMES = {name: index for index, (name, _) in reversed(list(enumerate(STATIC, 1)))}
_FIELDS = {field: bytes([0x80 | index]) for index, field in enumerate(STATIC, 1) if field[1]}
_SECRET = frozenset((b"set-cookie", b"authorization", b"proxy-authorization", b"cookie"))
"""Encoded as never indexed, so that intermediaries do not put them into a table either (RFC 7541, 7.1.3)."""


def encoded_integer(value: int, bits: int, first: int) -> bytes:
    """`value` with a prefix of `bits` bits; `first` has the other bits of the first byte (RFC 7541, 5.1)."""
    full = (1 << bits) - 1
    if value < full:
        return bytes([first | value])
    out = bytearray([first | full])
    value -= full
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def encoded_string(text: bytes) -> bytes:
    """A string literal, Huffman-coded if that is shorter (RFC 7541, 5.2)."""
    size = huffman.encoded_size(text)
    if size < len(text):
        return encoded_integer(size, 7, 0x80) + huffman.encode(text)
    return encoded_integer(len(text), 7, 0) + text


def encoded_field(name: bytes, value: bytes) -> bytes:
    """One field, not added to the table. `name` is in lower case."""
    known = _FIELDS.get((name, value))
    if known is not None:
        return known
    first = 0x10 if name in _SECRET else 0
    index = _NAMES.get(name)
    begin = bytes([first]) + encoded_string(name) if index is None else encoded_integer(index, 4, first)
    return begin + encoded_string(value)


def encode(fields: Iterable[Field]) -> bytes:
    """A field block."""
    return b"".join([encoded_field(name, value) for name, value in fields])
