"""Slow readers, floods, bombs and dead peers: bounded memory, the right close code, neighbours unharmed."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

import pytest

import websocket_wire as wire
from applications import Receive, Scope, Send
from servers import WatchedServer, serving
from uvicorn.worker.websockets.protocol import SessionProtocol
from websocket_peers import Peer, peer

ACCEPT = {"type": "websocket.accept"}
MEBIBYTE = 1 << 20


class Memory(Protocol):
    """tracemalloc: the bytes that Python allocated since the test began, and the most there were."""

    def get_traced_memory(self) -> tuple[int, int]: ...

    def reset_peak(self) -> None: ...


@pytest.fixture
def memory() -> Iterator[Memory]:
    tracemalloc = pytest.importorskip("tracemalloc")  # PyPy has none
    tracemalloc.start()
    yield tracemalloc
    tracemalloc.stop()


class Held:
    """On /held it reads nothing until the gate opens, on /push it sends without end, elsewhere it echoes."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.taken = 0
        self.sent = 0
        self.code = 0
        self.over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await send(ACCEPT)
        if scope["path"] == "/push":
            await self.push(send)
            return
        while True:
            if scope["path"] == "/held":
                await self.gate.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                if scope["path"] != "/neighbour":
                    self.code = message["code"]
                    self.over.set()
                return
            self.taken += 1
            if scope["path"] in ("/echo", "/neighbour"):
                await send({"type": "websocket.send", "text": message["text"]})

    async def push(self, send: Send) -> None:
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(65536)})
                self.sent += 1
        except OSError:
            self.over.set()


async def neighbour(server: WatchedServer) -> None:
    async with peer(server) as client:
        assert await client.shake_hands("/neighbour") == 101
        client.text("hello")
        assert await client.message() == "hello"


def reset(client: Peer) -> None:
    """Leave, and have the kernel forget what it still holds."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a session stops reading."""
    event = asyncio.Event()
    pause = SessionProtocol._pause

    def noticed(self: SessionProtocol) -> None:
        pause(self)
        event.set()

    monkeypatch.setattr(SessionProtocol, "_pause", noticed)
    return event


async def flood(client: Peer, data: bytes, most: int, paused: asyncio.Event | None = None) -> int:
    """Send `most` bytes, or until the server reads no more and the kernel takes no more."""
    loop = asyncio.get_running_loop()
    client.transport.pause_reading()
    with client.writer.get_extra_info("socket").dup() as raw:  # the other descriptor is the transport's to watch
        raw.setblocking(False)
        stopped = None if paused is None else asyncio.create_task(paused.wait())
        writable = asyncio.Event()
        loop.add_writer(raw.fileno(), writable.set)
        try:
            sent, rest = 0, data
            while sent < most:
                writable.clear()
                try:
                    taken = raw.send(rest)  # perhaps not all of it: the next one goes on in the middle of a frame
                except BlockingIOError:
                    room = asyncio.create_task(writable.wait())
                    await asyncio.wait({room} if stopped is None else {room, stopped}, return_when="FIRST_COMPLETED")
                    if not room.done():
                        room.cancel()
                        return sent
                else:
                    sent, rest = sent + taken, rest[taken:] or data
            if stopped is not None:
                await stopped
        finally:
            loop.remove_writer(raw.fileno())
            if stopped is not None:
                stopped.cancel()
    return sent


