"""WSGI applications: their environ, streaming in both directions, errors, and how many run at once."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from applications import Receive, Scope, Send
from clients import connect
from programs import Start
from servers import make_server, serving
from uvicorn._types import Environ
from uvicorn.config import Config
from uvicorn.errors import StartupError
from uvicorn.main import main
from uvicorn.settings.application import is_wsgi

pytest.importorskip("a2wsgi")

PATIENCE = 15.0

StartResponse = Callable[..., Any]
"""PEP 3333 lets an application leave the third argument out; the alias in `uvicorn._types` does not."""


def plain(start: StartResponse, status: str = "200 OK", *headers: tuple[str, str]) -> Callable[[bytes], object]:
    """Begin a response; what this returns writes (PEP 3333)."""
    write: Callable[[bytes], object] = start(status, [("Content-Type", "text/plain"), *headers])
    return write


def told(*names: str) -> Callable[[Environ, StartResponse], list[bytes]]:
    """An application that answers with these values of its environ."""

    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        plain(start)
        return ["\n".join(f"{name}={environ.get(name)}" for name in names).encode()]

    return app


def lines(body: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in body.decode().split("\n"))


class Told:
    """An event that is set in a thread and awaited in the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        await asyncio.wait_for(self._event.wait(), PATIENCE)


# -- the environment -------------------------------------------------------------------------------------------


async def test_environ() -> None:
    names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_LENGTH", "CONTENT_TYPE")
    app = told(*names, "HTTP_X_ONE", "SERVER_PORT", "REMOTE_ADDR", "wsgi.url_scheme", "wsgi.input_terminated")
    async with serving(app, interface="wsgi", root_path="/api") as server, connect(server) as client:
        client.ask("/items/1?q=a%20b&q=c", "Content-Type: text/x", "X-One: 1", "X-One: 2", method="POST", body=b"four")
        answer = await client.answer()
        assert answer.status == 200 and answer.headers["content-type"] == "text/plain"
        assert lines(answer.body) == {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "/api",
            "PATH_INFO": "/items/1",
            "QUERY_STRING": "q=a%20b&q=c",
            "CONTENT_LENGTH": "4",
            "CONTENT_TYPE": "text/x",
            "HTTP_X_ONE": "1,2",
            "SERVER_PORT": str(server.port),
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
            "wsgi.input_terminated": "True",
        }


