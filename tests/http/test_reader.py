"""Bytes → heads and bodies, for every codec: what is held back, what is limited, what stays for the next request."""

from __future__ import annotations

from typing import Any

import pytest

from http_peers import CodecClass, read_calls
from uvicorn.errors import BadRequest
from uvicorn.worker.http.limits import HEAD_BYTES, HEAD_FIELDS, PeerLimits
from uvicorn.worker.http1.reader import (
    MAX_CHUNK_LINE,
    MAX_TRAILERS,
    NOTHING,
    REMEMBERED,
    Part,
    RequestReader,
    SharedParser,
)
from uvicorn.worker.http1.request_line import METHODS, request_line

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def reader(codec_class: CodecClass) -> RequestReader:
    return RequestReader(SharedParser(codec_class()))


def refused(reader: RequestReader, data: bytes) -> int:
    reader.pending += data
    with pytest.raises(BadRequest) as caught:
        if reader.head() is not None:
            reader.body()
    return caught.value.status


def test_nothing_is_told_before_the_head_is_whole(reader: RequestReader) -> None:
    for byte in GET[:-1]:
        reader.pending += bytes([byte])
        assert reader.head() is None
    reader.pending += GET[-1:]
    request = reader.head()
    assert request is not None and (request.method, request.fields) == ("GET", [(b"host", b"a")])
    assert (reader.pending, reader.part) == (b"", Part.HEAD)


def test_what_follows_a_head_stays(reader: RequestReader) -> None:
    reader.pending = GET + b"GET /2"
    assert reader.head() is not None
    assert reader.pending == b"GET /2"


def test_a_body_by_length_in_parts(reader: RequestReader) -> None:
    reader.pending = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"
    assert reader.head() is not None
    assert (reader.part, reader.body()) == (Part.LENGTH, b"he")
    assert reader.body() == b""
    reader.pending += b"lloGET"
    assert (reader.body(), reader.part, reader.pending) == (b"llo", Part.HEAD, b"GET")


def test_a_chunk_is_handed_on_before_it_is_whole(reader: RequestReader) -> None:
    reader.pending = CHUNKED + b"5\r\nhe"
    assert reader.head() is not None
    assert reader.body() == b"he"
    reader.pending += b"llo\r\n1\r\n!\r\n0"
    assert (reader.body(), reader.part) == (b"llo!", Part.CHUNK_SIZE)
    reader.pending += b"\r\nX: y\r\n\r\nGET"
    assert (reader.body(), reader.part, reader.pending) == (b"", Part.HEAD, b"GET")


def test_a_head_at_its_limit(reader: RequestReader) -> None:
    rest = HEAD_BYTES - len(GET) - len("X: \r\n")
    reader.pending = GET[:-2] + b"X: " + b"v" * rest + b"\r\n\r\n"
    assert len(reader.pending) == HEAD_BYTES
    assert reader.head() is not None


def test_a_head_over_its_limit(reader: RequestReader) -> None:
    rest = HEAD_BYTES - len(GET) - len("X: \r\n") + 1
    assert refused(reader, GET[:-2] + b"X: " + b"v" * rest + b"\r\n\r\n") == 431


def test_a_head_that_never_ends(reader: RequestReader) -> None:
    assert refused(reader, GET[:-2] + b"X: " + b"v" * HEAD_BYTES) == 431


def test_a_line_that_never_ends(reader: RequestReader) -> None:
    assert refused(reader, b"GET /" + b"v" * HEAD_BYTES) == 414


def test_a_smaller_limit(codec_class: CodecClass) -> None:
    reader = RequestReader(SharedParser(codec_class(), PeerLimits(head=600)))
    assert refused(reader, GET[:-2] + b"X: " + b"v" * 600 + b"\r\n\r\n") == 431


LINE = b"GET /abcde HTTP/1.1"


