"""Protocols that no server serves: driven by hand over stand-ins, behind a server of a program's own, given a transport
by somebody else's connection. Other people's test suites and programs do each of these.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Protocol, cast

import pytest

from applications import App, Message, Receive, Scope, Send
from clients import connect
from servers import LoopFactory, serving
from uvicorn.config import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol
from uvicorn.server import ServerState
from uvicorn.worker.http1.connection import Connection
from uvicorn.worker.http1.h11_connection import H11Protocol
from uvicorn.worker.websockets.protocol import SessionProtocol

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef") + b"\r\n\r\n"
)


def masked(first: int, payload: bytes) -> bytes:
    return bytes((first, 0x80 | len(payload))) + b"\0\0\0\0" + payload


class Timer:
    def __init__(self, loop: StandIn, delay: float, callback: Callable[..., object]) -> None:
        self.loop, self.delay, self.callback = loop, delay, callback

    def cancel(self) -> None:
        self.loop.timers.remove(self)


class StandIn:
    """A loop with as many methods as a test needs: coroutines are run by hand, and so are timers."""

    def __init__(self) -> None:
        self.coroutines: list[Coroutine[object, object, object]] = []
        self.timers: list[Timer] = []

    def create_task(self, coroutine: Coroutine[object, object, object]) -> object:
        self.coroutines.append(coroutine)
        return object()

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> Timer:
        self.timers.append(Timer(self, delay, callback))
        return self.timers[-1]


class Pipe:
    """A transport with as many methods as a test needs."""

    def __init__(self) -> None:
        self.output = b""
        self.closed = self.paused = False

    def get_extra_info(self, name: str) -> object:
        return {"sockname": ("192.0.2.2", 80), "peername": ("192.0.2.1", 1234)}.get(name)

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.output += data

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    if scope["path"] == "/fails":
        raise ValueError("of the application's")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(params=["h11", "httptools"])
def made(request: pytest.FixtureRequest) -> type[Connection]:
    if request.param == "h11":
        return H11Protocol
    pytest.importorskip("httptools")
    from uvicorn.worker.http1.httptools_connection import HttpToolsProtocol

    return HttpToolsProtocol


def driven(made: type[Connection], application: App | str = app, **settings: Any) -> Any:
    """One over stand-ins, with the stand-ins' attributes."""
    config = Config(application, log_config=None, lifespan="off", **settings)
    loop: Any = StandIn()
    pipe: Any = Pipe()
    protocol = made(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    protocol.connection_made(pipe)
    return protocol


# -- by hand ---------------------------------------------------------------------------------------------------


async def test_settings_that_nobody_has_loaded_are_loaded(made: type[Connection]) -> None:
    protocol = driven(made, limit_request_line=20, root_path="/mount")
    assert protocol.config.loaded and type(protocol).__name__ == made.__name__ and issubclass(type(protocol), made)
    assert (protocol.client, protocol.server, protocol.scheme) == (("192.0.2.1", 1234), ("192.0.2.2", 80), "http")
    protocol.data_received(b"GET /" + b"a" * 20 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert protocol.transport.output.startswith(b"HTTP/1.1 414 ") and protocol.transport.closed


async def test_what_cannot_be_loaded_is_said() -> None:
    with pytest.raises(SystemExit) as raised:
        driven(H11Protocol, "no_such_module:app")
    assert raised.value.code == 3


async def test_coroutines_are_run_by_hand(made: type[Connection], caplog: pytest.LogCaptureFixture) -> None:
    protocol = driven(made)
    protocol.data_received(GET + GET)
    protocol.data_received(GET.replace(b"/ ", b"/fails "))
    for expected in (b"200 OK", b"200 OK", b"500 Internal"):
        assert protocol.transport.output == b""
        [coroutine] = protocol.loop.coroutines
        protocol.loop.coroutines.clear()
        await coroutine
        assert protocol.transport.output.startswith(b"HTTP/1.1 " + expected)
        protocol.transport._other.output = b""
    assert protocol.transport.closed and "of the application's" in caplog.text
    assert protocol.server_state.total_requests == 3 and not protocol.server_state.tasks


async def test_idleness_is_measured_by_the_stand_ins_clock(made: type[Connection]) -> None:
    protocol = driven(made, timeout_keep_alive=7)
    loop = protocol.loop
    for _ in range(2):
        assert protocol.timeout_keep_alive_task is None and not loop.timers
        protocol.data_received(GET)
        await loop.coroutines.pop()
        [timer] = loop.timers
        assert timer.delay == 7 and protocol.timeout_keep_alive_task is timer
        protocol.data_received(b"GET")
        assert not loop.timers
        protocol.data_received(GET[3:])
        await loop.coroutines.pop()
        protocol.connection_lost(None)
        assert not loop.timers
        protocol = driven(made, timeout_keep_alive=7)
        loop = protocol.loop
    protocol.data_received(GET)
    await loop.coroutines.pop()
    loop.timers[0].callback()
    assert protocol.transport.closed


async def test_a_large_body_pauses_a_stand_in(made: type[Connection]) -> None:
    protocol = driven(made)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100000)
    assert protocol.transport.paused
    await protocol.loop.coroutines.pop()
    assert not protocol.transport.paused and b"200 OK" in protocol.transport.output


# -- behind a server of a program's own ------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def own_server(
    made: type[Connection], application: App, **settings: Any
) -> AsyncIterator[tuple[ServerState, int]]:
    loop, state = asyncio.get_running_loop(), ServerState()
    config = Config(application, log_config=None, lifespan="off", **settings)
    server = await loop.create_server(lambda: made(config, state, {}), "127.0.0.1", 0)
    try:
        yield state, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await server.wait_closed()


