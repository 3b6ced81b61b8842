"""What a header block means, and that it means the same when it comes again."""

from __future__ import annotations

import hpack as other
import pytest
from hypothesis import given
from hypothesis import strategies as st

import http2 as h2
from uvicorn.errors import BadRequest
from uvicorn.worker.http.request import Request
from uvicorn.worker.http2.fields import Head, HeadReader, Malformed, decoder

METHODS = {b"GET": "GET", b"POST": "POST", b"OPTIONS": "OPTIONS"}


def reader(line: int = 8000, fields: int = 128, size: int = 65536, tunnels: bool = False) -> HeadReader:
    return HeadReader(decoder(), (line, fields, size), METHODS, tunnels)


def told(head: Head) -> dict[str, object]:
    return {name: getattr(head, name) for name in (*Request.__slots__, *Head.__slots__)}


def read(*more: h2.Field, path: bytes = b"/", method: bytes = b"GET") -> Head:
    return reader().read(h2.block(h2.request_fields(*more, path=path, method=method)))


def outcome(made: HeadReader, block: bytes) -> object:
    try:
        return told(made.read(block))
    except BadRequest as exc:
        return exc.status, exc.reason
    except Malformed as exc:
        return str(exc)


def test_a_usual_request() -> None:
    head = read((b"accept", b"*/*"), path=b"/a%20b?c=%20")
    assert told(head) == {
        "method": "GET",
        "http_version": "2",
        "target": b"/a%20b?c=%20",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=%20",
        "fields": [(b"host", b"a.test"), (b"accept", b"*/*")],
        "content_length": None,
        "expect_continue": False,
        "forwarded": False,
        "protocol": None,
        "takes_trailers": True,
        "urgency": 3,
    }


def test_the_crumbs_of_a_cookie_are_joined_where_the_first_one_is() -> None:
    head = read((b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2"), (b"cookie", b"c=3"))
    assert head.fields[1:] == [(b"cookie", b"a=1; b=2; c=3"), (b"accept", b"*/*")]


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ((b"content-length", b"12"), "content_length", 12),
        ((b"expect", b"100-Continue"), "expect_continue", True),
        ((b"x-forwarded-for", b"192.0.2.1"), "forwarded", True),
        ((b"priority", b"u=1, i"), "urgency", 1),
        ((b"priority", b"u=9"), "urgency", 3),
        ((b"te", b"Trailers"), "takes_trailers", True),
    ],
)
def test_what_a_field_means(field: h2.Field, name: str, value: object) -> None:
    assert getattr(read(field, method=b"POST"), name) == value


def test_an_extended_connect() -> None:
    made = reader(tunnels=True)
    fields = [*h2.request_fields(method=b"CONNECT"), (b":protocol", b"websocket")]
    for _ in range(2):  # the second time it is remembered
        assert made.read(h2.block(fields)).protocol == b"websocket"
    assert made.read(h2.block(h2.request_fields())).protocol is None


@pytest.mark.parametrize(
    ("made", "more", "path", "status"),
    [
        (reader(line=20), [], b"/" + b"a" * 20, 414),
        (reader(fields=3), [(b"x-%d" % n, b"1") for n in range(4)], b"/", 431),
        (reader(size=100), [(b"x", b"a" * 100)], b"/", 431),
    ],
)
def test_limits(made: HeadReader, more: list[h2.Field], path: bytes, status: int) -> None:
    for _ in range(2):
        with pytest.raises(BadRequest) as caught:
            made.read(h2.block(h2.request_fields(*more, path=path)))
        assert caught.value.status == status
    assert made.read(h2.block(h2.request_fields())).path == "/"


FIELDS = st.lists(
    st.sampled_from(
        [
            (b"accept", b"*/*"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"host", b"a.test"),
            (b"te", b"trailers"),
            (b"te", b"gzip"),
            (b"x-a", b"1"),
            (b"x-a", b"2"),
            (b":protocol", b"websocket"),
        ]
    ),
    max_size=4,
)
REQUESTS = st.tuples(
    st.sampled_from([b"GET", b"POST", b"CONNECT", b"NONE"]),
    st.sampled_from([b"/", b"/a", b"/b?c", b"", b"*", b"/%41"]),
    FIELDS,
    st.sampled_from(["kept", "not kept", "never kept"]),
    st.sampled_from([None, None, None, 0, 60, 4096]),
)


@given(st.lists(REQUESTS, max_size=12), st.booleans())
def test_what_is_remembered_changes_nothing(
    requests: list[tuple[bytes, bytes, list[h2.Field], str, int | None]], tunnels: bool
) -> None:
    """One reader sees all blocks of a connection; the other the same fields, each in a connection of its own."""
    encoder = other.Encoder()
    made = reader(tunnels=tunnels)
    for method, path, more, how, size in requests:
        if size is not None and how != "not kept":
            encoder.header_table_size = size
        fields = h2.request_fields(*more, method=method, path=path)
        alone = outcome(reader(tunnels=tunnels), h2.block(fields))
        if how == "kept":
            block = encoder.encode(fields)
        elif how == "never kept":
            block = encoder.encode([other.NeverIndexedHeaderTuple(*one) for one in fields])
        else:
            block = h2.block(fields)
        assert outcome(made, block) == alone
        if how == "not kept":
            assert outcome(made, block) == alone