@pytest.mark.parametrize(
    ("trusted", "address", "scheme"), [("127.0.0.1", "192.0.2.7", "https"), ("10.0.0.1", "127.0.0.1", "http")]
)
async def test_environ_behind_a_proxy(trusted: str, address: str, scheme: str) -> None:
    app = told("REMOTE_ADDR", "wsgi.url_scheme")
    async with serving(app, interface="wsgi", forwarded_allow_ips=trusted) as server, connect(server) as client:
        answer = await client.get("/", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
        assert lines(answer.body) == {"REMOTE_ADDR": address, "wsgi.url_scheme": scheme}


@pytest.mark.parametrize("root", ["", "/api"])
@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/%C3%BCber/%E2%82%AC", "/über/€".encode()), ("/%FCber", b"/\xfcber"), ("/%EF%BF%BD", b"/\xef\xbf\xbd")],
)
async def test_a_path_comes_as_its_bytes(root: str, path: str, wanted: bytes) -> None:
    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        plain(start)
        return [environ["SCRIPT_NAME"].encode("latin-1") + b"+" + environ["PATH_INFO"].encode("latin-1")]

    async with serving(app, interface="wsgi", root_path=root) as server, connect(server) as client:
        assert (await client.get(path)).body == root.encode() + b"+" + wanted


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_bytes_that_are_not_ascii_are_no_fault_of_the_application(http: str) -> None:
    pytest.importorskip(http)
    async with serving(told("QUERY_STRING"), interface="wsgi", http=http) as server, connect(server) as client:
        client.send(b"GET /?q=\xfc HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.head())[0] in (200, 400)


async def test_a_name_with_an_underscore_is_nobodys_header() -> None:
    app = told("HTTP_X_FORWARDED_FOR", "HTTP_X_OTHER")
    async with serving(app, interface="wsgi") as server, connect(server) as client:
        answer = await client.get("/", "X_Forwarded_For: 192.0.2.7", "X-Other: 1")
        assert lines(answer.body) == {"HTTP_X_FORWARDED_FOR": "None", "HTTP_X_OTHER": "1"}


# -- bodies of requests ----------------------------------------------------------------------------------------


def reading(way: str) -> Callable[[Environ, StartResponse], list[bytes]]:
    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        plain(start)
        body = environ["wsgi.input"]
        match way:
            case "all":
                return [body.read()]
            case "pieces":
                return [*iter(lambda: body.read(3), b"")]
            case "lines":
                return [line.replace(b"\n", b"|") for line in body]
            case "readline":
                return [body.readline(), b"+", body.readline(2), b"+", *body.readlines()]
        raise AssertionError(way)

    return app


@pytest.mark.parametrize(
    ("way", "wanted"),
    [
        ("all", b"one\ntwo\nthree"),
        ("pieces", b"one\ntwo\nthree"),
        ("lines", b"one|two|three"),
        ("readline", b"one\n+tw+o\nthree"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_is_a_file(way: str, wanted: bytes, chunked: bool) -> None:
    async with serving(reading(way), interface="wsgi") as server, connect(server) as client:
        for _ in range(2):  # and the connection is fit for another request
            if chunked:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                client.send(b"5\r\none\nt\r\n8\r\nwo\nthree\r\n0\r\n\r\n")
            else:
                client.ask(method="POST", body=b"one\ntwo\nthree")
            assert (await client.answer()).body == wanted


async def test_a_body_is_read_while_it_comes() -> None:
    first = Told()

    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        begun = environ["wsgi.input"].read1(10)
        first.set()
        rest = environ["wsgi.input"].read()
        plain(start)
        return [begun, b"/", rest]

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfour")
        await first.wait()
        client.send(b"-more")
        assert (await client.answer()).body == b"four/-more"


async def test_an_upload_that_is_cut_short_is_an_error() -> None:
    raised: list[Exception] = []
    reading_it, over = Told(), Told()

    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        try:
            environ["wsgi.input"].read(4)
            reading_it.set()
            environ["wsgi.input"].read()
        except Exception as exc:
            raised.append(exc)
            raise
        finally:
            over.set()
        return []

    async with serving(app, interface="wsgi") as server:
        async with connect(server) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfour")
            await reading_it.wait()
        await over.wait()
    assert [type(exc).__name__ for exc in raised] == ["ClientDisconnected"] and isinstance(raised[0], OSError)


UPLOAD = """
import resource, sys, uvicorn

before = 0

def app(environ, start):
    global before
    before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = 0
    while part := environ["wsgi.input"].read(65536):
        count += len(part)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %d" % (count, grown)]

if __name__ == "__main__":
    uvicorn.run(app, port=0, interface="wsgi")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss")
async def test_an_upload_is_never_held_whole(start_program: Start) -> None:
    program = start_program(UPLOAD)
    size, part = 40 << 20, bytes(1 << 20)
    async with connect(program.listens()) as client:
        assert (await client.get()).body == b"0 0"
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(part)):
            client.send(part)
            await asyncio.wait_for(client.writer.drain(), PATIENCE)
        count, grown = (await client.answer()).body.split()
    assert int(count) == size
    assert int(grown) < 10 << 10, f"{int(grown)} KiB"


# -- responses -------------------------------------------------------------------------------------------------


async def test_a_response_leaves_as_it_is_produced() -> None:
    seen = threading.Event()

    def app(environ: Environ, start: StartResponse) -> Iterator[bytes]:
        plain(start)
        yield b"first"
        assert seen.wait(PATIENCE), "the client has not seen what was there"
        yield b""
        yield b"second"

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.ask()
        assert (await client.head())[0] == 200
        assert await client.chunk() == b"first"
        seen.set()
        assert [await client.chunk(), await client.chunk()] == [b"second", b""]


async def test_a_client_that_leaves_ends_the_response() -> None:
    closed = Told()

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 1000

        def close(self) -> None:
            closed.set()

    def app(environ: Environ, start: StartResponse) -> Iterable[bytes]:
        plain(start)
        return Endless()

    async with serving(app, interface="wsgi") as server:
        async with connect(server) as client:
            client.ask()
            assert await client.chunk() if (await client.head()) else None
        await closed.wait()


async def test_the_threads_of_clients_that_left_serve_others() -> None:
    from uvicorn.middleware.wsgi import WSGIMiddleware

    def app(environ: Environ, start: StartResponse) -> Iterator[bytes]:
        plain(start)
        while environ["PATH_INFO"] == "/endless":
            yield b"x" * 10000
        yield b"served"

    async with serving(WSGIMiddleware(app, workers=2)) as server:
        for _ in range(6):
            async with connect(server) as client:
                client.ask("/endless")
                await client.head()
        async with connect(server) as client:
            assert (await client.get("/")).body == b"served"


async def test_a_slow_reader_holds_the_application_up_and_not_the_memory() -> None:
    produced = 0

    def app(environ: Environ, start: StartResponse) -> Iterator[bytes]:
        nonlocal produced
        plain(start)
        for _ in range(0 if environ["PATH_INFO"] == "/short" else 500):
            produced += 1
            yield bytes(100_000)

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.ask()
        await client.head()
        before = -1
        async with connect(server) as other:
            while produced != before:  # until it stands still while others are served
                before = produced
                for _ in range(50):
                    assert (await other.get("/short")).status == 200
        assert 0 < produced < 200, "it went on although nobody read"
        total = 0
        while part := await client.chunk():
            total += len(part)
    assert total == 50_000_000


async def test_an_exception_before_the_response_is_500(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        plain(start)  # nothing has left yet
        raise ZeroDivisionError("in the application")

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        assert (await client.get()).status == 500
    assert "ZeroDivisionError: in the application" in caplog.text


async def test_an_exception_within_the_response_cuts_it(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start: StartResponse) -> Iterator[bytes]:
        plain(start)
        yield b"first"
        raise ZeroDivisionError("half way")

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.ask()
        assert (await client.head())[0] == 200
        assert await client.chunk() == b"first"
        assert await client.ended() == b"", "no last chunk, so the client knows"
    assert "ZeroDivisionError: half way" in caplog.text


async def test_a_head_request_has_the_fields_and_no_body() -> None:
    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        plain(start, "200 OK", ("Content-Length", "5"))
        return [b"hello"]

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.ask(method="HEAD")
        status, headers = await client.head()
        assert (status, headers["content-length"]) == (200, "5")
        assert (await client.get()).body == b"hello"


async def test_start_response_may_be_called_again_with_exc_info() -> None:
    def app(environ: Environ, start: StartResponse) -> Iterator[bytes]:
        plain(start)
        try:
            raise ValueError("too late to be found")
        except ValueError:
            start("503 Sorry", [("Content-Length", "5")], sys.exc_info())
        yield b"sorry"

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        answer = await client.get()
        assert (answer.status, answer.body) == (503, b"sorry")


@pytest.mark.parametrize("again", [False, True], ids=["never", "twice"])
async def test_start_response_is_called_once(caplog: pytest.LogCaptureFixture, again: bool) -> None:
    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        for _ in range(2 if again else 0):
            plain(start)
        return [b"x"]

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        assert (await client.get()).status == 500
    assert ("a second time" if again else "has not called start_response") in caplog.text


async def test_exc_info_after_the_head_has_left_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start: StartResponse) -> Iterator[bytes]:
        plain(start)
        yield b"first"
        try:
            raise LookupError("half way")
        except LookupError:
            start("500 Sorry", [], sys.exc_info())
        yield b"never"

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.ask()
        await client.head()
        assert await client.chunk() == b"first" and await client.ended() == b""
    assert "LookupError: half way" in caplog.text


async def test_the_old_write() -> None:
    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        write = plain(start)
        write(b"one ")
        write(b"two ")
        return [b"three"]

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        assert (await client.get()).body == b"one two three"


async def test_an_empty_response() -> None:
    def app(environ: Environ, start: StartResponse) -> list[bytes]:
        plain(start, "204 No Content")
        return []

    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.ask()
        assert (await client.head())[0] == 204
        client.ask()
        assert (await client.head())[0] == 204


# -- threads ---------------------------------------------------------------------------------------------------


class Crowd:
    """An application whose requests stay until they are let go, and how many were in it at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock, self.gate = threading.Lock(), threading.Event()
        self.full = Told()

    def __call__(self, environ: Environ, start: StartResponse) -> list[bytes]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == 3:
                self.full.set()
        assert self.gate.wait(PATIENCE)
        with self.lock:
            self.now -= 1
        plain(start)
        return [b"done"]


async def test_so_many_threads_and_no_more() -> None:
    from uvicorn.middleware.wsgi import WSGIMiddleware

    crowd = Crowd()
    async with serving(WSGIMiddleware(crowd, workers=3)) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server)) for _ in range(8)]
        for client in clients:
            client.ask()
        await crowd.full.wait()
        while server.server_state.in_flight < 8:  # all are there, and five wait
            await asyncio.sleep(0)
        crowd.gate.set()
        assert [(await client.answer()).body for client in clients] == [b"done"] * 8
    assert crowd.most == 3


async def test_a_drain_finishes_what_is_in_a_thread() -> None:
    crowd = Crowd()
    server = make_server(crowd, interface="wsgi")
    task = asyncio.create_task(server.serve())
    await asyncio.wait_for(server.startup_over.wait(), PATIENCE)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server)) for _ in range(3)]
        for client in clients:
            client.ask()
        await crowd.full.wait()
        server.should_exit = True
        while not server.server_state.draining:
            await asyncio.sleep(0)
        crowd.gate.set()
        for client in clients:
            answer = await client.answer()
            assert (answer.body, answer.headers["connection"]) == (b"done", "close")
    await asyncio.wait_for(task, PATIENCE)


