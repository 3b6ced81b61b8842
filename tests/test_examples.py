"""Every example does what it says, over a real socket, started by the very line that its docstring shows."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from uvicorn import Config, Server
from uvicorn.config import options
from uvicorn.main import main

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PATIENCE = 30.0

LINES = {
    line.split()[-1]: line
    for file in sorted(EXAMPLES.glob("*.py"))
    for line in re.findall(r"^\$ (uvicorn .*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
}


class Client:
    """Asks one server, on one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: bytes | Iterator[bytes] | None = None) -> http.client.HTTPResponse:
        """The response, its body not read yet. A body that is an iterator is sent in chunks."""
        headers = {"content-type": "application/json"} if body and path == "/books" else {}
        self.connection.request(method, path, body, headers)
        return self.connection.getresponse()

    def read(self, method: str, path: str, body: bytes | Iterator[bytes] | None = None) -> bytes:
        response = self.ask(method, path, body)
        assert response.status < 300, response.status
        return response.read()


Serve = Callable[[str], Callable[[], Client]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """`serve("hello:app")` starts that example in a thread and returns what makes clients of it."""
    running: list[tuple[Server, threading.Thread]] = []
    clients: list[Client] = []
    monkeypatch.chdir(EXAMPLES.parent)  # where the lines are meant to be typed

    def start(name: str) -> Callable[[], Client]:
        module = name.partition(":")[0]
        if module.endswith("_app"):
            pytest.importorskip(module.removesuffix("_app"))
        context = main.make_context("uvicorn", shlex.split(LINES[name])[1:])
        monkeypatch.syspath_prepend(context.params["app_dir"])
        settings = {name: value for name, value in context.params.items() if name in options()}
        server = Server(Config(**{**settings, "log_config": None}))
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],))
        running.append((server, thread))
        thread.start()

        def client() -> Client:
            clients.append(Client(port))
            return clients[-1]

        return client

    yield start
    for made in clients:
        made.connection.close()
    for server, thread in running:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert server.failure is None


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_example_is_tested() -> None:
    files = {file.stem for file in EXAMPLES.glob("*.py")}
    assert {name.partition(":")[0] for name in LINES} == files
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'serve("{name}")' in tested for name in LINES)


def test_hello_in_class_style(serve: Serve) -> None:
    client = serve("asgi2:App")()
    response = client.ask("GET", "/")
    assert (response.status, response.read()) == (200, b"Hello, world!")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("method, path", [("GET", "/"), ("POST", "/some/where"), ("DELETE", "/a?b=c")])
def test_echo_method_and_path(serve: Serve, method: str, path: str) -> None:
    client = serve("asgi2:EchoMethodAndPath")()
    assert client.read(method, path) == f"Received {method} request to {path.partition('?')[0]}".encode()


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
def test_echo_body(serve: Serve, size: int) -> None:
    client = serve("asgi2:EchoBody")()
    body = os.urandom(size)
    assert client.read("POST", "/", body) == body


def test_echo_body_sent_in_chunks(serve: Serve) -> None:
    client = serve("asgi2:EchoBody")()
    assert client.read("POST", "/", iter([b"part one, ", b"part two"])) == b"part one, part two"


def test_stream_response(serve: Serve) -> None:
    client = serve("asgi2:StreamResponse")()
    response = client.ask("GET", "/")
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.read() == b"Hello, world!"


def test_hello_with_lifespan_state(serve: Serve) -> None:
    client = serve("hello:app")()
    for number in (1, 2, 3):
        text = client.read("GET", "/").decode()
        assert re.fullmatch(rf"Hello from worker {os.getpid()}, up \d+\.\d s: request {number}\.\n", text)


def test_fastapi(serve: Serve) -> None:
    client = serve("fastapi_app:app")()
    first = json.loads(client.read("GET", "/books/1"))
    assert first == {"title": "The Practice of Programming", "year": 1999}
    assert json.loads(client.read("POST", "/books", b'{"title": "TCP/IP Illustrated", "year": 1993}')) == {"number": 2}
    assert json.loads(client.read("GET", "/books/2"))["year"] == 1993
    for method, path, body, status in [
        ("GET", "/books/7", None, 404),
        ("POST", "/books", b'{"title": "Beowulf", "year": 1000}', 422),
    ]:
        response = client.ask(method, path, body)
        response.read()
        assert response.status == status
    assert b"openapi.json" in client.read("GET", "/docs")


def test_starlette_stream_ends_when_its_client_leaves(serve: Serve) -> None:
    connect = serve("starlette_app:app")
    listener, observer = connect(), connect()
    events = listener.ask("GET", "/events?every=0.01")
    assert events.headers["content-type"].startswith("text/event-stream")
    assert [events.readline() for _ in range(6)] == [
        b"event: tick\n", b"data: 1\n", b"\n", b"event: tick\n", b"data: 2\n", b"\n",
    ]  # fmt: skip
    assert json.loads(observer.read("GET", "/")) == {"streams": 1}
    events.close()
    listener.connection.close()
    eventually(lambda: json.loads(observer.read("GET", "/")) == {"streams": 0})


def test_starlette_upload(serve: Serve) -> None:
    client = serve("starlette_app:app")()
    parts = [os.urandom(70_000) for _ in range(20)]
    whole = b"".join(parts)
    expected = {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    assert json.loads(client.read("POST", "/upload", whole)) == expected
    assert json.loads(client.read("POST", "/upload", iter(parts))) == expected


def test_chat(serve: Serve) -> None:
    client = pytest.importorskip("websockets.sync.client")
    exceptions = pytest.importorskip("websockets.exceptions")
    pages = serve("chat:app")()
    page = pages.read("GET", "/")
    assert b"new WebSocket(" in page and pages.ask("GET", "/nothing").status == 404
    url = f"ws://127.0.0.1:{pages.connection.port}/room"
    with client.connect(url, subprotocols=["chat.example"]) as one, client.connect(url) as two:
        assert (one.subprotocol, two.subprotocol) == ("chat.example", None)
        two.send(json.dumps({"name": "two", "text": "hello"}))
        for member in (one, two):
            assert json.loads(member.recv(timeout=PATIENCE)) == {"name": "two", "text": "hello"}
    with pytest.raises(exceptions.InvalidStatus) as denied:
        client.connect(url + "s")
    assert denied.value.response.status_code == 403
