"""HPACK's Huffman code (RFC 7541, 5.2 and Appendix B).

There are two decoders with the same results: one reads half a byte at a time; the other uses `zlib`.
The code is canonical. If its symbols of more than 15 bits are replaced by one code of 15 bits, it is a complete code of
the kind that deflate uses (RFC 1951, 3.2.7). So a raw inflate object that has read the description of this code decodes
strings whose bits are reversed within each byte. It stops at a long symbol. Such strings go to the other decoder, and
so do short strings, and all strings on an interpreter whose `zlib` cannot do this.

Owns: the code, `encode` and `decode`. Must not: know HPACK's tables. Fails by: ValueError for an invalid
Huffman string.
"""

from __future__ import annotations

import zlib

EOS = 256
"""The symbol that ends the code; no string may contain it (RFC 7541, 5.2)."""

_SYMBOLS: dict[int, bytes] = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5"
    b"\xe7\xef",
    24: b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"
    b"\xdc\xf9",
    30: b"\n\r\x16",
}
"""Number of bits → symbols with codes of that length, without EOS. Codes of one length follow the symbols' order."""

LONGEST_SHORT = 15
"""Bits of the longest code in deflate."""
SHORT_STRING = 14
"""Bytes up to which the first decoder is as fast."""


def _codes() -> tuple[list[int], list[int]]:
    """(codes, their lengths in bits), by symbol, EOS included."""
    codes, lengths = [0] * 257, [0] * 257
    code = before = 0
    for bits, symbols in _SYMBOLS.items():
        for symbol in [*symbols, *([EOS] if bits == 30 else [])]:
            code <<= bits - before
            before = bits
            codes[symbol], lengths[symbol] = code, bits
            code += 1
    return codes, lengths


CODES, LENGTHS = _codes()
_BITS = bytes(LENGTHS[:256])

# -- encoding --------------------------------------------------------------------------------------------------


def encode(text: bytes) -> bytes:
    """The Huffman string of `text`, padded with ones."""
    bits = value = 0
    for symbol in text:
        length = LENGTHS[symbol]
        value = value << length | CODES[symbol]
        bits += length
    padding = -bits % 8
    return (value << padding | (1 << padding) - 1).to_bytes((bits + padding) // 8, "big")


def encoded_size(text: bytes) -> int:
    """The length of `encode(text)`."""
    return (sum(text.translate(_BITS)) + 7) // 8


# -- half a byte at a time -------------------------------------------------------------------------------------

_Step = tuple[int, int]
"""(next state, completed symbol or -1). A state is an inner node of the code's tree."""

_FAILED = -1


def _machine() -> tuple[list[list[_Step]], list[bool]]:
    """For each state: the step for each half byte, and whether a string may end there (after at most seven ones)."""
    children: list[list[int]] = [[0, 0]]  # of an inner node: another one, or -1 - symbol
    for symbol in range(257):
        node = 0
        for at in range(LENGTHS[symbol] - 1, -1, -1):
            bit = CODES[symbol] >> at & 1
            if at == 0:
                children[node][bit] = -1 - symbol
            elif children[node][bit] == 0:
                children.append([0, 0])
                children[node][bit] = len(children) - 1
            node = children[node][bit]
    steps: list[list[_Step]] = []
    for start in range(len(children)):
        row = []
        for half in range(16):
            node, done = start, -1
            for at in (3, 2, 1, 0):
                node = children[node][half >> at & 1]
                if node < 0:
                    if node == -1 - EOS:
                        node = _FAILED
                        break
                    done, node = -1 - node, 0
            row.append((node, done))
        steps.append(row)
    ends = [False] * len(children)
    node = 0
    for _ in range(8):
        ends[node] = True
        node = children[node][1]
    return steps, ends


_STEPS, _ENDS = _machine()


def decode_by_halves(data: bytes) -> bytes:
    """The text of a Huffman string. Raises ValueError."""
    out = bytearray()
    state = 0
    steps = _STEPS
    for byte in data:
        state, symbol = steps[state][byte >> 4]
        if symbol >= 0:
            out.append(symbol)
        elif state < 0:
            break
        state, symbol = steps[state][byte & 15]
        if symbol >= 0:
            out.append(symbol)
        elif state < 0:
            break
    if state < 0 or not _ENDS[state]:
        raise ValueError("invalid Huffman string")
    return bytes(out)


# -- by zlib ---------------------------------------------------------------------------------------------------

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
"""The order of the code length codes in deflate (RFC 1951, 3.2.7)."""


def _description() -> bytes:
    """The head of a deflate block that describes the code of the short symbols (RFC 1951, 3.2.7).

    Empty blocks of ten bits in front of it make it end at a byte boundary.
    """
    lengths = [bits if bits <= LONGEST_SHORT else 0 for bits in LENGTHS[:256]]
    lengths += [LONGEST_SHORT, 0]  # end-of-block stands for all long symbols; there are no distance codes
    used = sorted(set(lengths), key=lambda one: (-lengths.count(one), one))
    for threes in ([*used[:5]], [*used[:4], used[5]]):  # of the eleven lengths five get three bits, the others four
        width = {one: 3 if one in threes else 4 for one in used}
        bits = sum(width[one] for one in lengths)
        if (3 + 5 + 5 + 4 + 3 * len(_ORDER) + bits) % 2 == 0:
            break
    codes: dict[int, str] = {}
    code = 0
    for one in sorted(used, key=lambda one: (width[one], one)):
        code <<= width[one] - (3 if not codes else len(list(codes.values())[-1]))
        codes[one] = f"{code:0{width[one]}b}"
        code += 1

    def number(value: int, size: int) -> str:  # numbers start with their lowest bit, codes with their highest
        return f"{value:0{size}b}"[::-1]

    text = "1" + number(2, 2) + number(0, 5) + number(0, 5) + number(len(_ORDER) - 4, 4)
    text += "".join(number(width.get(one, 0), 3) for one in _ORDER) + "".join(codes[one] for one in lengths)
    empty = "0" + number(1, 2) + "0000000"
    while len(text) % 8:
        text = empty + text
    return bytes(int(text[at : at + 8][::-1], 2) for at in range(0, len(text), 8))


def _prepared() -> zlib._Decompress | None:
    """An inflate object that has read the description; None if it cannot be copied or decodes wrongly."""
    try:
        made = zlib.decompressobj(-15)
        made.decompress(_description())
        sample = bytes(_SYMBOLS[5] + _SYMBOLS[8] + _SYMBOLS[13] + _SYMBOLS[15])
        if made.copy().decompress(encode(sample).translate(_REVERSED)) == sample:
            return made
    except (zlib.error, AttributeError, NotImplementedError):
        pass
    return None


_inflate = _prepared()


def decode(data: bytes) -> bytes:
    """The text of a Huffman string. Raises ValueError for one with EOS, or with other padding than up to seven ones."""
    if _inflate is None or len(data) <= SHORT_STRING:
        return decode_by_halves(data)
    work = _inflate.copy()
    text = work.decompress(data.translate(_REVERSED))
    # The bits that no symbol used, modulo 255: a number to the base 256, modulo 255, is the sum of its digits.
    padding = (8 * len(data) - int.from_bytes(text.translate(_BITS), "little")) % 255
    if work.eof or padding > 7 or (data[-1] + 1) & (1 << padding) - 1:
        return decode_by_halves(data)  # a long symbol, or an invalid string
    return text