# -- how it is asked for ---------------------------------------------------------------------------------------


async def test_the_start_says_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    async with serving(told("PATH_INFO"), interface="wsgi") as server, connect(server) as client:
        assert (await client.get("/x")).body == b"PATH_INFO=/x"
    assert "Interface wsgi, 10 threads." in caplog.text


async def test_an_upgrade_is_a_request_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    handshake = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
    )
    async with serving(told("PATH_INFO"), interface="wsgi") as server, connect(server) as client:
        assert (await client.get("/x", *handshake)).status == 200
    assert "upgrade" not in caplog.text.lower()


def test_the_middlewares_signature_is_the_contracts() -> None:
    from uvicorn.middleware.wsgi import WSGIMiddleware

    parameters = inspect.signature(WSGIMiddleware).parameters
    assert [*parameters] == ["app", "workers"] and parameters["workers"].default == 10


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from uvicorn.middleware.wsgi import WSGIMiddleware

    monkeypatch.setitem(sys.modules, "a2wsgi", None)
    with pytest.raises(ImportError, match=re.escape("pip install a2wsgi")):
        WSGIMiddleware(told())
    config = Config(told(), interface="wsgi", log_config=None)
    with config.raising(), pytest.raises(StartupError, match=re.escape("pip install a2wsgi")):
        config.load()