async def test_it_has_a_pulse_of_its_own(loop_factory: LoopFactory, made: type[Connection]) -> None:
    async with own_server(made, app, timeout_keep_alive=0.2) as (state, port):
        for _ in range(2):
            async with connect(port) as client:
                assert (await client.get()).body == b"ok"
                assert state.pulse is not None
                assert await client.ended() == b""  # it was idle for too long
            while state.pulse is not None:  # ends with the last connection
                await asyncio.sleep(0.01)


# -- WebSockets ------------------------------------------------------------------------------------------------


class Socket:
    """An application: echoes, and notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.path = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path = scope["path"]
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message["text"] == "close":
                await send({"type": "websocket.close", "code": 3000})
            else:
                await send({"type": "websocket.send", "text": message["text"]})
        self.heard.append(message)


class Open(Protocol):
    """session(application, **settings) → one over a pipe, with nothing read yet, and with the pipe's attributes."""

    def __call__(self, application: App, **settings: Any) -> Any: ...


@pytest.fixture
def session() -> Iterator[Open]:
    pytest.importorskip("websockets")
    opened: list[SessionProtocol] = []

    def make(application: App, **settings: Any) -> SessionProtocol:
        assert AutoWebSocketsProtocol is not None
        config = Config(application, log_config=None, lifespan="off", **settings)
        protocol = AutoWebSocketsProtocol(config=config, server_state=ServerState(), app_state={})
        protocol.connection_made(Pipe())  # type: ignore[arg-type]  # as much of one as a test needs
        opened.append(protocol)
        return protocol

    yield make
    for protocol in opened:
        if protocol in protocol.server_state.connections:
            protocol.server_state.connections.discard(protocol)


async def until(ready: Callable[[], object]) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    assert ready()


