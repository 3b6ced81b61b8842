"""An ASGI response → bytes: the head, how its body ends, and what an application must not send."""

from __future__ import annotations

from typing import Any

import pytest

from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http1 import framing
from uvicorn.worker.http1.framing import (
    BODILESS,
    CHUNKED,
    LENGTH,
    UNTIL_CLOSE,
    chunk,
    response_head,
    text_response,
)
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.http1.request_line import request_line

DEFAULT = DefaultFields([(b"date", b"now"), (b"server", b"uvicorn")])
BLOCK = b"date: now\r\nserver: uvicorn\r\n"
NOTHING = DefaultFields([])


def asked(line: bytes = b"GET / HTTP/1.1") -> RequestHead:
    return RequestHead(request_line(line), [(b"host", b"a")])


def head(
    headers: Any = (),
    *,
    line: bytes = b"GET / HTTP/1.1",
    status: int = 200,
    keep: bool = True,
    size: int = 0,
    more: bool = False,
) -> tuple[bytes, int, int, bool]:
    """The header lines, how the body ends, its length, whether the connection goes on."""
    data, ending, length, keep_alive = response_head(asked(line), status, headers, NOTHING, keep, size, more)
    assert data.startswith(b"HTTP/1.1 %d " % status) and data.endswith(b"\r\n\r\n")
    return data.partition(b"\r\n")[2][:-2], ending, length, keep_alive


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # a length of the application's
        ({"headers": [(b"content-length", b"5")], "size": 5}, (b"content-length: 5\r\n", LENGTH, 5, True)),
        ({"headers": [(b"content-length", b"5")], "more": True}, (b"content-length: 5\r\n", LENGTH, 5, True)),
        (
            {"headers": [(b"content-length", b"5")], "keep": False},
            (b"content-length: 5\r\nconnection: close\r\n", LENGTH, 5, False),
        ),
        # none: one part gets its length, several are chunked
        ({"size": 5}, (b"content-length: 5\r\n", LENGTH, 5, True)),
        ({}, (b"content-length: 0\r\n", LENGTH, 0, True)),
        ({"size": 5, "more": True}, (b"transfer-encoding: chunked\r\n", CHUNKED, 0, True)),
        (
            {"headers": [(b"transfer-encoding", b"chunked")], "more": True},
            (b"transfer-encoding: chunked\r\n", CHUNKED, 0, True),
        ),
        ({"headers": [(b"transfer-encoding", b"chunked")], "size": 3}, (b"content-length: 3\r\n", LENGTH, 3, True)),
        # HTTP/1.0 knows no chunks
        ({"line": b"GET / HTTP/1.0", "more": True, "keep": False}, (b"connection: close\r\n", UNTIL_CLOSE, 0, False)),
        ({"line": b"GET / HTTP/1.0", "more": True}, (b"connection: close\r\n", UNTIL_CLOSE, 0, False)),
        ({"line": b"GET / HTTP/1.0", "size": 2}, (b"content-length: 2\r\nconnection: keep-alive\r\n", LENGTH, 2, True)),
        (
            {"line": b"GET / HTTP/1.0", "size": 2, "keep": False},
            (b"content-length: 2\r\nconnection: close\r\n", LENGTH, 2, False),
        ),
        # no body, whatever is sent
        ({"line": b"HEAD / HTTP/1.1", "size": 5}, (b"content-length: 5\r\n", BODILESS, 0, True)),
        ({"line": b"HEAD / HTTP/1.1"}, (b"", BODILESS, 0, True)),
        ({"line": b"HEAD / HTTP/1.1", "more": True}, (b"", BODILESS, 0, True)),
        (
            {"line": b"HEAD / HTTP/1.1", "headers": [(b"content-length", b"9")]},
            (b"content-length: 9\r\n", BODILESS, 9, True),
        ),
        ({"status": 204}, (b"", BODILESS, 0, True)),
        ({"status": 204, "size": 3}, (b"", BODILESS, 0, True)),
        ({"status": 204, "headers": [(b"content-length", b"0"), (b"x", b"y")]}, (b"x: y\r\n", BODILESS, 0, True)),
        ({"status": 204, "headers": [(b"transfer-encoding", b"chunked")]}, (b"", BODILESS, 0, True)),
        ({"status": 304, "headers": [(b"content-length", b"9")]}, (b"content-length: 9\r\n", BODILESS, 9, True)),
        # the application's Connection
        ({"headers": [(b"connection", b"close")]}, (b"connection: close\r\ncontent-length: 0\r\n", LENGTH, 0, False)),
        (
            {"headers": [(b"connection", b"x, Close")]},
            (b"connection: x, Close\r\ncontent-length: 0\r\n", LENGTH, 0, False),
        ),
    ],
)
def test_a_head(options: dict[str, Any], expected: tuple[bytes, int, int, bool]) -> None:
    lines, ending, length, keep = head(**options)
    if ending == BODILESS:
        length = expected[2]  # nobody counts a body that is not sent
    assert (lines, ending, length, keep) == expected