class Callable2:
    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        raise NotImplementedError


class Single:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class Double:
    def __init__(self, scope: Scope) -> None:
        raise NotImplementedError


async def two(scope: Scope, receive: Receive) -> None:
    raise NotImplementedError


def anything(*arguments: object) -> None:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("app", "wanted"),
    [(told(), True), (Callable2(), True), (Single(), False), (Double, False), (two, False), (anything, False)],
)
def test_what_looks_like_wsgi(app: object, wanted: bool) -> None:
    assert is_wsgi(app) is wanted


def test_a_wsgi_application_without_the_option_is_told_to_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "wsgi_app.py").write_text("def app(environ, start_response): return []")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "wsgi_app", raising=False)
    with pytest.raises(SystemExit) as left:
        Config("wsgi_app:app", app_dir=str(tmp_path), log_config=None).load()
    assert left.value.code == 3
    assert "'wsgi_app:app' takes two arguments, like a WSGI application" in caplog.text
    assert "--interface wsgi" in caplog.text


# -- processes -------------------------------------------------------------------------------------------------

STUCK = """
import sys, time

def app(environ, start):
    if environ["PATH_INFO"] == "/stuck":
        print("stuck", flush=True)
        while True:
            time.sleep(0.1)
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_command(start_command: Start, tmp_path: Path, workers: int) -> None:
    (tmp_path / "app.py").write_text(STUCK)
    program = start_command("app:app", "--interface", "wsgi", "--port", "0", "--workers", str(workers))
    if workers > 1:
        program.serves(workers)
    async with connect(program.port) as client:
        for _ in range(12):
            assert (await client.get()).body == b"hello"
    assert program.end(signal.SIGTERM) == 0
    assert program.text.count("Interface wsgi, 10 threads.") == workers
    assert "Leaving without waiting" not in program.text


async def test_a_thread_that_never_ends_does_not_hold_a_stop_up(start_command: Start, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(STUCK)
    options = ("--interface", "wsgi", "--port", "0", "--timeout-graceful-shutdown", "1")
    program = start_command("app:app", *options)
    async with connect(program.listens()) as client:
        client.ask("/stuck")
        program.wait_for("stuck")
        assert program.end(signal.SIGTERM) == 0
    assert "Leaving without waiting for these threads: WSGI_0" in program.text


def test_the_command_without_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nothing.py").write_text("def app(environ, start_response): return []")
    monkeypatch.setitem(sys.modules, "a2wsgi", None)
    options = ["nothing:app", "--app-dir", str(tmp_path), "--interface", "wsgi", "--check-config"]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 3, result.output