@pytest.mark.parametrize(
    ("ws", "payload"),
    [("websockets", b""), ("websockets", b"y" * 5000), ("wsproto", b"x" * 100), ("wsproto", b"y" * 5000)],
    ids=["websockets-empty", "websockets", "wsproto-small", "wsproto"],
)
async def test_a_flood_that_nobody_reads(ws: str, payload: bytes, memory: Memory, paused: asyncio.Event) -> None:
    pytest.importorskip(ws)
    app = Held()
    async with serving(app, ws=ws, timeout_graceful_shutdown=0) as server, peer(server) as client:
        await client.shake_hands("/held")
        one = wire.frame(wire.TEXT, payload)
        many = one * (60_000 // len(one))
        before = memory.get_traced_memory()[0]
        await flood(
            client, many, (16 if len(one) > 1000 else 1) * MEBIBYTE, paused
        )  # who left is still heard to the end
        assert memory.get_traced_memory()[0] - before < 4 * MEBIBYTE
        assert app.taken == 0
        await neighbour(server)
        reset(client)
        app.gate.set()
        await app.over.wait()
        assert app.code == 1006 and app.taken >= 32


async def test_a_flood_of_pings_that_reads_no_pong(memory: Memory) -> None:
    app = Held()
    async with serving(app, timeout_graceful_shutdown=0) as server, peer(server, 4096) as client:
        await client.shake_hands("/held")
        before = memory.get_traced_memory()[0]
        await flood(client, wire.frame(wire.PING, bytes(125)) * 400, 6 * MEBIBYTE)  # far more than the kernel holds
        assert memory.get_traced_memory()[0] - before < 2 * MEBIBYTE
        await neighbour(server)
        reset(client)


async def test_a_reader_that_takes_nothing(ws: str, memory: Memory) -> None:
    app = Held()
    async with (
        serving(app, ws=ws, ws_ping_interval=0.2, ws_ping_timeout=0.2, timeout_graceful_shutdown=0) as server,
        peer(server) as client,
    ):
        await client.shake_hands("/push")
        client.transport.pause_reading()
        before = memory.get_traced_memory()[0]
        await neighbour(server)
        await app.over.wait()  # the missed pong ends it, and `send` raises
        assert memory.get_traced_memory()[0] - before < 2 * MEBIBYTE
        await neighbour(server)
        [session] = [one for one in server.server_state.connections if one.session.path() == "/push"]
        session.sweep(session.active_at + 10.1, 5.0)
        assert session.transport.is_closing()


async def test_a_reader_that_wakes_up_late_is_told_why(ws: str) -> None:
    app = Held()
    async with (
        serving(app, ws=ws, ws_ping_interval=0.2, ws_ping_timeout=0.2, timeout_graceful_shutdown=0) as server,
        peer(server) as client,
    ):
        await client.shake_hands("/push")
        client.transport.pause_reading()
        await app.over.wait()
        client.transport.resume_reading()
        while (got := await client.frame()).opcode != wire.CLOSE:
            assert got.opcode in (wire.BINARY, wire.PING)
        assert got.code == 1011
        assert await client.ended() == b""


async def test_who_sends_without_end_to_a_transport_that_closes_is_stopped() -> None:
    """It takes everything, and the loop hears of the loss in its next turn only: a `send` has to wait for that."""
    sent: list[int] = []
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send(ACCEPT)
            [session] = [one for one in server.server_state.connections if isinstance(one, SessionProtocol)]
            session.transport.abort()
            try:
                for number in range(10_000):
                    await send({"type": "websocket.send", "bytes": bytes(1024)})
                    sent.append(number)
            finally:
                over.set()

    async with serving(app) as server, peer(server) as client:
        await client.shake_hands()
        await over.wait()
    assert len(sent) < 100


async def test_a_bomb_of_a_gigabyte(ws: str, memory: Memory) -> None:
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(bytes(16 * MEBIBYTE)) + compressor.flush(zlib.Z_FULL_FLUSH)
    bomb = block * 64
    assert len(bomb) < 2 * MEBIBYTE
    app = Held()
    async with serving(app, ws=ws, ws_max_size=4 * MEBIBYTE) as server, peer(server) as client:
        await client.shake_hands("/echo", "Sec-WebSocket-Extensions: permessage-deflate")
        frame = wire.frame(wire.BINARY, bomb, rsv=4)
        memory.reset_peak()
        before = memory.get_traced_memory()[0]
        client.send(frame)
        assert (await client.frame()).code == 1009
        assert memory.get_traced_memory()[1] - before < 24 * MEBIBYTE
        await app.over.wait()
        assert app.code == 1009
        await neighbour(server)


async def test_idle_sockets_that_agreed_to_compress_are_small(ws: str, memory: Memory) -> None:
    async with serving(Held(), ws=ws, timeout_graceful_shutdown=0) as server:
        import contextlib

        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(peer(server)) for _ in range(100)]
            before = memory.get_traced_memory()[0]
            for client in clients:
                await client.shake_hands("/held", "Sec-WebSocket-Extensions: permessage-deflate")
            assert (memory.get_traced_memory()[0] - before) / 100 < 20_000
