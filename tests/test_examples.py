"""Every example works over a real socket, started by the command that its docstring shows."""

from __future__ import annotations

import hashlib
import http.client
import importlib.metadata
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from programs import eventually
from uvicorn import Config, Server
from uvicorn.config import options
from uvicorn.main import main

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PATIENCE = 30.0

FILES = [*sorted(EXAMPLES.glob("*.py")), EXAMPLES / "grpc" / "greeter.py"]
LINES = {
    line.split()[-1]: line
    for file in FILES
    for line in re.findall(r"^\$ (uvicorn .*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
}


class Client:
    """A blocking client on one connection."""

    def __init__(self, port: int, server: Server) -> None:
        self.server = server
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
            clients.append(Client(port, server))
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


def test_every_example_is_tested() -> None:
    files = {file.stem for file in FILES}
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
        one.send(json.dumps({"id": "m1", "name": "o" * 30, "text": "again", "else": 1}))
        for member in (one, two):  # a page that has lost its connection knows by the id what it need not say again
            assert json.loads(member.recv(timeout=PATIENCE)) == {"id": "m1", "name": "o" * 20, "text": "again"}
    with pytest.raises(exceptions.InvalidStatus) as denied:
        client.connect(url + "s")
    assert denied.value.response.status_code == 403


def test_upload(serve: Serve) -> None:
    connect = serve("upload:app")
    client = connect()
    page = client.ask("GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8" and b"upload.onprogress" in page.read()
    parts = [os.urandom(70_000) for _ in range(20)]
    whole = b"".join(parts)
    for body, sent in ((whole, whole), (whole, iter(parts)), (b"", b"")):
        expected = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        assert json.loads(client.read("PUT", "/file", sent)) == expected
    nothing = client.ask("POST", "/file")
    assert (nothing.status, nothing.read()) == (404, b"Not found")


def test_upload_holds_nothing(serve: Serve) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    client = serve("upload:app")()
    client.read("PUT", "/file", b"what is made once")
    part, times = os.urandom(1 << 16), 512
    tracemalloc.start()
    try:
        found = json.loads(client.read("PUT", "/file", iter([part] * times)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["bytes"] == times * len(part) and peak < found["bytes"] / 4


def test_upload_that_breaks_off(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    connect = serve("upload:app")
    client, other = connect(), connect()
    client.connection.putrequest("PUT", "/file")
    client.connection.putheader("content-length", "1000000")
    client.connection.endheaders(b"a beginning")
    client.connection.close()
    assert json.loads(other.read("PUT", "/file", b"whole"))["bytes"] == 5
    assert "Exception" not in caplog.text


def test_grpc(serve: Serve) -> None:
    try:
        importlib.metadata.version("grpcio")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("grpcio is not installed")
    client = serve("greeter:app")()
    command = [sys.executable, str(EXAMPLES / "grpc" / "client.py"), f"127.0.0.1:{client.connection.port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines() == [
        "Hello, Ada",
        "Hello, Ada, Grace, Barbara",
        "0 1 2 3 4",
        "You say: one",
        "You say: two",
        "INVALID_ARGUMENT a name, please",
    ], done.stderr
    assert client.ask("POST", "/example.Greeter/Hello", b"x").status == 415


def tick(events: http.client.HTTPResponse) -> tuple[int, int]:
    """The number of the next event, and how many tabs it says are open."""
    while not (line := events.readline()).startswith(b"id: "):
        assert line, "the stream is over"
    number, kind, data = line, events.readline(), events.readline()
    assert kind == b"event: tick\n" and data.startswith(b"data: ")
    said = json.loads(data[6:])
    assert re.fullmatch(r"\d\d:\d\d:\d\d", said["time"])
    return int(number[4:]), said["tabs"]


def open_events(client: Client, last: int | None = None) -> http.client.HTTPResponse:
    client.connection.request("GET", "/events", headers={} if last is None else {"last-event-id": str(last)})
    return client.connection.getresponse()


def leave(client: Client, events: http.client.HTTPResponse) -> None:
    events.close()
    client.connection.close()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called after `serve`: the events of the example come at once."""
    return lambda: monkeypatch.setattr(sys.modules["events"], "EVERY", 0.01)


def test_events(serve: Serve, fast: Callable[[], None]) -> None:
    connect = serve("events:app")
    pages, one, two = connect(), connect(), connect()
    assert b'new EventSource("/events")' in pages.read("GET", "/") and pages.ask("GET", "/nothing").status == 404
    fast()
    first = open_events(one)
    assert first.headers["content-type"] == "text/event-stream"
    assert first.readline() == b"retry: 250\n"
    assert [tick(first) for _ in range(3)] == [(1, 1), (2, 1), (3, 1)]
    second = open_events(two, last=41)
    assert tick(second) == (42, 2), "it goes on where the browser was"
    eventually(lambda: tick(first)[1] == 2)
    leave(one, first)
    eventually(lambda: tick(second)[1] == 1)
    leave(two, second)
    eventually(lambda: not sys.modules["events"].OPEN)


def test_a_drain_ends_the_events(serve: Serve, fast: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    client = serve("events:app")()
    events = open_events(client)
    fast()
    tick(events)
    client.server.should_exit = True
    events.read()  # until the last chunk: what is cut short raises
    assert not sys.modules["events"].OPEN and "Exception" not in caplog.text
