"""A served program and hostile peers: what its process weighs at most, the close code, and a neighbour that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

import websocket_wire as wire
from programs import Program, Start
from websocket_peers import Peer, peer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc says what a process weighs")

MEBIBYTE = 1 << 20
PROGRAM = """
import asyncio, sys
import uvicorn

gate = asyncio.Event()

async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/held":
        await gate.wait()
    if scope["path"] == "/open":
        gate.set()
    try:
        while scope["path"] == "/push":
            await send({"type": "websocket.send", "bytes": bytes(65536)})
        while (message := await receive())["type"] == "websocket.receive":
            if scope["path"] == "/echo":
                await send({**message, "type": "websocket.send"})
        print("heard", scope["path"], message["code"])
    except OSError:
        print("raised", scope["path"])

pings = {"ws_ping_interval": 0.5, "ws_ping_timeout": 1.0} if "pings" in sys.argv else {}
uvicorn.run(app, port=0, ws=sys.argv[1], lifespan="off", timeout_graceful_shutdown=1, **pings)
"""


class Weighed:
    """The program, and by how much it grew."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.port = program.listens()
        self._folder = Path(f"/proc/{program.process.pid}")
        self._before = 0

    def begin(self) -> None:
        (self._folder / "clear_refs").write_text("5")  # the peak begins anew
        self._before = self._peak()

    def grown(self) -> int:
        """The most bytes there were since `begin`, above those that there were then.

        None on PyPy, which keeps what is freed until its collector comes by, and the code that it compiles meanwhile.
        """
        return self._peak() - self._before if sys.implementation.name == "cpython" else 0

    def _peak(self) -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", (self._folder / "status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    async def says(self, words: str) -> None:
        await asyncio.to_thread(self.program.wait_for, words)


class Weigh(Protocol):
    """Starts the program, with further arguments."""

    def __call__(self, *words: str) -> Weighed: ...


@pytest.fixture
def weigh(start_program: Start, ws: str) -> Weigh:
    return lambda *words: Weighed(start_program(PROGRAM, ws, *words))


class Neighbour:
    """Somebody who came before, sends one message after the other, and answers pings."""

    def __init__(self, client: Peer) -> None:
        self._client = client
        self._rounds = 0
        self._round = asyncio.Event()

    async def talk(self) -> None:
        while True:
            said = f"round {self._rounds}"
            self._client.text(said)
            while (got := await self._client.frame()).opcode == wire.PING:
                self._client.send(wire.frame(wire.PONG, got.payload))
            assert (got.opcode, got.payload) == (wire.TEXT, said.encode())
            self._rounds += 1
            self._round.set()

    async def goes_on(self, talking: asyncio.Task[None], more: int) -> None:
        """So many more messages are echoed."""
        wanted = self._rounds + more
        while self._rounds < wanted:
            self._round.clear()
            told = asyncio.ensure_future(self._round.wait())
            await asyncio.wait({told, talking}, return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                told.cancel()
                talking.result()


@contextlib.asynccontextmanager
async def beside(server: Weighed) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """`async with beside(server) as goes_on:`, and `await goes_on(100)` for so many more rounds of a neighbour."""
    async with peer(server) as client:
        assert await client.shake_hands("/echo") == 101
        one = Neighbour(client)
        talking = asyncio.create_task(one.talk())
        try:
            await one.goes_on(talking, 1)
            yield lambda more: one.goes_on(talking, more)
            await one.goes_on(talking, 10)
        finally:
            talking.cancel()
            await asyncio.wait({talking})


def bomb() -> bytes:
    """A gigabyte of nothing, deflated."""
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(bytes(16 * MEBIBYTE)) + compressor.flush(zlib.Z_FULL_FLUSH)) * 64


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


