"""What a request line and header fields mean, without a parser."""

from __future__ import annotations

from typing import Any

import pytest

from uvicorn.errors import BadRequest
from uvicorn.worker.http import headers
from uvicorn.worker.http.headers import field_name
from uvicorn.worker.http1 import request_line as module
from uvicorn.worker.http1.request_head import RequestHead, refusal
from uvicorn.worker.http1.request_line import request_line


def request(*fields: tuple[bytes, bytes], line: bytes = b"GET / HTTP/1.1", host: bool = True) -> RequestHead:
    given = [(b"host", b"a"), *fields] if host else list(fields)
    return RequestHead(request_line(line), given)


def status_of(*fields: tuple[bytes, bytes], **options: Any) -> int:
    with pytest.raises(BadRequest) as caught:
        request(*fields, **options)
    return caught.value.status


def test_a_request_line_is_split_and_decoded() -> None:
    line = request_line(b"GET /a%20b?c=%20 HTTP/1.1")
    assert line == ("GET", b"/a%20b?c=%20", "1.1", "/a b", b"/a%20b", b"c=%20", None)


def test_an_absolute_target_is_turned_into_its_path_and_replaces_host() -> None:
    made = request((b"x", b"1"), line=b"GET http://b:8/p?q HTTP/1.1")
    assert (made.target, request_line(b"GET http://b:8/p?q HTTP/1.1").authority) == (b"/p?q", b"b:8")
    assert made.fields == [(b"host", b"b:8"), (b"x", b"1")]


def test_the_cache_of_lines_is_bounded_and_keeps_no_long_ones() -> None:
    module.known_lines.clear()
    for number in range(module._BOUND * 2 + 1):
        request_line(b"GET /%d HTTP/1.1" % number)
        assert len(module.known_lines) <= module._BOUND
    long = b"GET /" + b"x" * 300 + b" HTTP/1.1"
    request_line(long)
    assert long not in module.known_lines


def test_a_refused_line_is_not_kept() -> None:
    line = b"GET /refused#f HTTP/1.1"
    for _ in range(2):
        with pytest.raises(BadRequest):
            request_line(line)
    assert line not in module.known_lines


def test_the_cache_of_names_is_bounded_and_gives_one_object() -> None:
    assert field_name(b"X-Some-Name") is field_name(b"X-Some-Name")
    for number in range(module._BOUND * 2 + 1):
        assert field_name(b"X-%d" % number) == b"x-%d" % number
        assert len(headers.known_names) <= module._BOUND
    assert field_name(b"L" * 500) == b"l" * 500
    assert b"L" * 500 not in headers.known_names


def test_the_cache_of_hosts_is_bounded() -> None:
    for number in range(module._BOUND * 2 + 1):
        request((b"host", b"h%d" % number), host=False)
        assert len(headers.known_hosts) <= module._BOUND
    request((b"host", b"h" * 300), host=False)
    assert b"h" * 300 not in headers.known_hosts


@pytest.mark.parametrize(
    ("fields", "line", "wanted"),
    [
        ([], b"GET / HTTP/1.1", True),
        ([(b"connection", b"close")], b"GET / HTTP/1.1", False),
        ([(b"connection", b"CLOSE")], b"GET / HTTP/1.1", False),
        ([(b"connection", b"x,\tclose ,y")], b"GET / HTTP/1.1", False),
        ([(b"connection", b"x"), (b"connection", b"close")], b"GET / HTTP/1.1", False),
        ([(b"connection", b"keep-alive, close")], b"GET / HTTP/1.1", False),
        ([(b"connection", b"closed")], b"GET / HTTP/1.1", True),
        ([], b"GET / HTTP/1.0", False),
        ([(b"connection", b"Keep-Alive")], b"GET / HTTP/1.0", True),
        ([(b"connection", b"keep-alive, close")], b"GET / HTTP/1.0", False),
    ],
)
def test_whether_the_peer_wants_to_go_on(fields: list[tuple[bytes, bytes]], line: bytes, wanted: bool) -> None:
    assert request(*fields, line=line).keep_alive is wanted


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], 0),
        ([(b"content-length", b"0")], 0),
        ([(b"content-length", b"12")], 12),
        ([(b"content-length", b"9" * 18)], 10**18 - 1),
        ([(b"transfer-encoding", b"chunked")], None),
        ([(b"transfer-encoding", b"Chunked")], None),
    ],
)
def test_the_body_that_is_announced(fields: list[tuple[bytes, bytes]], length: int | None) -> None:
    assert request(*fields).content_length == length


@pytest.mark.parametrize(
    ("fields", "expects"),
    [
        ([(b"expect", b"100-Continue"), (b"content-length", b"1")], True),
        ([(b"expect", b"100-continue"), (b"transfer-encoding", b"chunked")], True),
        ([(b"expect", b"100-continue")], False),
        ([(b"expect", b"100-continue"), (b"content-length", b"0")], False),
        ([(b"expect", b"something"), (b"content-length", b"1")], False),
    ],
)
def test_who_waits_for_100_continue(fields: list[tuple[bytes, bytes]], expects: bool) -> None:
    assert request(*fields).expect_continue is expects


def test_an_http_1_0_client_knows_no_100_continue() -> None:
    line = b"POST / HTTP/1.0"
    assert not request((b"expect", b"100-continue"), (b"content-length", b"1"), line=line).expect_continue


def test_an_upgrade_counts_only_when_connection_names_it() -> None:
    assert request((b"upgrade", b"h2c")).upgrade is None
    assert request((b"upgrade", b"h2c"), (b"connection", b"keep-alive, Upgrade")).upgrade == b"h2c"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"content-length", b"1"), (b"content-length", b"1")], 400),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"gzip")], 400),
        ([(b"transfer-encoding", b"gzip")], 501),
        ([(b"transfer-encoding", b"gzip, chunked")], 501),
        ([(b"transfer-encoding", b"chunked, gzip")], 400),
        ([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], 400),
        ([(b"transfer-encoding", b"")], 400),
        ([(b"content-length", b"\xb2")], 400),
        ([(b"content-length", "²".encode())], 400),
        ([(b"host", b"b")], 400),
    ],
)
def test_what_is_refused(fields: list[tuple[bytes, bytes]], status: int) -> None:
    assert status_of(*fields) == status


def test_host_is_needed_in_1_1_only() -> None:
    assert status_of(host=False) == 400
    assert request(line=b"GET / HTTP/1.0", host=False).fields == []


HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"


@pytest.mark.parametrize(
    ("lines", "status", "reason"),
    [
        (b"X : 1\r\n", 400, "Malformed header"),
        (b"X: 1\r\n", 400, "Malformed header"),  # nothing wrong that we could see: the parser's word counts
        (b"Transfer-Encoding: gzip\r\n", 501, "Unknown transfer coding"),
        (b"Transfer-Encoding: gzip\r\nX : 1\r\n", 400, "Malformed header"),
        (b"Content-Length: 1\r\nTransfer-Encoding: gzip\r\n", 400, "Content-Length and Transfer-Encoding together"),
    ],
)
def test_a_refusal_has_the_status_its_fields_deserve(lines: bytes, status: int, reason: str) -> None:
    fault = refusal(HEAD % lines)
    assert (fault.status, fault.reason) == (status, reason)