def test_the_defaults_come_first_and_give_way() -> None:
    def lines(*headers: tuple[bytes, bytes]) -> bytes:
        data, *_ = response_head(asked(), 200, headers, DEFAULT, True, 0, False)
        return data.removeprefix(b"HTTP/1.1 200 OK\r\n").removesuffix(b"content-length: 0\r\n\r\n")

    assert lines() == BLOCK
    assert lines((b"Date", b"then")) == b"server: uvicorn\r\nDate: then\r\n"
    assert lines((b"server", b"mine")) == b"date: now\r\nserver: mine\r\n"
    assert lines((b"server", b"mine"), (b"date", b"then")) == b"server: mine\r\ndate: then\r\n"


def test_the_short_way_and_the_long_one_agree() -> None:
    """A plain 200 with a length has a way of its own."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    short, *rest = response_head(asked(), 200, headers, DEFAULT, True, 2, False)
    long, *other = response_head(asked(), 201, headers, DEFAULT, True, 2, False)
    assert short.replace(b"200 OK", b"201 Created") == long
    assert rest == other


def test_names_keep_their_spelling_and_order() -> None:
    assert (
        head([(b"X-B", b"1"), (b"x-a", b""), (b"X-B", b"2")])[0]
        == b"X-B: 1\r\nx-a: \r\nX-B: 2\r\ncontent-length: 0\r\n"
    )


def test_fields_may_be_lists_and_come_from_a_generator() -> None:
    assert head([[b"a", b"b"]])[0].startswith(b"a: b\r\n")
    assert head((name, b"b") for name in (b"a", b"c"))[0].startswith(b"a: b\r\nc: b\r\n")


def test_text_of_ascii_is_taken_for_bytes() -> None:
    for headers in ([("X-A", "1"), (b"b", b"2")], [["X-A", b"1"], [b"b", "2"]]):
        assert head(headers)[0] == b"X-A: 1\r\nb: 2\r\ncontent-length: 0\r\n"
    assert head([("Content-Length", "0"), ("Connection", "close")])[0].count(b"\r\n") == 2


def test_equal_headers_are_checked_once_and_the_cache_is_bounded() -> None:
    framing._blocks.clear()
    for number in range(framing._CACHE_ENTRIES * 2 + 1):
        head([(b"x-number", b"%d" % number)])
        assert len(framing._blocks) <= framing._CACHE_ENTRIES
    big = ((b"x", b"y" * 2000),)
    head(big)
    assert big not in framing._blocks


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"", b"x"),
        (b"a b", b"x"),
        (b"a:", b"x"),
        (b"a\r\nb", b"x"),
        (b"\xe9", b"x"),
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"\r\n"),
        (b"x", b"a\x00"),
        (b"content-length", b"x"),
        (b"content-length", b"-1"),
        (b"content-length", b""),
        (b"content-length", b"\xb2"),
        ("x", b"y\r\n"),
        ("x\r\ny", b"z"),
        ("é", b"y"),
        (b"x", "é"),
        (b"x", None),
        ("x", None),
        (None, b"y"),
    ],
)
def test_what_cannot_go_on_the_wire(name: object, value: object) -> None:
    for headers in ([(name, value)], [(b"a", b"b"), (name, value)], [[name, value]]):
        with pytest.raises((ValueError, TypeError)):
            head(headers)


def test_lines_cannot_be_smuggled_by_cancelling_out() -> None:
    """Two wrongs must not make a right: a missing CR and a surplus one in two values."""
    with pytest.raises(ValueError):
        head([(b"a", b"\r\nb: c"), (b"d", b"e")])
    with pytest.raises(ValueError):
        head([(b"a", b"\n\r")])


@pytest.mark.parametrize("status", [0, 99, 100, 101, 103, 199, 600, 1000, -1, "200", None, 200.5])
def test_a_status_that_is_none(status: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        response_head(asked(), status, [], NOTHING, True, 0, False)


def test_a_status_without_a_phrase() -> None:
    assert response_head(asked(), 299, [], NOTHING, True, 0, False)[0].startswith(b"HTTP/1.1 299 \r\n")


def test_two_lengths() -> None:
    with pytest.raises(ValueError, match="Two different"):
        head([(b"content-length", b"1"), (b"Content-Length", b"2")])


def test_a_length_and_chunked() -> None:
    """What a framework makes of the fields that a proxy passes on: a message has one of them, so it goes in chunks."""
    for headers in (
        [(b"Content-Length", b"1"), (b"a", b"b"), (b"Transfer-Encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"1"), (b"a", b"b")],
    ):
        assert head(headers, size=3) == (b"a: b\r\ntransfer-encoding: chunked\r\n", CHUNKED, 0, True)
        assert head(headers, more=True)[1] == CHUNKED
        assert head(headers, size=3, line=b"GET / HTTP/1.0")[1:3] == (LENGTH, 3)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked ", b"identity, chunked", b"", b"identity"])
def test_a_length_beside_a_coding_is_dropped(coding: bytes) -> None:
    both = [(b"x", b"y"), (b"content-length", b"1"), (b"Transfer-Encoding", coding), (b"content-length", b"1")]
    assert head(both, more=True) == (b"x: y\r\ntransfer-encoding: chunked\r\n", CHUNKED, 0, True)
    assert head(both, size=3) == (b"x: y\r\ntransfer-encoding: chunked\r\n", CHUNKED, 0, True)
    assert head(both, line=b"HEAD / HTTP/1.1", more=True) == (b"x: y\r\n", BODILESS, 0, True)
    assert head(both, status=204) == (b"x: y\r\n", BODILESS, 0, True)
    assert head(both, line=b"GET / HTTP/1.0", more=True)[1:] == (UNTIL_CLOSE, 0, False)


@pytest.mark.parametrize("value", [b"2, 2", b"2,2", b"2 ,\t2", b" 2"])
def test_a_length_that_a_proxy_has_joined_leaves_as_one(value: bytes) -> None:
    both = [(b"content-length", b"2"), (b"content-length", value)]
    assert head([(b"Content-Length", value)], size=2) == (b"Content-Length: 2\r\n", LENGTH, 2, True)
    assert head(both, size=2) == (b"content-length: 2\r\n", LENGTH, 2, True)


@pytest.mark.parametrize("value", [b"", b",", b"2,", b"2, 3", b"2 2", b"+2"])
def test_a_length_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        head([(b"content-length", value)], size=2)


def test_two_equal_lengths_leave_as_one() -> None:
    assert head([(b"content-length", b"2"), (b"x", b"y"), (b"Content-Length", b"2")], size=2) == (
        b"content-length: 2\r\nx: y\r\n",
        LENGTH,
        2,
        True,
    )


@pytest.mark.parametrize(
    ("te", "value", "wire"),
    [
        (b"gzip", b"gzip", b"gzip, chunked"),
        (b"trailers, gzip;q=0.5", b"GZIP, chunked", b"gzip, chunked"),
        (b"deflate;q=1.0 , x-gzip", b"gzip", b"gzip, chunked"),
        (b"deflate, gzip", b"deflate, gzip", b"deflate, gzip, chunked"),
    ],
)
@pytest.mark.parametrize("more", [True, False])
def test_a_coding_that_the_client_takes(te: bytes, value: bytes, wire: bytes, more: bool) -> None:
    request = RequestHead(request_line(b"GET / HTTP/1.1"), [(b"host", b"a"), (b"te", te)])
    fields = [(b"content-length", b"9"), (b"transfer-encoding", value)]
    data, ending, length, keep_alive = response_head(request, 200, fields, NOTHING, True, 5, more)
    assert data == b"HTTP/1.1 200 OK\r\ntransfer-encoding: " + wire + b"\r\n\r\n"
    assert (ending, length, keep_alive) == (CHUNKED, 0, True)


@pytest.mark.parametrize(
    ("line", "te", "value"),
    [
        (b"GET / HTTP/1.1", b"", b"gzip"),
        (b"GET / HTTP/1.1", b"trailers, deflate", b"gzip, chunked"),
        (b"GET / HTTP/1.1", b"gzip;q=0", b"gzip"),
        (b"GET / HTTP/1.1", b"gzip; q=0.000", b"gzip"),
        (b"GET / HTTP/1.0", b"gzip", b"gzip"),
        (b"GET / HTTP/1.1", b"gzip", b"chunked, gzip"),
        (b"GET / HTTP/1.1", b"gzip", b"chunked, chunked"),
        (b"GET / HTTP/1.1", b"gzip", b"gzip zip"),
    ],
)
def test_a_coding_that_cannot_be_sent(line: bytes, te: bytes, value: bytes) -> None:
    request = RequestHead(request_line(line), [(b"host", b"a"), (b"te", te)])
    with pytest.raises(ValueError, match=r"transfer coding|Transfer-Encoding"):
        response_head(request, 200, [(b"transfer-encoding", value)], NOTHING, True, 5, True)


def test_a_coding_of_a_response_without_a_body_is_dropped() -> None:
    assert head([(b"transfer-encoding", b"gzip")], line=b"HEAD / HTTP/1.1") == (b"", BODILESS, 0, True)


def test_chunks() -> None:
    assert chunk(b"", more=True) == b""
    assert chunk(b"abc", more=True) == b"3\r\nabc\r\n"
    assert chunk(b"x" * 26, more=False) == b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"
    assert chunk(b"", more=False) == b"0\r\n\r\n"


def test_our_own_answers_are_the_last_ones() -> None:
    data = text_response(asked(), 503, "Service Unavailable", DEFAULT, [(b"retry-after", b"1")])
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.split(b"\r\n")
    assert (first, body) == (b"HTTP/1.1 503 Service Unavailable", b"Service Unavailable")
    assert sorted(lines) == [
        b"connection: close",
        b"content-length: 19",
        b"content-type: text/plain; charset=utf-8",
        b"date: now",
        b"retry-after: 1",
        b"server: uvicorn",
    ]
    assert text_response(asked(b"HEAD / HTTP/1.1"), 500, "Oh", DEFAULT, []).endswith(b"\r\n\r\n")


def test_servers_with_other_default_fields_share_no_head() -> None:
    """They share the cache of header blocks."""
    fields = [(b"content-length", b"2"), (b"x-shared", b"by both")]
    for _ in range(2):
        for default in (DEFAULT, NOTHING):
            for keep_alive in (True, False):
                made = response_head(asked(), 200, fields, default, keep_alive, 2, False)[0]
                assert (b"server: uvicorn\r\n" in made) == (default is DEFAULT)
                assert (b"connection: close\r\n" in made) == (not keep_alive)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ([(b"a b", b"x")], ValueError),
        ([(b"a", b"x\n")], ValueError),
        ([[b"a b", b"x"]], ValueError),
        ([("a b", "x")], ValueError),
        ([("a", "\xe9")], ValueError),
        ([(b"a", 1)], TypeError),
        ([[b"a", 1]], TypeError),
        ([(b"content-length", b"1"), (b"content-length", b"2")], ValueError),
    ],
)
def test_what_is_wrong_with_a_field_comes_alone(fields: Any, fault: type[Exception]) -> None:
    """Where it was looked up before is nobody's business."""
    with pytest.raises(fault) as raised:
        response_head(asked(), 200, fields, DEFAULT, True, 2, False)
    assert raised.value.__context__ is None and raised.value.__cause__ is None
