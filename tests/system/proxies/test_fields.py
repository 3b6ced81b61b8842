"""Behind nginx and haproxy as the README configures them: uploads, aborts, WebSockets, addresses, reloads."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import pytest
from websockets.sync.client import connect

from real_proxies import (
    BODY,
    DIGEST,
    LEAVING,
    PutInFront,
    StartOurs,
    ask,
    client_of,
    in_threads,
    leave,
    load,
    upload,
    upload_that_waits,
)

pytestmark = pytest.mark.system

OUTSIDE = "127.0.0.2"


def test_upstream_connections_are_kept(ours: StartOurs, in_front: PutInFront) -> None:
    """Without proxy headers the client's port in the scope is the proxy's own: how many it opened."""
    proxy = in_front(ours("--no-proxy-headers").port)
    ports: Counter[int] = Counter()
    with contextlib.closing(client_of(proxy.port)) as one:
        for _ in range(50):
            one.request("GET", "/")
            ports[json.load(one.getresponse())["client"][1]] += 1
    assert sum(ports.values()) == 50 and len(ports) <= 2, ports


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads(ours: StartOurs, in_front: PutInFront, chunked: bool) -> None:
    proxy = in_front(ours().port)
    with contextlib.closing(client_of(proxy.port)) as one:
        for _ in range(3):
            told = upload(one, chunked)
            assert (told["size"], told["sha256"]) == (len(BODY), DIGEST)


def test_an_upload_reaches_the_application_as_it_comes(ours: StartOurs, in_front: PutInFront) -> None:
    server = ours()
    proxy = in_front(server.port)
    with contextlib.closing(client_of(proxy.port)) as one:
        assert upload_that_waits(one, server)["size"] == 100_003


@pytest.mark.parametrize(("head", "begins", "ends"), LEAVING, ids=["waiting", "reading", "sending"])
def test_a_client_that_leaves(ours: StartOurs, in_front: PutInFront, head: bytes, begins: str, ends: str) -> None:
    server = ours()
    leave(in_front(server.port), server, head, begins, ends)


def test_the_client_is_the_one_that_asked_the_proxy(ours: StartOurs, in_front: PutInFront) -> None:
    server = ours()
    proxy = in_front(server.port)
    told = ask(
        proxy.port, headers={"X-Forwarded-For": "198.51.100.66", "X-Forwarded-Proto": "https", "Host": "shop.example"}
    )
    assert told["client"][0] == OUTSIDE  # not what it wrote itself
    assert (told["scheme"], told["host"]) == ("http", "shop.example")
    server.says(rf"{OUTSIDE}:0 - \"GET / HTTP/1\.1\" 200")


def test_a_websocket(ours: StartOurs, in_front: PutInFront) -> None:
    server = ours()
    proxy = in_front(server.port)
    with connect(f"ws://127.0.0.1:{proxy.port}/", source_address=(OUTSIDE, 0)) as one:
        told = json.loads(one.recv(30))
        assert (told["client"][0], told["scheme"]) == (OUTSIDE, "ws")
        for message in ("text", b"\0bytes" * 50_000):
            one.send(message)
            assert one.recv(30) == message
    server.says("websocket ended 100[05]")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_reload_under_load(ours: StartOurs, in_front: PutInFront, method: str) -> None:
    server = ours("--no-access-log", workers=2)
    proxy = in_front(server.port)
    seen: Counter[int | str] = Counter()  # statuses, and what went wrong
    with in_threads(lambda over: load(proxy.port, over, seen, method), 6):
        for _ in range(3):
            server.reload()
    assert set(seen) == {200}, (seen, proxy.log.read_text()[-2000:])
    assert seen[200] > 100