@pytest.mark.parametrize(
    ("limits", "data", "outcome"),
    [
        (PeerLimits(line=19), LINE + b"\r\nHost: a\r\n\r\n", None),
        (PeerLimits(line=18), LINE + b"\r\nHost: a\r\n\r\n", 414),
        (PeerLimits(line=18), LINE + b"\r", 414),
        (PeerLimits(line=19), LINE + b"\r", None),
        (PeerLimits(line=19), LINE + b"\rX", 414),
        (PeerLimits(line=18), b"GET /ab\rcde HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (PeerLimits(line=18), b"BREW / HTTP/1.1\nHost: a\r\n\r\n", 400),
        (PeerLimits(fields=2), GET[:-2] + b"X: y\r\n\r\n", None),
        (PeerLimits(fields=2), GET[:-2] + b"X: y\r\nX: z\r\n\r\n", 431),
        (PeerLimits(fields=2), GET[:-2] + b"X: y\nZ: z\r\nX: z\r\n\r\n", 400),
        (PeerLimits(head=60), GET[:-2] + b"X: \n" + b"v" * 60 + b"\r\n\r\n", 400),
        (PeerLimits(head=60), GET[:-2] + b"X: " + b"v" * 60 + b"\n", 431),
    ],
)
def test_small_limits_however_the_bytes_are_cut(
    codec_class: CodecClass, limits: PeerLimits, data: bytes, outcome: int | None
) -> None:
    whole = read_calls(codec_class, [data], limits)
    assert [call[1] for call in whole if call[0] == "refused"] == ([outcome] if outcome else [])
    assert read_calls(codec_class, [data[i : i + 1] for i in range(len(data))], limits) == whole
    for cut in range(1, len(data)):
        assert read_calls(codec_class, [data[:cut], data[cut:]], limits) == whole, cut


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nContent-Length: 6\r\n\r\n", 400),
        (CHUNKED + b"2\r\nab\r\n3\r\ncde\r\n0\r\nX: y\r\n\r\n", None),
        (CHUNKED + b"2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n", 413),
        (CHUNKED + b"2\r\nabX4\r\ncdef\r\n0\r\n\r\n", 400),
        (CHUNKED + b"fffffffff\r\n", 413),
    ],
)
def test_a_body_over_its_limit(codec_class: CodecClass, data: bytes, outcome: int | None) -> None:
    whole = read_calls(codec_class, [data], PeerLimits(body=5))
    assert [call[1] for call in whole if call[0] == "refused"] == ([outcome] if outcome else [])
    assert read_calls(codec_class, [data[i : i + 1] for i in range(len(data))], PeerLimits(body=5)) == whole


def test_how_much_of_a_body_was_received(reader: RequestReader) -> None:
    reader.pending = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel"
    reader.head()
    reader.body()
    assert reader.received == 3
    reader.pending += b"lo" + CHUNKED
    reader.body()
    reader.head()
    sizes = []
    for part in (b"3\r\na", b"bc\r\n2", b"\r\nd", b"e\r\n0\r\nX: ", b"y\r\n"):
        reader.pending += part
        reader.body()
        sizes.append(reader.received)
    assert sizes == [1, 3, 4, 5, 5]


@pytest.mark.parametrize(("count", "fits"), [(HEAD_FIELDS, True), (HEAD_FIELDS + 1, False)])
def test_the_number_of_fields(reader: RequestReader, count: int, fits: bool) -> None:
    data = GET[:-2] + b"X-Abc: d\r\n" * (count - 1) + b"\r\n"
    if fits:
        reader.pending = data
        request = reader.head()
        assert request is not None and len(request.fields) == count
    else:
        assert refused(reader, data) == 431


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01", b"GET\x00", b" ", b"\n", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nX\n"]
)
def test_what_can_become_no_head_is_refused_at_once(reader: RequestReader, data: bytes) -> None:
    assert refused(reader, data) == 400


@pytest.mark.parametrize(
    "data", [b"\r", b"\r\n", b"G", b"GET", b"GET ", b"GET / HTTP/1.1\r", GET[:-2], GET[:-1], b"\r\n" + GET[:5]]
)
def test_what_can_become_one_is_waited_for(reader: RequestReader, data: bytes) -> None:
    reader.pending = data
    assert reader.head() is None


def test_the_size_of_a_chunk_line(codec_class: CodecClass) -> None:
    for extra, fits in ((0, True), (1, False)):
        reader = RequestReader(SharedParser(codec_class()))
        data = CHUNKED + b"1;" + b"x" * (MAX_CHUNK_LINE - 2 + extra) + b"\r\na\r\n"
        if fits:
            reader.pending = data
            assert reader.head() is not None
            assert reader.body() == b"a"
        else:
            assert refused(reader, data) == 400


def test_chunk_lines_are_limited_before_they_end(reader: RequestReader) -> None:
    assert refused(reader, CHUNKED + b"1;" + b"x" * (MAX_CHUNK_LINE + 2)) == 400


