"""Differential fuzz: whatever arrives, and however it is cut, every codec accepts and refuses the same.

The examples are the same in every run. `FUZZ_EXAMPLES` raises their number and draws new ones each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_corpus import CASES
from http_peers import CODECS, read_calls
from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.http1.reader import SharedParser

WANTED = os.environ.get("FUZZ_EXAMPLES", "")

METHODS = [
    b"GET",
    b"POST",
    b"HEAD",
    b"OPTIONS",
    b"M-SEARCH",
    b"QUERY",
    b"CONNECT",
    b"PRI",
    b"SOURCE",
    b"get",
    b"BREW",
    b"",
]
TARGETS = [
    b"/",
    b"/a?b=c",
    b"*",
    b"http://b/p?q",
    b"https://b",
    b"/%41%",
    b"/#f",
    b"a:80",
    b"/\xff",
    b"/\x7f",
    b"/|^`",
    b"",
]
VERSIONS = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"RTSP/1.0", b"HTTP/1.1 ", b""]
HOSTS = [b"Host: a"] * 8 + [b"host:a:80", b"Host: [::1]", b"Host: a b", b"Host:", b"Host : a", b"X: y"]
SPACES = [b" "] * 8 + [b"  ", b"\t", b"", b"\x0b"]
ENDS = [b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b" \r\n", b"\r\n "]
NAMES = [
    b"X", b"x-a", b"Connection", b"Proxy-Connection", b"Upgrade", b"Expect", b"Content-Length", b"Transfer-Encoding",
    b"TE", b"Trailer", b"Host", b"Cookie", b"", b"X ", b"X\t", b" X", b"X\x00", b"X\xe9", b"X(", b'"X"',
    b"Content-length", b"transfer-ENCODING", b"Content-Length ", b"Transfer-Encoding\t", b"Content_Length",
    b"HTTP2-Settings",
]  # fmt: skip
VALUES = [
    b"", b"a", b"0", b"1", b"5", b"05", b"-1", b"+1", b"1,1", b"1, 1", b"0x1", b"99999999999999999999", b"1 ",
    b"chunked", b"Chunked", b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked,chunked", b",chunked",
    b"chunked;q=1", b"close", b"keep-alive", b"Keep-Alive, close", b"upgrade", b"Upgrade, close", b"close, upgrade",
    b"closed", b",", b"h2c", b"websocket", b"100-continue", b"a\x00b", b"a\x01", b"\x7f", b"\x80\xff", b"a\tb",
    b"\t a \t", b"a\x0bb", b"\x0c", b"a\rb", b"a\nb", b"a:b", b'"q"', b"a\x85", b"\xa0", b"trailers, chunked",
]  # fmt: skip
BODIES = [
    b"", b"a", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"1;x=y\r\na\r\n0\r\nT: v\r\n\r\n",
    b"1\na\r\n0\r\n\r\n", b"g\r\n", b"1\r\nab\r\n0\r\n\r\n", b"a\r\n0123456789\r\n000\r\n\r\n", b"\r\n", b"\r\n\r\n",
    b"0\r\nT : v\r\n\r\n", b"1 \r\na\r\n0\r\n\r\n", b"00\r\n", b"-1\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
]  # fmt: skip
NASTY = [bytes([byte]) for byte in range(256)] + [
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b": ",
    b"\r\n ",
    b"chunked",
    b"HTTP/1.1",
]

RAW = [case.raw for case in CASES]

LIMITS = [PeerLimits()] * 4 + [
    PeerLimits(line=18),
    PeerLimits(head=60),
    PeerLimits(fields=2),
    PeerLimits(body=4),
    PeerLimits(line=30, head=80, fields=3, body=8),
]

usual = st.sampled_from
fields = st.builds(
    lambda name, colon, value: name + colon + value,
    usual(NAMES),
    usual([b": "] * 5 + [b":", b" :", b""]),
    usual(VALUES),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request from fragments, most of them in order."""
    line = [draw(usual(METHODS[:4] * 4 + METHODS)), draw(usual(TARGETS[:2] * 8 + TARGETS)), draw(usual(VERSIONS))]
    first = line[0] + draw(usual(SPACES)) + line[1] + draw(usual(SPACES)) + line[2]
    lines = [first, draw(usual(HOSTS)), *draw(st.lists(fields, max_size=4)), b""]
    return b"".join(text + draw(usual(ENDS)) for text in lines) + draw(usual(BODIES))


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """What one peer sends, with a few bytes changed, and where it is cut."""
    data = draw(usual([b"", b"", b"", b"\r\n", b"\r\n\r\n", b"\n"])) + b"".join(
        draw(st.lists(requests(), min_size=1, max_size=3))
    )
    for _ in range(draw(usual([0, 0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(usual(NASTY)) + data[at + draw(usual([0, 1])) :]
    return data, sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))


@st.composite
def repetitions(draw: st.DrawFn) -> bytes:
    """What a client says that says much again: a few request lines, and a few sets of fields behind them."""
    line = st.builds(
        lambda *parts: b" ".join(parts), usual(METHODS[:4] * 4 + METHODS), usual(TARGETS), usual(VERSIONS[:8])
    )
    lines = draw(st.lists(line, min_size=1, max_size=3))
    blocks = draw(st.lists(st.tuples(usual(HOSTS[:10]), fields, fields), min_size=1, max_size=2))
    heads = st.builds(lambda first, block: b"\r\n".join([first, *block, b"", b""]), usual(lines), usual(blocks))
    return b"".join(draw(st.lists(heads, min_size=2, max_size=6)))


fuzzed = settings(
    max_examples=int(WANTED or 400),
    derandomize=not WANTED,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@fuzzed
@given(repetitions())
def test_what_was_seen_before_makes_no_difference(data: bytes) -> None:
    outcomes = {
        f"{name}, thorough: {thorough}": read_calls(codec, [data], thorough=thorough)
        for name, codec in CODECS.items()
        for thorough in (False, True)
    }
    first = next(iter(outcomes.values()))
    assert all(outcome == first for outcome in outcomes.values()), outcomes


@fuzzed
@given(st.lists(usual(RAW) | requests(), min_size=2, max_size=5))
def test_what_one_connection_said_makes_no_difference_to_another(messages: list[bytes]) -> None:
    """They share a codec."""
    for codec_class in CODECS.values():
        shared = SharedParser(codec_class())
        for message in messages:
            assert read_calls(codec_class, [message], shared=shared) == read_calls(codec_class, [message])


@fuzzed
@given(streams(), usual(LIMITS))
def test_codecs_and_cuts_make_no_difference(stream: tuple[bytes, list[int]], limits: PeerLimits) -> None:
    data, cuts = stream
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    outcomes = {
        f"{name}, {how}": read_calls(codec, chunks, limits, thorough)
        for name, codec in CODECS.items()
        for how, chunks, thorough in (("whole", [data], False), ("thorough", [data], True), ("cut", pieces, False))
    }
    first = next(iter(outcomes.values()))
    assert all(outcome == first for outcome in outcomes.values()), outcomes
