"""HPACK's Huffman code: both decoders against each other, and against the code of another package."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from uvicorn.worker.http2 import huffman

OTHER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
TEXTS = st.one_of(st.binary(max_size=80), st.text("aeiost019-/.?=&%{}^<`Z", max_size=300).map(str.encode))


def outcome(decode: Callable[[bytes], bytes], data: bytes) -> bytes | None:
    try:
        return bytes(decode(data))
    except Exception:
        return None


def test_the_code_is_that_of_the_rfc() -> None:
    assert list(REQUEST_CODES) == huffman.CODES
    assert list(REQUEST_CODES_LENGTH) == huffman.LENGTHS


@given(TEXTS)
def test_what_is_encoded_is_decoded(text: bytes) -> None:
    data = huffman.encode(text)
    assert data == OTHER.encode(text)
    assert len(data) == huffman.encoded_size(text)
    assert huffman.decode(data) == huffman.decode_by_halves(data) == text


@given(
    st.one_of(
        st.binary(max_size=60),
        st.tuples(TEXTS, st.binary(min_size=1, max_size=4)).map(lambda parts: huffman.encode(parts[0])[:-1] + parts[1]),
    )
)
def test_what_is_refused_is_refused_by_both(data: bytes) -> None:
    expected = outcome(decode_huffman, data)
    assert outcome(huffman.decode, data) == expected
    assert outcome(huffman.decode_by_halves, data) == expected


@pytest.mark.parametrize("symbol", range(256))
@pytest.mark.parametrize("before", [0, 20, 60])
def test_every_symbol_in_short_and_long_strings(symbol: int, before: int) -> None:
    text = b"a0" * (before // 2) + bytes([symbol]) + b"z"
    assert huffman.decode(huffman.encode(text)) == text


def test_without_zlib_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huffman, "_inflate", None)
    text = b"https://a.test/where/zlib/cannot/be/copied?x=1"
    assert huffman.decode(huffman.encode(text)) == text
