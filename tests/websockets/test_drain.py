"""Leaving: everybody is sent away with 1012, over a moment, and no message that was taken in is lost."""

from __future__ import annotations

import asyncio
import time

import pytest

import websocket_wire as wire
from applications import Receive, Scope, Send
from servers import serving
from uvicorn.worker.websockets import protocol
from websocket_peers import Peer, peer

ACCEPT = {"type": "websocket.accept"}


class Collector:
    """Notes every message, and how each session ended."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.codes: list[int] = []
        self.late: list[type[BaseException]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await send(ACCEPT)
        await self.go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            self.messages.append(message["text"])
            try:
                await send({"type": "websocket.send", "text": message["text"]})
            except OSError as exc:
                self.late.append(type(exc))
        self.codes.append(message["code"])


async def test_everybody_is_sent_away(ws: str) -> None:
    app = Collector()
    async with serving(app, ws=ws) as server, peer(server) as one, peer(server) as two:
        for client in (one, two):
            await client.shake_hands()
        server.should_exit = True
        for client in (one, two):
            assert (await client.frame()).code == 1012
            client.send(wire.close(1012))
            assert await client.ended() == b""
        await server.shutdown_over.wait()
    assert app.codes == [1012, 1012]


async def test_what_was_sent_before_is_delivered(ws: str) -> None:
    """The peer has not seen the close frame yet when it sends: its messages are heard, then the disconnect."""
    app = Collector()
    app.go.clear()
    async with serving(app, ws=ws, ws_max_queue=4) as server, peer(server) as client:
        await client.shake_hands()
        server.should_exit = True
        assert (await client.frame()).code == 1012
        for number in range(50):
            client.text(str(number))
        client.send(wire.close(1012))
        app.go.set()
        await server.shutdown_over.wait()
        assert await client.ended() == b""
    assert app.messages == [str(number) for number in range(50)]
    assert app.codes == [1012] and len(app.late) == 50


async def test_a_peer_that_does_not_answer_is_cut() -> None:
    app = Collector()
    async with serving(app, timeout_graceful_shutdown=1) as server, peer(server) as client:
        await client.shake_hands()
        server.should_exit = True
        assert (await client.frame()).code == 1012
        await server.shutdown_over.wait()
    assert app.codes in ([1012], [])


async def test_many_are_spread_over_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SPREAD_PACE", 20)
    app = Collector()
    moments = []

    async def wait(client: Peer) -> None:
        assert (await client.frame()).code == 1012
        moments.append(time.monotonic())
        client.writer.close()

    async with serving(app) as server:
        clients = []
        for _ in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            async with peer(server) as probe:
                clients.append(type(probe)(reader, writer))
            await clients[-1].shake_hands()
        server.should_exit = True
        await asyncio.gather(*[wait(client) for client in clients])
        await server.shutdown_over.wait()
    assert 0.5 < max(moments) - min(moments) < protocol.SPREAD_SECONDS + 1
    assert len({int(moment * 10) for moment in moments}) >= 5
    assert app.codes == [1012] * 30


async def test_near_the_deadline_nobody_waits_for_a_turn() -> None:
    app = Collector()
    async with serving(app) as server, peer(server) as client:
        await client.shake_hands()
        [session] = server.server_state.connections
        session._retire_at = time.monotonic() + 3600
        session.shutdown()
        session.disconnect()
        assert (await client.frame()).code == 1012


async def test_an_error_while_draining_is_no_1011() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send(ACCEPT)
            await receive()
            raise ConnectionError("a pool was closed")

    async with serving(app) as server, peer(server) as client:
        await client.shake_hands()
        server.server_state.draining = True
        client.text("x")
        assert (await client.frame()).code == 1012


async def test_a_handshake_that_waits_is_denied() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            while (await receive())["type"] != "websocket.disconnect":
                pass

    async with serving(app, timeout_graceful_shutdown=1) as server, peer(server) as client:
        task = asyncio.create_task(client.shake_hands())
        while server.server_state.in_flight < 1:
            await asyncio.sleep(0)
        server.should_exit = True
        assert await task == 503
