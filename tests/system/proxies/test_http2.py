"""HTTP/2 behind HAProxy, Caddy, Envoy and nginx as docs/http2.md configures them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections import Counter

import pytest
from websockets.sync.client import connect

from real_proxies import (
    BODY,
    DIGEST,
    LEAVING,
    OUTSIDE,
    Behind,
    ask,
    client_of,
    in_threads,
    leave,
    load,
    upload,
    upload_that_waits,
)

pytestmark = pytest.mark.system

HELD = 20


def kind(request: pytest.FixtureRequest) -> str:
    """Which proxy it is."""
    name: str = request.node.callspec.params["behind"]
    return name


def test_requests_share_connections(behind: Behind, request: pytest.FixtureRequest) -> None:
    """At most one connection for each thread of the proxy; nginx opens one for each request."""
    server, proxy = behind("--no-proxy-headers")
    with contextlib.ExitStack() as stack:
        for _ in range(HELD):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), 30))
            sock.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            server.says("hang began")
        ports = set(re.findall(r"hang began on (\d+)", server.program.text))
    if kind(request) == "nginx":
        assert len(ports) == HELD
    else:
        assert len(ports) <= (os.cpu_count() or 1)


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads(behind: Behind, chunked: bool) -> None:
    _, proxy = behind()
    with contextlib.closing(client_of(proxy.port)) as one:
        for _ in range(3):
            told = upload(one, chunked)
            assert (told["size"], told["sha256"], told["http_version"]) == (len(BODY), DIGEST, "2")


def test_an_upload_reaches_the_application_as_it_comes(behind: Behind) -> None:
    server, proxy = behind()
    with contextlib.closing(client_of(proxy.port)) as one:
        assert upload_that_waits(one, server)["size"] == 100_003


@pytest.mark.parametrize(("head", "begins", "ends"), LEAVING, ids=["waiting", "reading", "sending"])
def test_a_client_that_leaves(behind: Behind, head: bytes, begins: str, ends: str) -> None:
    server, proxy = behind()
    leave(proxy, server, head, begins, ends)


def test_the_client_is_the_one_that_asked_the_proxy(behind: Behind, request: pytest.FixtureRequest) -> None:
    server, proxy = behind()
    told = ask(
        proxy.port, headers={"X-Forwarded-For": "198.51.100.66", "X-Forwarded-Proto": "https", "Host": "shop.example"}
    )
    if kind(request) == "envoy":  # it gives a client on loopback the address of this machine
        assert told["client"][0] not in ("127.0.0.1", "198.51.100.66")
    else:
        assert told["client"][0] == OUTSIDE
    assert (told["scheme"], told["host"], told["http_version"]) == ("http", "shop.example", "2")
    server.says(rf"{told['client'][0]}:0 - \"GET / HTTP/2\" 200")


def test_a_websocket(behind: Behind, request: pytest.FixtureRequest) -> None:
    server, proxy = behind()
    with connect(f"ws://127.0.0.1:{proxy.port}/ws", source_address=(OUTSIDE, 0)) as one:
        told = json.loads(one.recv(30))
        version = "2" if kind(request) in ("haproxy", "envoy") else "1.1"
        assert (told["http_version"], told["scheme"]) == (version, "ws")
        for message in ("text", b"\0bytes" * 50_000):
            one.send(message)
            assert one.recv(30) == message
    assert one.close_code == 1000
    server.says("websocket ended 100[05]")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_reload_under_load(behind: Behind, method: str) -> None:
    server, proxy = behind("--no-access-log", workers=2)
    seen: Counter[int | str] = Counter()
    with in_threads(lambda over: load(proxy.port, over, seen, method), 6):
        for _ in range(3):
            server.reload()
    assert set(seen) == {200}, (seen, proxy.log.read_text()[-2000:])
    assert seen[200] > 100
