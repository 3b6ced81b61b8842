"""Context variables of one client reach no other request and none of the server's callbacks: those run in its context.

Every action of the applications here sets a variable, and everything that the loop and the transports call is watched.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any, ParamSpec, Protocol, TypeVar

import pytest

from applications import Receive, Scope, Send
from certificates import Authority, Pair
from clients import connect
from servers import LoopFactory, WatchedServer, serving
from uvicorn.worker.http import call
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.connection import Connection
from uvicorn.worker.transport.outbox import Outbox
from uvicorn.worker.websockets.protocol import SessionProtocol

P = ParamSpec("P")
T = TypeVar("T")

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
LARGE = 300_000
CALLBACKS: dict[type | ModuleType, tuple[str, ...]] = {
    Connection: ("data_received", "eof_received", "connection_lost", "resume_writing", "_go_on"),
    ServerState: ("admit_next",),
    call: ("finish",),
    SessionProtocol: ("data_received", "eof_received", "connection_lost", "resume_writing"),
    Outbox: ("flush",),
}


class Watch:
    """`begun`: who each request found; `ran`: what the loop called, and as whom."""

    def __init__(self) -> None:
        self.begun: dict[str, str] = {}
        self.ran: set[tuple[str, str]] = set()
        self.gates: dict[str, asyncio.Event] = {}
        self.arrived: dict[str, asyncio.Event] = {}

    def gate(self, path: str) -> asyncio.Event:
        return self.gates.setdefault(path, asyncio.Event())

    def arrival(self, path: str) -> asyncio.Event:
        return self.arrived.setdefault(path, asyncio.Event())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.begun[path] = WHO.get()
        WHO.set(path)
        self.arrival(path).set()
        if scope["type"] == "websocket":
            await self.echo(path, receive, send)
            return
        if "gate" in path:
            await self.gate(path).wait()
        WHO.set(f"{path} reads")
        while (await receive())["more_body"]:
            WHO.set(f"{path} reads on")
            await asyncio.sleep(0)
        WHO.set(f"{path} answers")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(20 if "large" in path else 1):
            await send(
                {"type": "http.response.body", "body": b"x" * (LARGE if "large" in path else 1), "more_body": True}
            )
            WHO.set(f"{path} answers on")
        await send({"type": "http.response.body", "body": b""})

    async def echo(self, path: str, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            WHO.set(f"{path} echoes")
            await send({"type": "websocket.send", "text": message["text"]})
        WHO.set(f"{path} is over")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()

    def watched(name: str, plain: Callable[P, T]) -> Callable[P, T]:
        def call(*arguments: P.args, **named: P.kwargs) -> T:
            if asyncio.current_task() is None:  # else an application is below it
                watch.ran.add((name, WHO.get()))
            return plain(*arguments, **named)

        return call

    for owner, names in CALLBACKS.items():
        for name in names:
            monkeypatch.setattr(owner, name, watched(f"{owner.__name__.rpartition('.')[2]}.{name}", vars(owner)[name]))
    return watch


class Serve(Protocol):
    """serve(**settings): a server in a context of its own; at the end everybody has seen that context alone."""

    def __call__(self, **settings: Any) -> contextlib.AbstractAsyncContextManager[WatchedServer]: ...


@pytest.fixture(params=[False, True], ids=["", "reset"])
def serve(request: pytest.FixtureRequest, watch: Watch, loop_factory: LoopFactory) -> Serve:
    @contextlib.asynccontextmanager
    async def begin(**settings: Any) -> AsyncIterator[WatchedServer]:
        WHO.set("server")
        async with serving(watch, lifespan="off", reset_contextvars=request.param, **settings) as server:
            WHO.set("client")
            yield server
            state = server.server_state
        while state.connections:
            await asyncio.sleep(0)
        assert watch.begun and set(watch.begun.values()) == {"server"}
        assert watch.ran and {who for _, who in watch.ran} == {"server"}, watch.ran

    return begin


async def test_one_after_the_other(serve: Serve, watch: Watch) -> None:
    async with serve() as server, connect(server) as client:
        for path in ("/a", "/b", "/c"):
            assert (await client.get(path)).status == 200


async def test_uploads(serve: Serve, watch: Watch) -> None:
    """Reading pauses, and the application lets it go on."""
    async with serve() as server, connect(server) as client:
        for path in ("/a", "/b", "/c"):
            client.ask(path, method="POST", body=b"x" * LARGE)
            assert (await client.answer()).status == 200
            assert (await client.get(f"{path}/after")).status == 200
    assert len(watch.begun) == 6


async def test_pipelined(serve: Serve, watch: Watch) -> None:
    async with serve() as server, connect(server) as client:
        for number in range(40):
            client.ask(f"/{number}", method="POST", body=b"x" * (LARGE if number % 10 == 3 else 10))
        for _ in range(40):
            assert (await client.answer()).status == 200
    assert len(watch.begun) == 40


async def test_a_reader_that_is_slow(serve: Serve, watch: Watch) -> None:
    """Writing pauses; the transport calls back, and what is pipelined begins then."""
    async with serve() as server, connect(server) as client:
        client.ask("/large")
        client.ask("/large/next")
        client.ask("/after")
        await watch.arrival("/large").wait()
        for _ in range(3):
            assert (await client.answer()).status == 200
    assert ("Connection.resume_writing", "server") in watch.ran


async def test_a_place_in_the_queue(serve: Serve, watch: Watch) -> None:
    async with serve(limit_concurrency=1, limit_queue=10) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server)) for _ in range(3)]
        for number, client in enumerate(clients):
            client.ask(f"/{number}/gate", method="POST", body=b"x" * LARGE)
            if number == 0:
                await watch.arrival("/0/gate").wait()
        admission = server.server_state.admission
        assert admission is not None
        while len(admission.waiting) < 2:
            await asyncio.sleep(0)
        for number in range(3):
            watch.gate(f"/{number}/gate").set()
        for client in clients:
            assert (await client.answer()).status == 200
    assert ("ServerState.admit_next", "server") in watch.ran


async def test_a_client_that_leaves(serve: Serve, watch: Watch) -> None:
    async with serve() as server:
        async with connect(server) as client:
            client.ask("/gate", method="POST", body=b"x" * LARGE)
            await watch.arrival("/gate").wait()
        watch.gate("/gate").set()
        async with connect(server) as client:
            assert (await client.get("/after")).status == 200


HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
FRAME = b"\x81\x82\x00\x00\x00\x00hi"


@pytest.mark.parametrize("limit", [None, 1])
async def test_websockets(serve: Serve, watch: Watch, limit: int | None) -> None:
    pytest.importorskip("websockets")
    async with serve(limit_concurrency=limit) as server, connect(server) as client, connect(server) as other:
        client.ask("/ws", *HANDSHAKE)
        await client.head()
        for _ in range(3):
            client.send(FRAME * 40)
            assert await client.reader.readexactly(160) == b"\x81\x02hi" * 40
            assert (await other.get("/beside")).status == 200
    assert watch.begun.keys() == {"/ws", "/beside"}


async def test_many_at_the_same_time(serve: Serve, watch: Watch) -> None:
    """Answers of one turn leave together: in whose callback?"""
    async with serve() as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server)) for _ in range(8)]
        for turn in range(5):
            for number, client in enumerate(clients):
                client.ask(f"/{turn}/{number}", method="POST", body=b"x" * (LARGE if number == turn else 10))
            for client in clients:
                assert (await client.answer()).status == 200
    assert len(watch.begun) == 40


async def test_https(serve: Serve, watch: Watch, pair: Pair, authority: Authority) -> None:
    async with serve(**pair) as server, connect(server, authority.client()) as client:
        client.ask("/large", method="POST", body=b"x" * LARGE)
        client.ask("/after")
        for _ in range(2):
            assert (await client.answer()).status == 200
        sock = client.writer.get_extra_info("socket")
        assert sock.family == socket.AF_INET