@pytest.mark.parametrize("fragment", [2 * MEBIBYTE, 1000], ids=["whole", "fragments"])
async def test_a_bomb_of_a_gigabyte(weigh: Weigh, fragment: int) -> None:
    packed = bomb()
    parts = [packed[at : at + fragment] for at in range(0, len(packed), fragment)]
    frames = [wire.frame(wire.BINARY, parts[0], rsv=4, fin=len(parts) == 1)]
    frames += [wire.frame(wire.CONT, part, fin=False) for part in parts[1:]]
    server = weigh()
    async with beside(server), peer(server) as client:
        await client.shake_hands("/echo", DEFLATE)
        server.begin()
        client.send(b"".join(frames))
        assert (await client.frame()).code == 1009
        await server.says("heard /echo 1009")
        assert server.grown() < 96 * MEBIBYTE  # ws_max_size is 16, and zlib's parts are joined


async def test_a_message_that_goes_on_behind_its_end(weigh: Weigh) -> None:
    """Its last deflated block has come, its last fragment has not, and nothing that follows adds to it."""
    more = wire.frame(wire.CONT, bytes(65536), fin=False)
    server = weigh()
    async with beside(server), peer(server) as client:
        await client.shake_hands("/echo", DEFLATE)
        server.begin()
        client.send(wire.frame(wire.TEXT, wire.deflated(b"Hello", flush=zlib.Z_FINISH), rsv=4, fin=False))
        for _ in range(512):
            client.send(more)
            await client.writer.drain()
        client.send(wire.frame(wire.CONT))
        answer = await client.frame()
        assert answer.opcode == wire.TEXT
        assert zlib.decompressobj(wbits=-12).decompress(answer.payload) == b"Hello"
        assert server.grown() < 16 * MEBIBYTE


async def test_a_message_of_small_fragments(weigh: Weigh) -> None:
    """An object for each of them would weigh 25 times as much as its bytes."""
    more = wire.frame(wire.CONT, b"ab", fin=False) * 10_000
    server = weigh()
    async with beside(server), peer(server) as client:
        await client.shake_hands("/echo")
        server.begin()
        client.send(wire.frame(wire.BINARY, b"", fin=False))
        for _ in range(20):
            client.send(more)
            await client.writer.drain()
        client.send(wire.frame(wire.CONT))
        assert await client.message() == b"ab" * 200_000
        assert server.grown() < 5 * MEBIBYTE


async def test_floods_that_nobody_takes(weigh: Weigh) -> None:
    """The application does not ask: what eight clients send without end stays with them."""
    many = wire.frame(wire.BINARY, bytes(1000)) * 32_000
    server = weigh()
    async with beside(server) as goes_on, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(peer(server)) for _ in range(8)]
        for client in clients:
            await client.shake_hands("/held")
        server.begin()
        sending = []
        for client in clients:
            client.send(many)
            sending.append(asyncio.create_task(client.writer.drain()))
        await goes_on(500)
        assert not [task for task in sending if task.done()]
        assert server.grown() < 8 * MEBIBYTE
        for client, task in zip(clients, sending, strict=True):
            client.transport.abort()
            await asyncio.wait({task})
            task.exception()
        async with peer(server) as opener:
            await opener.shake_hands("/open")
            for _ in clients:
                await server.says("heard /held 1006")
        assert server.grown() < 8 * MEBIBYTE


async def test_readers_that_take_nothing(weigh: Weigh) -> None:
    """They answer no ping either, so that they are ended, and are told so when they read at last."""
    server = weigh("pings")
    async with beside(server) as goes_on, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(peer(server, 65536)) for _ in range(20)]
        server.begin()
        for client in clients:
            await client.shake_hands("/push")
            client.transport.pause_reading()
        await goes_on(100)
        for _ in clients:
            await server.says("raised /push")
        assert server.grown() < 8 * MEBIBYTE
        for client in clients:
            client.transport.resume_reading()
            while (got := await client.frame()).opcode != wire.CLOSE:
                assert got.opcode in (wire.BINARY, wire.PING)
            assert got.code == 1011


async def test_peers_that_answer_no_ping(weigh: Weigh) -> None:
    server = weigh("pings")
    async with beside(server) as goes_on, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(peer(server)) for _ in range(50)]
        for client in clients:
            await client.shake_hands("/echo")
        await goes_on(10)
        for client in clients:
            assert (await client.frame()).opcode == wire.PING
            assert (await client.frame()).code == 1011
            assert await client.ended() == b""
            await server.says("heard /echo 1011")
