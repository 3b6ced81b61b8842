"""Real applications over real sockets, in every loop, with every codec."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from applications import App, Receive, Scope, Send, echo, responding
from clients import connect
from http_peers import Recorder
from servers import LoopFactory, serving

pytestmark = pytest.mark.usefixtures("loop_factory")

MEBIBYTE = b"0123456789abcdef" * 65536


@pytest.fixture(params=["h11", "httptools"])
def http(request: pytest.FixtureRequest) -> str:
    if request.param == "httptools":
        pytest.importorskip("httptools")
    return str(request.param)


async def test_get(http: str, loop_factory: LoopFactory) -> None:
    async with serving(responding(b"hello"), http=http) as server, connect(server) as client:
        answer = await client.get("/x?y")
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.headers["server"] == "uvicorn" and answer.headers["date"].endswith(" gmt")


@pytest.mark.parametrize("way", ["raises", "returns", "slow body", "stop"])
async def test_a_part_of_a_response_is_told_from_the_whole(
    http: str, loop_factory: LoopFactory, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing but the end of the connection says so: to an HTTP/1.0 client that is a reset."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if way == "raises":
            raise ValueError
        if way != "returns":
            await asyncio.Event().wait()

    settings: dict[str, Any] = {"lifespan": "off", "timeout_graceful_shutdown": 0, "timeout_request_body": 0.3}
    length = 5 if way == "slow body" else 0
    async with serving(app, http=http, **settings) as server, connect(server) as client:
        client.send(f"POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n".encode())
        assert (await client.reader.readuntil(b"part")).endswith(b"part")
        if way == "stop":
            server.should_exit = True
        with pytest.raises(ConnectionResetError):
            await client.ended()


async def test_a_stream_is_open_before_its_first_event(http: str, loop_factory: LoopFactory) -> None:
    """A client's `EventSource` is open, and a session of MCP goes on, once the head is there."""
    happens = asyncio.Event()

    async def events(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await happens.wait()
        await send({"type": "http.response.body", "body": b"data: 1\n\n"})

    async with serving(events, http=http) as server, connect(server) as client:
        client.ask()
        _, fields = await asyncio.wait_for(client.head(), 60)
        assert (fields["content-type"], fields["transfer-encoding"]) == ("text/event-stream", "chunked")
        happens.set()
        assert await client.chunk() == b"data: 1\n\n"


async def test_the_server_and_date_fields_can_be_left_out(http: str, loop_factory: LoopFactory) -> None:
    async with (
        serving(responding(b"ok"), http=http, server_header=False, date_header=False) as server,
        connect(server) as client,
    ):
        assert (await client.get()).headers == {"content-length": "2"}


async def test_addresses_in_the_scope(http: str, recorder: Recorder, loop_factory: LoopFactory) -> None:
    async with serving(recorder, http=http) as server, connect(server) as client:
        await client.get()
        scope = recorder.seen[0][0]
        assert scope["server"] == ("127.0.0.1", server.port)
        assert scope["client"] == client.writer.get_extra_info("sockname")


async def test_keep_alive(http: str, recorder: Recorder, loop_factory: LoopFactory) -> None:
    async with serving(recorder, http=http) as server, connect(server) as client:
        for _ in range(3):
            assert (await client.get()).status == 200
        assert len({scope["client"] for scope, _ in recorder.seen}) == 1
        await client.get("/", "Connection: close")
        assert await client.ended() == b""


async def test_a_mebibyte_comes_back(http: str, recorder: Recorder, loop_factory: LoopFactory) -> None:
    async with serving(recorder, http=http) as server, connect(server) as client:
        for _ in range(2):
            client.ask(method="POST", body=MEBIBYTE)
            assert (await client.answer()).body == MEBIBYTE


async def test_streaming_both_ways(http: str, loop_factory: LoopFactory) -> None:
    async with serving(echo, http=http) as server, connect(server) as client:
        client.ask("/", "Transfer-Encoding: chunked", method="POST")
        for word in (b"one", b"two", b"three"):
            client.send(b"%x\r\n%b\r\n" % (len(word), word))
            if word == b"one":
                assert (await client.head())[0] == 200
            assert await client.chunk() == word
        client.send(b"0\r\n\r\n")
        assert await client.chunk() == b""


async def test_a_mebibyte_streams_through_a_slow_reader(http: str, loop_factory: LoopFactory) -> None:
    """The client writes everything before it reads: both directions fill up and nobody gives in."""
    async with serving(echo, http=http) as server, connect(server) as client:
        client.ask("/", "Transfer-Encoding: chunked", method="POST")
        client.send(b"100000\r\n" + MEBIBYTE + b"\r\n0\r\n\r\n")
        assert (await client.answer()).body == MEBIBYTE


async def test_pipelined_requests(http: str, recorder: Recorder, loop_factory: LoopFactory) -> None:
    async with serving(recorder, http=http) as server, connect(server) as client:
        for number in range(50):
            client.ask(f"/{number}", method="POST", body=b"%d" % number)
        assert [(await client.answer()).body for _ in range(50)] == [b"%d" % number for number in range(50)]


async def test_what_an_application_does_to_its_scope_stays_there(http: str, loop_factory: LoopFactory) -> None:
    """The same head comes again, on this connection and on another: nothing of the first scope is in the others."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(repr({name: value for name, value in scope.items() if name != "client"}))
        scope["headers"].append((b"x-added", b"by the application"))
        scope["headers"][0] = (b"host", b"another")
        scope["extensions"]["mine"] = scope["state"]["mine"] = scope["asgi"]["mine"] = scope["mine"] = {}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async with serving(app, http=http, lifespan="off") as server:
        for _ in range(2):
            async with connect(server) as client:
                await client.get("/a")
                await client.get("/a")
    assert len(seen) == 4 and len(set(seen)) == 1


async def test_large_and_small_pipelined_answers_keep_their_order(http: str, loop_factory: LoopFactory) -> None:
    """All of them are ready in one turn of the loop; a large one is neither copied nor overtaken."""
    sizes = [10, 60_000, 20, 30_000, 400_000, 1, 70_000]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        size = int(scope["path"][1:])
        body = bytes([size % 251]) * size
        length = [(b"content-length", b"%d" % size)] if size % 20 else []
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body[: size // 2], "more_body": True})
        await send({"type": "http.response.body", "body": body[size // 2 :]})

    async with serving(app, http=http, lifespan="off") as server, connect(server) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % size for size in sizes))
        for size in sizes:
            answer = await client.answer()
            assert answer.body == bytes([size % 251]) * size


async def test_a_half_closed_client_reads_its_answer(http: str, recorder: Recorder, loop_factory: LoopFactory) -> None:
    async with serving(recorder, http=http) as server, connect(server) as client:
        client.ask(method="POST", body=b"last words")
        client.writer.write_eof()
        assert (await client.answer()).body == b"last words"
        assert await client.ended() == b""


async def test_a_refusal_reaches_a_client_that_is_still_sending(http: str, loop_factory: LoopFactory) -> None:
    async with serving(responding(b"ok"), http=http) as server, connect(server) as client:
        client.send(b"nonsense\r\n\r\n" + b"x" * 200000)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")


async def test_the_last_response_reaches_a_client_that_has_sent_more(http: str, loop_factory: LoopFactory) -> None:
    """Closing while bytes of the client are unread resets the connection, and takes what it has not read yet."""
    application = responding(MEBIBYTE, headers=[(b"connection", b"close")])
    async with serving(application, http=http) as server, connect(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 20000)
        answer = await client.answer()
        assert answer.body == MEBIBYTE
        assert await client.ended() == b""


async def test_an_endless_stream_ends_when_its_client_leaves(
    http: str, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0)

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(forever())

    starlette = Starlette(routes=[Route("/", endpoint)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await starlette(scope, receive, send)
        finally:
            if scope["type"] == "http":
                ended.set()

    async with serving(app, http=http) as server:
        async with connect(server) as client:
            client.ask()
            assert (await client.head())[0] == 200
            await client.chunk()
            client.writer.transport.abort()
        await ended.wait()
        while server.server_state.tasks:
            await asyncio.wait(set(server.server_state.tasks))
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def test_what_an_application_had_open_is_closed_when_its_client_leaves(
    http: str, loop_factory: LoopFactory, without_collector: None
) -> None:
    """A generator that is not exhausted ends with the last reference to it, not when the garbage collector comes by."""
    closed = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(events())

    async with serving(Starlette(routes=[Route("/", endpoint)]), http=http) as server:
        async with connect(server) as client:
            client.ask()
            assert (await client.head())[0] == 200
            await client.chunk()
            client.writer.transport.abort()
        await closed.wait()


@pytest.mark.parametrize("turns", [0, 1], ids=["at once", "after a turn"])
async def test_what_a_failed_application_held_is_let_go(
    turns: int, http: str, loop_factory: LoopFactory, without_collector: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", True)  # pytest keeps what is logged
    closed = asyncio.Event()

    class Open:
        def __del__(self) -> None:
            closed.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        held = Open()
        for _ in range(turns):
            await asyncio.sleep(0)
        raise RuntimeError(f"with {type(held).__name__}")

    async with serving(app, http=http, lifespan="off") as server, connect(server) as client:
        assert (await client.get()).status == 500
        await closed.wait()


async def test_receive_says_disconnect_when_the_client_leaves(http: str, loop_factory: LoopFactory) -> None:
    begun, heard = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        assert (await receive())["type"] == "http.disconnect"
        heard.set()

    async with serving(app, http=http, lifespan="off") as server:
        async with connect(server) as client:
            client.ask()
            await begun.wait()
        await heard.wait()


# -- kinds of applications -------------------------------------------------------------------------------------


class ClassStyle:
    """As the README of 2018 showed it."""

    def __init__(self, scope: Scope) -> None:
        assert scope["type"] == "http"
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        body = b"%b %b" % (self.scope["method"].encode(), self.scope["asgi"]["version"].encode())
        await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]})
        await send({"type": "http.response.body", "body": body})


def double_callable(scope: Scope) -> Callable[[Receive, Send], Awaitable[None]]:
    async def instance(receive: Receive, send: Send) -> None:
        await ClassStyle(scope)(receive, send)

    return instance


@pytest.mark.parametrize("app", [ClassStyle, double_callable])
async def test_asgi_2(http: str, app: App, loop_factory: LoopFactory) -> None:
    async with serving(app, http=http) as server, connect(server) as client:
        assert (await client.get()).body == b"GET 2.0"


async def test_fastapi(http: str, loop_factory: LoopFactory) -> None:
    app = pytest.importorskip("fastapi").FastAPI()

    @app.get("/items/{number}")  # type: ignore[untyped-decorator]  # FastAPI is not installed everywhere
    async def item(number: int, q: str = "") -> dict[str, int | str]:
        return {"number": number, "q": q}

    @app.post("/length")  # type: ignore[untyped-decorator]
    async def length(request: Request) -> int:  # FastAPI knows Starlette's class
        return len(await request.body())

    @app.get("/in-a-thread")  # type: ignore[untyped-decorator]
    def in_a_thread() -> str:
        return "done"

    async with serving(app, http=http) as server, connect(server) as client:
        assert (await client.get("/items/3?q=a%20b")).body == b'{"number":3,"q":"a b"}'
        assert (await client.get("/items/x")).status == 422
        assert (await client.get("/in-a-thread")).body == b'"done"'
        client.ask("/length", method="POST", body=MEBIBYTE)
        assert (await client.answer()).body == b"1048576"


async def test_starlette_with_middleware_and_lifespan_state(http: str, loop_factory: LoopFactory) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[dict[str, str]]:
        events.append("startup")
        yield {"db": "connected"}
        events.append("shutdown")

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.db)

    app = Starlette(routes=[Route("/", endpoint)], lifespan=lifespan)
    async with serving(app, http=http, lifespan="on") as server, connect(server) as client:
        assert (await client.get()).body == b"connected"
        assert events == ["startup"]
    assert events == ["startup", "shutdown"]


# -- lifespan --------------------------------------------------------------------------------------------------


async def test_a_startup_that_fails(http: str, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async with serving(app, http=http) as server:
        assert not server.started and server.servers == []
        assert str(server.failure) == "no database\nApplication startup failed. Exiting."
        assert server.exit_code == 3
    assert "no database" in caplog.text


async def test_a_startup_that_raises(http: str, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("in startup")

    async with serving(app, http=http, lifespan="on") as server:
        assert not server.started and server.exit_code == 3
    assert "ZeroDivisionError: in startup" in caplog.text
    assert caplog.text.count("Traceback") == 1
    assert caplog.text.count("Application startup failed. Exiting.") == 1


async def test_auto_serves_an_application_that_knows_no_lifespan(
    http: str, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serving(echo, http=http, lifespan="auto") as server, connect(server) as client:
        assert (await client.get()).status == 200
    assert "ASGI 'lifespan' protocol appears unsupported." in caplog.text
    assert "AssertionError" not in caplog.text


async def test_lifespan_off_asks_nothing(http: str, recorder: Recorder, loop_factory: LoopFactory) -> None:
    async with serving(recorder, http=http, lifespan="off") as server, connect(server) as client:
        await client.get()
    assert [scope["type"] for scope, _ in recorder.seen] == ["http"]


# -- the log ---------------------------------------------------------------------------------------------------


async def test_the_access_log(http: str, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(responding(b"ok", status=404), http=http, root_path="/r") as server, connect(server) as client:
        await client.get("/a%20b?c=d")
        host, port = client.writer.get_extra_info("sockname")
    (record,) = [record for record in caplog.records if record.name == "uvicorn.access"]
    assert record.args == (f"{host}:{port}", "GET", "/r/a%20b?c=d", "1.1", 404)
    assert record.getMessage() == f'{host}:{port} - "GET /r/a%20b?c=d HTTP/1.1" 404'


async def test_no_access_log(http: str, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(responding(b"ok"), http=http, access_log=False) as server, connect(server) as client:
        await client.get()
    assert [record for record in caplog.records if record.name == "uvicorn.access"] == []


async def test_the_lines_of_a_whole_run(http: str, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            await send({"type": f"lifespan.{phase}.complete"})

    async with serving(app, http=http) as server:
        port = server.port
    assert [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"] == [
        f"Started server process [{os.getpid()}]",
        "Waiting for application startup.",
        "Application startup complete.",
        f"Uvicorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)",
        "Shutting down",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        f"Finished server process [{os.getpid()}]",
    ]
