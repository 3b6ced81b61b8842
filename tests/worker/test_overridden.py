"""Protocol classes that programs make of ours: what they override is called, or they hear that it is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from applications import Message, Receive, Scope, Send
from clients import connect
from logged import Logged
from servers import LoopFactory, serving
from uvicorn.config import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.connection import Connection
from uvicorn.worker.websockets.protocol import SessionProtocol

Base: Any = AutoHTTPProtocol
WebSocket: Any = AutoWebSocketsProtocol or object


@pytest.fixture(params=["h11", "httptools"])
def base(request: pytest.FixtureRequest) -> Any:
    """Any: a type checker cannot know a base class that is chosen at run time."""
    pytest.importorskip(request.param)
    from uvicorn.importer import import_from_string

    name = {"h11": "h11_impl:H11Protocol", "httptools": "httptools_impl:HttpToolsProtocol"}[request.param]
    return import_from_string(f"uvicorn.protocols.http.{name}")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/fails":
        raise RuntimeError
    body = f"{scope.get('added', '')}{dict(scope['headers']).get(b'x', b'').decode()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def test_on_response_complete(loop_factory: LoopFactory, base: Any) -> None:
    told: list[str] = []

    class Mine(base):  # type: ignore[misc]
        def on_response_complete(self) -> None:
            told.append(self.scope["path"])
            super().on_response_complete()

    class Silent(base):  # type: ignore[misc]
        def on_response_complete(self) -> None:
            told.append(self.scope["path"])

    for made in (Mine, Silent):
        told.clear()
        async with serving(app, http=made, lifespan="off") as server, connect(server) as client:
            client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            client.ask("/2", method="POST", body=b"body")
            assert [(await client.answer()).status for _ in range(3)] == [200] * 3
            assert (await client.get("/fails")).status == 500
            assert await client.ended() == b""
        assert told == ["/1", "/1", "/2", "/fails"]


async def test_on_headers_complete(loop_factory: LoopFactory, base: Any) -> None:
    told: list[tuple[bytes, bytes, str]] = []

    class Mine(base):  # type: ignore[misc]
        def on_headers_complete(self) -> None:
            told.append((self.url, dict(self.headers)[b"host"], self.scope["path"]))
            self.headers.append((b"x", b" before"))
            super().on_headers_complete()
            self.scope["added"] = "after"

    class Twice(Mine):
        pass

    for made in (Mine, Twice):
        told.clear()
        async with serving(app, http=made, lifespan="off") as server, connect(server) as client:
            client.send(b"GET /1?q HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            client.ask("/2", method="POST", body=b"body")
            assert [(await client.answer()).body for _ in range(3)] == [b"after before"] * 3
        assert told == [(b"/1?q", b"a", "/1")] * 2 + [(b"/2", b"a", "/2")]


async def test_a_request_that_an_override_answers_itself(
    loop_factory: LoopFactory, base: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(base):  # type: ignore[misc]
        def on_headers_complete(self) -> None:
            if self.scope["path"] == "/own":
                self.transport.write(b"HTTP/1.1 418 I'm a teapot\r\ncontent-length: 0\r\n\r\n")
            elif self.scope["path"] == "/raises":
                raise LookupError("of the program's")
            else:
                super().on_headers_complete()

    async with serving(app, http=Mine, lifespan="off") as server:
        for path, status in (("/own", 418), ("/raises", 0)):
            async with connect(server) as client:
                assert (await client.get("/usual")).status == 200
                client.ask(path)
                assert not status or (await client.answer()).status == status
                assert await client.ended() == b""
        assert server.server_state.in_flight == 0
    assert "LookupError: of the program's" in caplog.text


async def test_a_request_that_waits_is_told_of_once(base: Any) -> None:
    """Above --limit-concurrency the application is called later; the override is not."""
    told, gate = [], asyncio.Event()

    class Mine(base):  # type: ignore[misc]
        def on_headers_complete(self) -> None:
            told.append(self.scope["path"])
            super().on_headers_complete()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await app(scope, receive, send)

    async with (
        serving(slow, http=Mine, lifespan="off", limit_concurrency=1) as server,
        connect(server) as one,
        connect(server) as two,
    ):
        one.ask("/1")
        while server.server_state.in_flight < 1:
            await asyncio.sleep(0.01)
        two.ask("/2")
        while len(told) < 2:
            await asyncio.sleep(0.01)
        gate.set()
        assert [(await client.answer()).status for client in (one, two)] == [200, 200]
    assert told == ["/1", "/2"]


async def test_send_400_response(base: Any) -> None:
    class Mine(base):  # type: ignore[misc]
        def send_400_response(self, msg: str) -> None:
            if "Host" in msg:
                super().send_400_response("Where to?")
            else:
                self.transport.write(b"HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno")
                self.transport.close()

    async with serving(app, http=Mine, lifespan="off") as server:
        for request, body in ((b"GET / HTTP/1.1\r\n\r\n", b"Where to?"), (b"GET /\r\n\r\n", b"no")):
            async with connect(server) as client:
                client.send(request)
                answer = await client.answer()
                assert (answer.status, answer.body) == (400, body)
                assert await client.ended() == b""


async def test_timeout_keep_alive_handler(loop_factory: LoopFactory, base: Any) -> None:
    told: list[bool] = []

    class Mine(base):  # type: ignore[misc]
        def timeout_keep_alive_handler(self) -> None:
            told.append(self.transport.is_closing())
            if len(told) == 2:
                super().timeout_keep_alive_handler()

    async with serving(app, http=Mine, lifespan="off", timeout_keep_alive=0.1) as server, connect(server) as client:
        await client.get()
        assert await client.ended() == b""
    assert told == [False, False]


async def test_what_is_replaced_on_the_class_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Mine(Base):  # type: ignore[misc]
        pass

    def instrumented(self: Connection) -> None:
        assert self.scope is not None
        told.append(self.scope["path"])
        original(self)

    original = Mine.on_response_complete
    monkeypatch.setattr(Mine, "on_response_complete", instrumented)
    async with serving(app, http=Mine, lifespan="off") as server, connect(server) as client:
        assert (await client.get("/told")).status == 200
    assert told == ["/told"]


def test_who_overrides_nothing_pays_nothing(base: Any) -> None:
    class Mine(base):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)

    for made in (base, Mine):
        for name in ("response_complete", "_serve", "_start", "_write_refusal"):
            assert getattr(made, name) is vars(Connection)[name]


# -- WebSockets ------------------------------------------------------------------------------------------------


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"] + str(scope["state"])})


@pytest.mark.parametrize("ws", ["websockets_impl:WebSocketProtocol", "wsproto_impl:WSProtocol"])
@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_a_subclass_for_websockets(loop_factory: LoopFactory, ws: str, http: str) -> None:
    """It is made as 0.54 makes it, and what it overrides of asyncio's and ASGI's methods is called."""
    pytest.importorskip(http)
    websockets = pytest.importorskip("websockets")
    pytest.importorskip("wsproto")
    from uvicorn.importer import import_from_string

    told: list[Any] = []
    parent: Any = import_from_string(f"uvicorn.protocols.websockets.{ws}")

    class Mine(parent):  # type: ignore[misc]
        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, object],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(config, server_state, app_state, _loop)
            self.mine = 1
            told.append(("made", _loop is asyncio.get_running_loop()))

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            told.append((self.client[0], self.transport is transport, self in self.connections))

        async def receive(self) -> Message:
            message: Message = await super().receive()
            told.append(message["type"])
            return message

        async def send(self, message: Message) -> None:
            told.append(message["type"])
            await super().send(message)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            told.append("lost")

    async with serving(echo, http=http, ws=Mine, lifespan="off") as server:
        async with websockets.connect(f"ws://127.0.0.1:{server.port}/") as client:
            await client.send("hi")
            assert await client.recv() == "hi{}"
        while "lost" not in told:
            await asyncio.sleep(0.01)
    assert told[:2] == [("made", True), ("127.0.0.1", True, True)]
    assert [one for one in told[2:] if one != "lost"] == [
        *("websocket.connect", "websocket.accept", "websocket.receive", "websocket.send", "websocket.disconnect")
    ]


# -- what is not called ----------------------------------------------------------------------------------------


def test_a_method_that_is_never_called_is_warned_of_once(logged: Logged) -> None:
    class Mixin:
        def on_body(self, body: bytes) -> None: ...

    class Mine(Mixin, Base):  # type: ignore[misc]
        def _should_upgrade(self) -> bool:
            return False

        def on_response_complete(self) -> None: ...

        def helper(self) -> None: ...

    class Socket(WebSocket):  # type: ignore[misc]
        async def run_asgi(self) -> None: ...

    for _ in range(2):
        Config(app, http=Mine, ws=Socket, log_config=None).load()
    here = "test_a_method_that_is_never_called_is_warned_of_once.<locals>"
    assert [one.partition(" is never called")[0].partition(f"{here}.")[2] for one in logged.lines()] == [
        "Mine._should_upgrade",
        "Mixin.on_body",
        *(["Socket.run_asgi"] if WebSocket is not object else []),
    ]
    assert "docs/moving.md" in logged.lines()[0]


def test_ours_and_those_of_others_are_no_matter(logged: Logged) -> None:
    class Foreign(asyncio.Protocol):
        def on_body(self, body: bytes) -> None: ...

    Config(app, log_config=None).load()
    Config(app, http=Foreign, log_config=None).load()
    assert logged.lines() == []


CALLED = """
connection_lost connection_made data_received eof_received pause_writing resume_writing shutdown receive send
on_headers_complete on_response_complete send_400_response timeout_keep_alive_handler
"""

THEIRS = """
_get_upgrade _should_upgrade _should_upgrade_to_ws _start_asgi_task _unset_keepalive_if_required
_unsupported_upgrade_warning connection_lost connection_made data_received eof_received handle_events
handle_websocket_upgrade on_body on_header on_headers_complete on_message_begin on_message_complete
on_response_complete on_url pause_writing resume_writing send_400_response shutdown timeout_keep_alive_handler
"""
"""The methods of 0.54's HttpToolsProtocol and H11Protocol, by `dir`."""

THEIRS_WS = """
asgi_receive asgi_send connection_lost connection_made data_received eof_received handle_bytes handle_close
handle_connect handle_cont handle_events handle_message handle_parser_exception handle_ping handle_pong handle_text
keepalive_timeout on_task_complete pause_writing process_request process_subprotocol receive resume_writing run_asgi
schedule_ping send send_500_response send_keepalive_ping send_receive_event_to_app shutdown start_keepalive
stop_keepalive ws_handler
"""
"""Those of WSProtocol, WebSocketsSansIOProtocol and WebSocketProtocol."""


@pytest.mark.parametrize(("made", "theirs"), [(Connection, THEIRS), (SessionProtocol, THEIRS_WS)])
def test_each_method_of_theirs_is_called_or_warned_of(
    made: type[Connection] | type[SessionProtocol], theirs: str
) -> None:
    called = set(CALLED.split())
    assert set(theirs.split()) == (set(theirs.split()) & called) | made.never_called
    assert not made.never_called & called
    assert [name for name in called & set(theirs.split()) if not hasattr(made, name)] == []
