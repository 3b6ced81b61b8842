"""permessage-deflate (RFC 7692): the negotiation, and the compressor and decompressor of one connection.

Windows are small (4 KiB, which takes a tenth of the memory of zlib's default) unless the client asks for others, and
neither object is made before its first compressed message. The size of a message is checked while it is inflated, so a
zip bomb costs no more than the limit.

Owns: the negotiation and the zlib state, the same for every codec. Must not: know a frame. Fails by: `TooBig`, and
`zlib.error` for data that is not deflated.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from uvicorn.net.grammar import TOKEN_TEXT

NAME = "permessage-deflate"
WINDOW_BITS = 12
_MEMORY_LEVEL = 5
_TAIL = b"\x00\x00\xff\xff"
_PARAMETER = re.compile(rf"\s*({TOKEN_TEXT})\s*(?:=\s*(?:\"([0-9]+)\"|([0-9]+))\s*)?")
_OFFERS = 16
"""Offers that are read at most; clients make one or two."""


class TooBig(Exception):
    """The inflated message is larger than allowed."""


class Agreed(NamedTuple):
    """The size of each window, as a power of two, and whether a side forgets its window after each message.

    "We" compress, "they" are inflated.
    """

    our_bits: int
    their_bits: int
    we_forget: bool
    they_forget: bool

    def header(self, their_bits_named: bool) -> str:
        """The value of Sec-WebSocket-Extensions in the answer."""
        words = [NAME]
        if self.we_forget:
            words.append("server_no_context_takeover")
        if self.they_forget:
            words.append("client_no_context_takeover")
        words.append(f"server_max_window_bits={self.our_bits}")
        if their_bits_named:
            words.append(f"client_max_window_bits={self.their_bits}")
        return "; ".join(words)


def negotiate(offers: str) -> tuple[str | None, Agreed | None]:
    """(Sec-WebSocket-Extensions of the answer, what it means), or (None, None) if no offer can be accepted."""
    for offer in offers.split(",")[:_OFFERS]:
        name, *words = offer.split(";")
        if name.strip() != NAME:
            continue
        found = _parameters(words)
        if found is None:
            continue
        ours, theirs = found.get("server_max_window_bits"), found.get("client_max_window_bits")
        if ours == 8:  # zlib cannot compress with a window that small
            continue
        # A client that does not mention its window cannot be asked to use a smaller one (RFC 7692, 7.1.2.2).
        agreed = Agreed(
            our_bits=min(ours or 15, WINDOW_BITS),
            their_bits=min(theirs or 15, WINDOW_BITS) if theirs is not None else 15,
            we_forget="server_no_context_takeover" in found,
            they_forget="client_no_context_takeover" in found,
        )
        return agreed.header(theirs is not None), agreed
    return None, None


def _parameters(words: list[str]) -> dict[str, int] | None:
    """The parameters of an offer, 0 for one without a value; None if the offer is not valid (RFC 7692, 7.1)."""
    found: dict[str, int] = {}
    for word in words:
        match = _PARAMETER.fullmatch(word)
        if match is None or match[1] in found:
            return None
        name, value = match[1], match[2] or match[3]
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return None
        elif name == "client_max_window_bits" and value is None:
            pass
        elif name not in ("client_max_window_bits", "server_max_window_bits") or value not in _BITS:
            return None
        found[name] = int(value or 0)
    return found


_BITS = frozenset(str(bits) for bits in range(8, 16))


class Deflate:
    """The compressor and the decompressor of one connection."""

    __slots__ = ("_compressor", "_decompressor", "agreed")

    def __init__(self, agreed: Agreed) -> None:
        self.agreed = agreed
        self._compressor: zlib._Compress | None = None
        self._decompressor: zlib._Decompress | None = None

    def compress(self, data: bytes) -> bytes:
        """The payload of one whole message."""
        compressor = self._compressor
        if compressor is None:
            bits = self.agreed.our_bits
            compressor = self._compressor = zlib.compressobj(wbits=-bits, memLevel=_MEMORY_LEVEL)
        packed = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if self.agreed.we_forget:
            self._compressor = None
        return packed[:-4]

    def inflate(self, data: bytes, last: bool, limit: int) -> bytes:
        """Inflate the next part of a message, or the `last` one. Raises TooBig above `limit` bytes, and zlib.error."""
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = self._decompressor = zlib.decompressobj(wbits=-max(9, self.agreed.their_bits))
        if last:
            data = data + _TAIL
        # Data after a last block is ignored; zlib would keep all of it.
        inflated = b"" if decompressor.eof else decompressor.decompress(data, limit + 1)
        if len(inflated) > limit:
            raise TooBig
        # A last block (BFINAL) ends zlib's stream but not the connection: the next message begins another stream.
        if last and (self.agreed.they_forget or decompressor.eof):
            self._decompressor = None
        return inflated
