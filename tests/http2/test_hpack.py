"""Header blocks: ours against the package hpack, in both directions."""

from __future__ import annotations

import hpack as other
import pytest
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from uvicorn.worker.http2 import hpack

FIELD = st.tuples(
    st.sampled_from([b":path", b":method", b"accept", b"cookie", b"x-a", b"x-b", b"content-type"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"GET", b"/", b"", b"gzip, deflate", b"v" * 3000])),
)
BLOCKS = st.lists(
    st.tuples(st.lists(FIELD, max_size=8), st.booleans(), st.sampled_from([None, 0, 100, 4096])), max_size=8
)


def decoder() -> hpack.Decoder:
    return hpack.Decoder(lambda name, value: None)


def decoded(made: hpack.Decoder, block: bytes) -> list[hpack.Field]:
    return [field for field, _ in made.decode(block, 1000, 1 << 30)]


def test_the_static_table_is_that_of_the_rfc() -> None:
    assert list(hpack.STATIC) == [tuple(one) for one in HeaderTable.STATIC_TABLE]


@given(BLOCKS)
def test_blocks_of_one_connection(blocks: list[tuple[list[hpack.Field], bool, int | None]]) -> None:
    encoder, made = other.Encoder(), decoder()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        assert decoded(made, block) == fields


@given(st.lists(FIELD, max_size=8))
def test_our_blocks_are_understood_and_keep_nothing(fields: list[hpack.Field]) -> None:
    reader = other.Decoder()
    assert list(reader.decode(hpack.encode(fields), raw=True)) == fields
    assert not list(reader.header_table.dynamic_entries)


@given(st.binary(max_size=40))
def test_what_cannot_be_decoded_is_refused_as_there(block: bytes) -> None:
    reader = other.Decoder(max_header_list_size=1 << 30)
    reader.max_allowed_table_size = hpack.TABLE_SIZE
    try:
        expected = [tuple(one) for one in reader.decode(block, raw=True)]
    except Exception:
        with pytest.raises(ValueError):
            decoded(decoder(), block)
    else:
        assert decoded(decoder(), block) == expected


def test_more_than_is_wanted_is_decoded_and_not_kept() -> None:
    made = decoder()
    block = b"\x82" * 10 + b"\x40\x03x-a\x01b"
    assert len(made.decode(block, 4, 1000)) == 4
    assert made.overflow
    assert decoded(made, b"\xbe") == [(b"x-a", b"b")]
    assert len(made.decode(b"\x82" * 10, 100, 25)) == 2


@pytest.mark.parametrize(
    ("text", "shown"), [(b"", "00"), (b"/", "012f"), (b"www.example.com", "8cf1e3c2e5f23a6ba0ab90f4ff")]
)
def test_strings_have_the_shorter_form(text: bytes, shown: str) -> None:
    assert hpack.encoded_string(text).hex() == shown


def test_secrets_are_kept_in_no_table() -> None:
    assert hpack.encoded_field(b"set-cookie", b"a=b")[0] & 0xF0 == 0x10
