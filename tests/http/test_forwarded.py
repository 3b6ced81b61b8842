"""X-Forwarded-For and -Proto in the connection: whom it believes, every request anew, with every codec."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from applications import responding
from clients import connect
from http_peers import ConnectionClass, Peer, Recorder
from servers import LoopFactory, serving

LOOPBACK = ("127.0.0.1", 4711)
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


def request(*lines: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


async def scopes(
    connection_class: ConnectionClass, recorder: Recorder, *requests: bytes, **settings: Any
) -> list[tuple[tuple[str, int] | None, str]]:
    """(client, scheme) of each request of one connection."""
    peer = Peer(connection_class, recorder, **{"peername": LOOPBACK, **settings})
    for number, data in enumerate(requests, 1):
        peer.send(data)
        await peer.answered(count=number)
    return [(scope["client"], scope["scheme"]) for scope, _ in recorder.seen]


async def test_a_trusted_peer_is_believed_every_request_anew(
    connection_class: ConnectionClass, recorder: Recorder
) -> None:
    seen = await scopes(
        connection_class,
        recorder,
        request(b"X-Forwarded-For: 203.0.113.1", b"X-Forwarded-Proto: https"),
        request(),
        request(b"x-forwarded-for: 203.0.113.2:80"),
        request(b"X-FORWARDED-PROTO: https"),
    )
    assert seen == [
        (("203.0.113.1", 0), "https"),
        (LOOPBACK, "http"),
        (("203.0.113.2", 80), "http"),
        (LOOPBACK, "https"),
    ]


FORWARDED = request(b"X-Forwarded-For: 203.0.113.1", b"X-Forwarded-Proto: https")


@pytest.mark.parametrize(
    ("settings", "believed"),
    [
        ({}, True),
        ({"peername": ("::1", 5, 0, 0)}, True),
        ({"peername": ("192.0.2.1", 5)}, False),
        ({"proxy_headers": False}, False),
        ({"proxy_headers": False, "forwarded_allow_ips": "*"}, False),
        ({"forwarded_allow_ips": "192.0.2.0/24"}, False),
        ({"forwarded_allow_ips": "192.0.2.0/24", "peername": ("192.0.2.1", 5)}, True),
        ({"forwarded_allow_ips": ["*"], "peername": ("192.0.2.1", 5)}, True),
        ({"forwarded_allow_ips": ""}, False),
    ],
)
async def test_who_is_believed(
    connection_class: ConnectionClass, recorder: Recorder, settings: dict[str, Any], believed: bool
) -> None:
    (seen,) = await scopes(connection_class, recorder, FORWARDED, **settings)
    assert (seen == (("203.0.113.1", 0), "https")) is believed
    assert recorder.seen[0][0]["headers"][1:] == [
        (b"x-forwarded-for", b"203.0.113.1"),
        (b"x-forwarded-proto", b"https"),
    ]


async def test_several_lines_are_one_list(connection_class: ConnectionClass, recorder: Recorder) -> None:
    lines = (b"X-Forwarded-For: 198.51.100.1, 203.0.113.1", b"X-Other: x", b"X-Forwarded-For: 127.0.0.1")
    assert await scopes(connection_class, recorder, request(*lines)) == [(("203.0.113.1", 0), "http")]


async def test_what_cannot_be_read_changes_nothing(connection_class: ConnectionClass, recorder: Recorder) -> None:
    lines = (b"X-Forwarded-For: unknown", b"X-Forwarded-Proto: gopher")
    assert (
        await scopes(connection_class, recorder, request(*lines), request(b"X-Forwarded-For:"))
        == [(LOOPBACK, "http")] * 2
    )


async def test_trailers_are_not_believed(connection_class: ConnectionClass, recorder: Recorder) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n"
    assert await scopes(connection_class, recorder, data) == [(LOOPBACK, "http")]


async def test_the_access_log_names_the_client(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    peer = Peer(connection_class, responding(b"ok"), peername=LOOPBACK)
    peer.connection.logs_access = True
    peer.send(FORWARDED)
    await peer.answered()
    peer.send(request())
    await peer.answered(count=2)
    assert caplog.messages == ['203.0.113.1:0 - "GET / HTTP/1.1" 200', '127.0.0.1:4711 - "GET / HTTP/1.1" 200']


@pytest.mark.parametrize(
    ("trusted", "believed"), [(None, False), ("unix:", True), ("*", True), ("{path}", True), ("/other.sock", False)]
)
async def test_peers_of_a_unix_socket(
    recorder: Recorder, loop_factory: LoopFactory, tmp_path: Path, trusted: str | None, believed: bool
) -> None:
    path = str(tmp_path / "x.sock")
    allowed = None if trusted is None else trusted.format(path=path)
    async with serving(recorder, lifespan="off", uds=path, forwarded_allow_ips=allowed), connect(path) as client:
        await client.get("/", "X-Forwarded-For: 203.0.113.1", "X-Forwarded-Proto: https")
    scope = recorder.seen[0][0]
    expected = (("203.0.113.1", 0), "https") if believed else (None, "http")
    assert (scope["client"], scope["scheme"]) == expected


async def test_one_connection_of_a_proxy_carries_many_clients(recorder: Recorder, loop_factory: LoopFactory) -> None:
    async with serving(recorder, lifespan="off") as server, connect(server) as proxy:
        for number in range(20):
            proxy.ask("/", f"X-Forwarded-For: 203.0.113.{number}")
        for _ in range(20):
            assert (await proxy.answer()).status == 200
    assert [scope["client"][0] for scope, _ in recorder.seen] == [f"203.0.113.{number}" for number in range(20)]


async def test_one_family_at_a_time(connection_class: ConnectionClass, recorder: Recorder) -> None:
    lines = (b"X-Forwarded-For: 198.51.100.1", b"Forwarded: for=203.0.113.9;proto=https;host=shop.example")
    seen = await scopes(connection_class, recorder, request(*lines), request(lines[0]), forwarded_headers="forwarded")
    assert seen == [(("203.0.113.9", 0), "https"), (LOOPBACK, "http")]
    assert [value for name, value in recorder.seen[0][0]["headers"] if name == b"host"] == [b"shop.example"]
    assert [value for name, value in recorder.seen[1][0]["headers"] if name == b"host"] == [b"a"]


async def test_trust_is_looked_up_once_and_only_when_it_matters(
    connection_class: ConnectionClass, recorder: Recorder
) -> None:
    peer = Peer(connection_class, recorder, peername=LOOPBACK)
    peer.send(request())
    await peer.answered()
    assert peer.connection._ends.trusted is None
    peer.send(FORWARDED)
    await peer.answered(count=2)
    assert peer.connection._ends.trusted is True
