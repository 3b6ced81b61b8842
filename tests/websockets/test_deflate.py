"""permessage-deflate: what is agreed, and zlib's two ends of it."""

from __future__ import annotations

import sys
import zlib

import pytest

import websocket_wire as wire
from uvicorn.worker.websockets.deflate import Agreed, Deflate, TooBig, negotiate

PLAIN = Agreed(our_bits=12, their_bits=12, we_forget=False, they_forget=False)
TAIL = b"\x00\x00\xff\xff"


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("", None),
        ("x-webkit-deflate-frame", None),
        ("permessage-deflate", "server_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits", "server_max_window_bits=12; client_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits=10", "server_max_window_bits=12; client_max_window_bits=10"),
        ('permessage-deflate; server_max_window_bits="9"', "server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=15", "server_max_window_bits=12"),
        ("permessage-deflate; server_no_context_takeover", "server_no_context_takeover; server_max_window_bits=12"),
        ("permessage-deflate; client_no_context_takeover", "client_no_context_takeover; server_max_window_bits=12"),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", "server_max_window_bits=12"),
        ("foo, permessage-deflate; what=1, permessage-deflate", "server_max_window_bits=12"),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; server_max_window_bits=012", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("permessage-deflate; client_no_context_takeover=1", None),
        ("permessage-deflate;", None),
    ],
)
def test_negotiation(offers: str, answer: str | None) -> None:
    header, agreed = negotiate(offers)
    assert header == (None if answer is None else f"permessage-deflate; {answer}")
    assert (agreed is None) == (answer is None)


def test_a_window_that_is_not_named_is_the_largest() -> None:
    assert negotiate("permessage-deflate")[1] == Agreed(12, 15, False, False)


def test_the_windows_of_both_sides_are_used() -> None:
    deflate = Deflate(PLAIN)
    reader = zlib.decompressobj(wbits=-12)
    first, second = (deflate.compress(b"the very same words") for _ in range(2))
    assert reader.decompress(first + TAIL) == reader.decompress(second + TAIL) == b"the very same words"
    assert len(second) < len(first)
    forgetful = Deflate(PLAIN._replace(we_forget=True))
    assert forgetful.compress(b"the very same words") == forgetful.compress(b"the very same words")


def test_parts_of_a_message() -> None:
    deflate = Deflate(PLAIN)
    compressor = zlib.compressobj(wbits=-12)
    for _ in range(2):
        packed = (compressor.compress(b"abc" * 100) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        parts = deflate.inflate(packed[:3], False, 1000) + deflate.inflate(packed[3:], False, 1000)
        assert parts + deflate.inflate(b"", True, 1000) == b"abc" * 100


@pytest.mark.parametrize("size", [1, 100, 4096, 100_000])
def test_the_limit_is_exact(size: int) -> None:
    packed = wire.deflated(b"x" * size)
    assert len(Deflate(PLAIN).inflate(packed, True, size)) == size
    with pytest.raises(TooBig):
        Deflate(PLAIN).inflate(packed, True, size - 1)


def test_a_bomb_takes_no_more_than_the_limit() -> None:
    compressor = zlib.compressobj(wbits=-12)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(256)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    tracemalloc = pytest.importorskip("tracemalloc")  # PyPy has none
    tracemalloc.start()
    try:
        with pytest.raises(TooBig):
            Deflate(PLAIN).inflate(bomb[:-4], True, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_last_block_ends_no_connection() -> None:
    """RFC 7692, 7.2.3.4: a message may end in a block with BFINAL set; the next one begins another."""
    deflate = Deflate(PLAIN)
    final = wire.deflated(b"Hello", flush=zlib.Z_FINISH)
    assert deflate.inflate(final + b"\x00", True, 99) == b"Hello"
    assert deflate.inflate(wire.deflated(b"again"), True, 99) == b"again"


def test_what_follows_a_last_block_is_not_kept() -> None:
    """Fragments may go on without end: none of them adds to the message."""
    tracemalloc = pytest.importorskip("tracemalloc")
    deflate = Deflate(PLAIN)
    tracemalloc.start()
    try:
        parts = [deflate.inflate(wire.deflated(b"Hello", flush=zlib.Z_FINISH), False, 99)]
        parts += [deflate.inflate(bytes(1 << 16), False, 99) for _ in range(64)]
        assert tracemalloc.get_traced_memory()[0] < 1 << 18
    finally:
        tracemalloc.stop()
    assert b"".join([*parts, deflate.inflate(b"", True, 99)]) == b"Hello"
    assert deflate.inflate(wire.deflated(b"again"), True, 99) == b"again"


def test_nothing_is_made_before_it_is_used() -> None:
    if sys.implementation.name == "cpython":  # PyPy does not say
        assert sys.getsizeof(Deflate(PLAIN)) < 100
    assert Deflate(PLAIN)._compressor is None and Deflate(PLAIN)._decompressor is None
