"""Heads that need no parser: what is plain, that every codec says the same of it, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from http_peers import CODECS
from uvicorn.errors import BadRequest
from uvicorn.worker.http1 import simple_fields as module
from uvicorn.worker.http1.simple_fields import simple_fields

LINE = b"GET / HTTP/1.1\r\n"


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    module._known.clear()


def fields(*lines: bytes) -> Any:
    return simple_fields(LINE + b"".join(line + b"\r\n" for line in lines) + b"\r\n", len(LINE))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"Host: a", (b"host", b"a")),
        (b"Host:a", (b"host", b"a")),
        (b"X-Empty:", (b"x-empty", b"")),
        (b"X-Empty: ", (b"x-empty", b"")),
        (b"X: a  b:c", (b"x", b"a  b:c")),
        (b"!#$%&'*+-.^_`|~0: ~", (b"!#$%&'*+-.^_`|~0", b"~")),
    ],
)
def test_plain(line: bytes, field: tuple[bytes, bytes]) -> None:
    assert fields(line) == [field]
    assert fields(b"A: 1", line, line) == [(b"a", b"1"), field, field]


@pytest.mark.parametrize(
    "line",
    [
        b"X : y", b" X: y", b"X", b"", b": y", b"X:  y", b"X: y ", b"X:\ty", b"X: a\tb", b"X: \x80", b"X: \x7f",
        b"X: a\rb", b"X: a\nb", b"X: a\x00b", b"X\x80: y", b"X(: y", b"X:   ", b"X: y\n", b"\nX: y", b"\rX: y",
        b"Transfer-Encoding: chunked", b"TRANSFER-encoding:",
    ],
)  # fmt: skip
def test_not_plain(line: bytes) -> None:
    assert fields(b"Host: a", line, b"B: 2") is None
    assert fields(line) is None


def test_a_head_without_fields() -> None:
    assert simple_fields(b"GET / HTTP/1.0\r\n\r\n", len(b"GET / HTTP/1.0\r\n")) is None


def test_several_heads_are_none() -> None:
    assert simple_fields((LINE + b"Host: a\r\n\r\n") * 2, len(LINE)) is None


@settings(deadline=None, derandomize=True, database=None, max_examples=1000)
@given(
    st.lists(
        st.binary(max_size=12)
        | st.builds(
            lambda name, colon, value: name + colon + value,
            st.sampled_from([b"X", b"Host", b"Content-Length", b"Connection", b"Upgrade", b"X ", b"\xe9", b"Expect"]),
            st.sampled_from([b": ", b":", b" : ", b":  "]),
            st.binary(max_size=6) | st.text("aZ0 ~!:,\t", max_size=8).map(str.encode),
        ),
        max_size=4,
    )
)
@example([b"A: b c"])
def test_every_codec_says_the_same(lines: list[bytes]) -> None:
    """Of what is plain. What else they refuse of it (framing, Host) is refused by what the fields mean."""
    module._known.clear()
    head = b"".join(line + b"\r\n" for line in [b"GET / HTTP/1.1", b"Host: a", *lines, b""])
    for found in (simple_fields(head, len(LINE)), simple_fields(head, len(LINE))):  # parsed, then known
        if found is None:
            continue
        for name, codec_class in CODECS.items():
            try:
                assert codec_class().parse(head) == found, name
            except BadRequest as refused:
                assert refused.reason != "Malformed header", name


def test_what_tells_users_apart_is_not_kept() -> None:
    lines = [b"Host: a", b"Cookie: id=1", b"AUTHORIZATION: Basic eA==", b"Proxy-Authorization: b", b"Content-Length: 1"]
    assert len(fields(*lines)) == len(lines)
    assert list(module._known) == [b"Host: a"]


def test_what_is_kept_is_bounded() -> None:
    for number in range(3 * module._BOUND):
        assert fields(b"X: %d" % number) == [(b"x", b"%d" % number)]
        assert len(module._known) <= module._BOUND
    long = b"X: " + b"y" * module._LONGEST
    assert fields(long) == [(b"x", long[3:])]
    assert long not in module._known