async def test_a_session_reads_its_request_itself(session: Open) -> None:
    application = Socket()
    protocol = session(application, root_path="/mount")
    for byte in HANDSHAKE[:-1]:
        protocol.data_received(bytes([byte]))
    assert protocol.transport.output == b""
    protocol.data_received(HANDSHAKE[-1:] + masked(0x81, b"hi"))
    await until(lambda: protocol.transport.output.endswith(b"\x81\x02hi"))
    assert protocol.transport.output.startswith(b"HTTP/1.1 101 ") and application.path == "/mount/chat"
    assert protocol.client == ("192.0.2.1", 1234) and protocol.scheme == "http"
    protocol.data_received(masked(0x81, b"close"))
    await until(lambda: protocol.transport.output.endswith(b"\x0b\xb8"))
    assert protocol.close_timer is not None and not protocol.transport.closed
    protocol.data_received(masked(0x88, b"\x0b\xb8"))
    await until(lambda: protocol.transport.closed)
    assert protocol.close_timer is None
    protocol.connection_lost(None)
    assert not protocol.server_state.connections


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GET, b"426"),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 12"), b"426"),
        (HANDSHAKE.replace(b"GET", b"POST"), b"400"),
        (b"no request\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_handshake_is_answered(session: Open, data: bytes, status: bytes) -> None:
    application = Socket()
    protocol = session(application)
    protocol.data_received(data)
    assert protocol.transport.output.startswith(b"HTTP/1.1 " + status) and protocol.transport.closed
    protocol.connection_lost(None)
    assert application.path == ""


async def test_the_peers_answer_has_its_time(session: Open) -> None:
    protocol = session(Socket())
    protocol.close_timeout = 0
    protocol.data_received(HANDSHAKE + masked(0x81, b"close"))
    await until(lambda: protocol.transport.closed)
    protocol.connection_lost(None)


@pytest.mark.parametrize("after", [b"", HANDSHAKE, HANDSHAKE + masked(0x81, b"close")])
async def test_it_can_be_shut_down_at_any_time(session: Open, after: bytes) -> None:
    protocol = session(Socket())
    protocol.data_received(after)
    for _ in range(10):
        await asyncio.sleep(0)
    protocol.shutdown()
    if after == HANDSHAKE:
        assert b"\x03\xf4" in protocol.transport.output  # 1012
        protocol.shutdown()
    assert protocol.transport.closed
    protocol.connection_lost(None)


class Foreign(asyncio.Protocol):
    """Somebody else's connection, which knows what to do with a WebSocket only."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        session = self.settings["config"].ws_protocol_class(**self.settings)
        session.connection_made(self.transport)
        cast(asyncio.Transport, self.transport).set_protocol(session)
        session.data_received(data)


async def test_a_foreign_connection_hands_its_transport_over(loop_factory: LoopFactory) -> None:
    pytest.importorskip("websockets")
    application = Socket()
    async with serving(application, http=Foreign, lifespan="off") as server, connect(server) as client:
        client.send(HANDSHAKE + masked(0x81, b"hi"))
        assert (await client.head())[0] == 101
        assert await client.reader.readexactly(4) == b"\x81\x02hi"
        [session] = server.server_state.connections
        assert type(session) is AutoWebSocketsProtocol  # a served one
        server.should_exit = True
        assert await client.reader.readexactly(4) == b"\x88\x02\x03\xf4"
    assert application.heard == [{"type": "websocket.disconnect", "code": 1012}]


# -- as objects ------------------------------------------------------------------------------------------------


async def test_a_protocol_is_an_object_like_others(made: type[Connection]) -> None:
    protocol = driven(made)
    same = weakref.ref(protocol)() is protocol
    assert same
    protocol.mine = 1
    assert (protocol.mine, protocol.scope, protocol.ws_protocol_class) == (1, None, protocol.config.ws_protocol_class)


async def test_what_is_set_on_it_counts(made: type[Connection], caplog: pytest.LogCaptureFixture) -> None:
    protocol = driven(made)
    seen: list[Scope] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await app(scope, receive, send)

    protocol.app, protocol.client, protocol.server = other, ("203.0.113.9", 9), ("a", 443)
    protocol.scheme, protocol.root_path, protocol.app_state = "https", "/é", {"state": 1}
    protocol.ws_protocol_class = None
    protocol.data_received(HANDSHAKE)
    assert protocol.scope["path"] == "/é/chat" and protocol.headers[0] == (b"host", b"a")
    await protocol.loop.coroutines.pop()
    [scope] = seen
    facts = [scope[name] for name in ("client", "server", "scheme", "root_path", "state", "type")]
    assert facts == [("203.0.113.9", 9), ("a", 443), "https", "/é", {"state": 1}, "http"]
    assert [record.getMessage()[:20] for record in caplog.records if record.levelno == logging.WARNING] == [
        "Unsupported upgrade ",
        "No supported WebSock",
    ]


def test_auto_is_one_of_them() -> None:
    assert AutoHTTPProtocol.__name__ in ("HttpToolsProtocol", "H11Protocol")
