"""Behind nginx and haproxy as the README configures them: uploads, aborts, WebSockets, addresses, reloads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from real_proxies import Ours, PutInFront, StartOurs, ask, client_of, in_threads

pytestmark = pytest.mark.system

OUTSIDE = "127.0.0.2"
BODY = os.urandom(3_000_000)


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
            pieces = (BODY[at : at + 70_000] for at in range(0, len(BODY), 70_000))
            body: Iterator[bytes] | bytes = pieces if chunked else BODY
            one.request("POST", "/upload", body=body, encode_chunked=chunked, headers=_framing(chunked))
            told = json.load(one.getresponse())
            assert (told["size"], told["sha256"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())


def _framing(chunked: bool) -> dict[str, str]:
    return {"Transfer-Encoding": "chunked"} if chunked else {}


def test_an_upload_reaches_the_application_as_it_comes(ours: StartOurs, in_front: PutInFront) -> None:
    server = ours()
    proxy = in_front(server.port)
    with contextlib.closing(client_of(proxy.port)) as one:
        one.request("POST", "/upload", body=_parts(server), encode_chunked=True, headers=_framing(True))
        assert json.load(one.getresponse())["size"] == 100_003


def _parts(server: Ours) -> Iterator[bytes]:
    yield b"x" * 100_000
    server.says("upload began")  # before the rest of it is sent
    yield b"end"


@pytest.mark.parametrize(
    ("request_head", "begins", "ends"),
    [
        (b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n", "hang began", "hang ended"),
        (b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n", "", "endless ended"),
        (
            b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9000,
            "upload began",
            "upload aborted",
        ),
    ],
)
def test_a_client_that_leaves(
    ours: StartOurs, in_front: PutInFront, request_head: bytes, begins: str, ends: str
) -> None:
    server = ours()
    proxy = in_front(server.port)
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as sock:
        sock.sendall(request_head)
        if begins:
            server.says(begins)
        else:
            assert sock.recv(100)
    server.says(ends)


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


def load(port: int, over: threading.Event, seen: Counter[int | str], method: str) -> None:
    """Send requests over persistent connections until `over` is set."""
    while not over.is_set():
        with contextlib.closing(client_of(port)) as one:
            try:
                for _ in range(200):
                    if over.is_set():
                        break
                    one.request(method, "/upload" if method == "POST" else "/", body=b"x" if method == "POST" else None)
                    response = one.getresponse()
                    response.read()
                    seen[response.status] += 1
                    if response.will_close:
                        break
            except OSError as exc:
                seen[repr(exc)] += 1


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