def test_trailers_are_limited_together(codec_class: CodecClass) -> None:
    line = b"X: " + b"y" * 95 + b"\r\n"
    for count, fits in ((MAX_TRAILERS // 100, True), (MAX_TRAILERS // 100 + 1, False)):
        reader = RequestReader(SharedParser(codec_class()))
        data = CHUNKED + b"0\r\n" + line * count + b"\r\n"
        if fits:
            reader.pending = data
            assert reader.head() is not None
            assert (reader.body(), reader.part) == (b"", Part.HEAD)
        else:
            assert refused(reader, data) == 400


def test_a_trailer_is_limited_before_it_ends(reader: RequestReader) -> None:
    assert refused(reader, CHUNKED + b"0\r\nX: " + b"y" * (MAX_TRAILERS + 2)) == 400


def test_a_huge_chunk_size_takes_no_memory(reader: RequestReader) -> None:
    reader.pending = CHUNKED + b"ffffffffffffffff\r\nabc"
    assert reader.head() is not None
    assert (reader.body(), reader.part) == (b"abc", Part.CHUNK_DATA)


def test_the_parser_is_ready_for_the_next_head_after_anything(reader: RequestReader) -> None:
    """What one request says about its connection must not reach the next head through the parser's memory."""
    for line in (
        b"Connection: close",
        b"Proxy-Connection: close",
        b"Connection: upgrade\r\nUpgrade: h2c",
        b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0",
        b"Connection: close, upgrade\r\nUpgrade: websocket",
    ):
        reader.pending += GET[:-2] + line + b"\r\n\r\n" + GET
        assert reader.head() is not None
        following = reader.head()
        assert following is not None and following.fields == [(b"host", b"a")], line


def test_what_a_request_line_may_be_every_codec_accepts(codec_class: CodecClass) -> None:
    """A line may stand before fields that were parsed behind another: nothing else looks at it then."""
    for byte in range(256):
        for target in (b"/a%cb", b"/?%cb", b"/%%%c", b"/a/%c", b"/%c"):
            line = b"GET " + target % byte + b" HTTP/1.1"
            try:
                accepted = request_line(line).authority is None
            except BadRequest:
                accepted = False
            try:
                parsed = codec_class().parse(line + b"\r\nHost: a\r\n\r\n") == [(b"host", b"a")]
            except BadRequest:
                parsed = False
            assert accepted == parsed or (byte in b" #" and not accepted), line
    for method in METHODS:
        assert codec_class().parse(method + b" /a HTTP/1.0\r\nHost: a\r\n\r\n") == [(b"host", b"a")]


def counting(codec_class: Any) -> Any:
    class Counting(codec_class):  # type: ignore[misc]  # whichever it is
        heads = 0

        def parse(self, head: bytes) -> Any:
            self.heads += 1
            return super().parse(head)

    return Counting()


ODD = GET[:-2] + b"X:\ty\r\n\r\n"
"""A tab is a codec's to judge."""


def test_a_head_that_comes_again_is_not_parsed_again(codec_class: CodecClass) -> None:
    codec = counting(codec_class)
    shared = SharedParser(codec)
    reader = RequestReader(shared)
    reader.pending = ODD + ODD + ODD.replace(b"GET /", b"HEAD /other?q")
    first, second, third = reader.head(), reader.head(), reader.head()
    assert first is second is not None and third is not None
    assert (third.method, third.path, third.query_string, third.simple) == ("HEAD", "/other", b"q", False)
    assert third.fields == [(b"host", b"a"), (b"x", b"y")] and codec.heads == 1
    another = RequestReader(shared)
    another.pending = ODD.replace(b"GET /", b"HEAD /other?q")
    assert another.head() is third and codec.heads == 1, "a new connection knows what the others last saw"
    another.forget()
    another.pending = ODD.replace(b": a", b": b") + ODD.replace(b"1.1", b"1.0")
    assert another.head() is not None and another.head() is not None
    assert codec.heads == 3, "other fields, or another version, are parsed"


def test_a_usual_head_needs_no_codec(codec_class: CodecClass) -> None:
    codec = counting(codec_class)
    reader = RequestReader(SharedParser(codec))
    post = GET[:-2].replace(b"GET", b"POST") + b"Content-Length: 2\r\n\r\n"
    for number in range(3):
        reader.pending = b"\r\n" + GET[:-2] + b"Cookie: %d\r\n\r\n" % number + post + b"ab"
        first, second = reader.head(), reader.head()
        assert first is not None and first.fields == [(b"host", b"a"), (b"cookie", b"%d" % number)]
        assert second is not None and second.content_length == 2 and reader.body() == b"ab"
    assert codec.heads == 0


def test_a_body_follows_a_head_that_comes_again(reader: RequestReader) -> None:
    head = GET[:-2] + b"Content-Length: 2\r\n\r\n"
    reader.pending = head + b"ab" + head + b"cd" + GET
    for body in (b"ab", b"cd"):
        request = reader.head()
        assert request is not None and (reader.part, reader.body()) == (Part.LENGTH, body)
    assert reader.head() is not None and reader.part is Part.HEAD


def test_a_large_head_is_not_kept(codec_class: CodecClass) -> None:
    shared = SharedParser(codec_class())
    reader = RequestReader(shared)
    reader.pending = GET[:-2] + b"X: " + b"y" * REMEMBERED + b"\r\n\r\n"
    assert reader.head() is not None
    assert shared.last is NOTHING
