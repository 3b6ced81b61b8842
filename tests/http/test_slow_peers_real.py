"""Slow peers over real sockets, in every loop: each is ended in its time, also during a drain."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import cast

import pytest

from applications import Message, Receive, Scope, Send, responding
from clients import connect
from servers import LoopFactory, serving

pytestmark = pytest.mark.usefixtures("loop_factory")

HALF = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"


class Reader:
    """An application that reads the body to its end, and says when it began and how it ended."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            self.begun.set()
        assert message["type"] == "http.disconnect"
        self.ended.set()


class Endless:
    """An application that writes for as long as somebody reads."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        except OSError:
            self.ended.set()


async def test_a_body_that_stops(loop_factory: LoopFactory) -> None:
    app = Reader()
    async with serving(app, lifespan="off", timeout_request_body=0.3) as server, connect(server) as slow:
        slow.send(HALF)
        answer = await slow.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        await app.ended.wait()
        assert await slow.ended() == b""


async def test_a_head_that_stops(loop_factory: LoopFactory) -> None:
    server_of = serving(Reader(), lifespan="off", timeout_request_header=0.3)
    async with server_of as server, connect(server) as slow, connect(server) as silent:
        slow.send(b"GET / HT")
        assert (await slow.answer()).status == 408
        assert await silent.ended() == b"", "a peer that sent nothing gets nothing"


@pytest.mark.parametrize("tail", ["endless", "complete"])
async def test_a_reader_that_takes_nothing(loop_factory: LoopFactory, tail: str) -> None:
    """Whether the application still writes, or has left everything to the transport."""
    app = Endless() if tail == "endless" else responding(b"x" * (16 << 20))
    loop = asyncio.get_running_loop()
    async with serving(app, lifespan="off", timeout_write=0.7) as server:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await loop.sock_connect(slow, ("127.0.0.1", server.port))
            await loop.sock_sendall(slow, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await loop.sock_recv(slow, 1)  # it has begun
            while server.server_state.connections:
                await server._pulse.beat()
            if isinstance(app, Endless):
                await app.ended.wait()
            with pytest.raises(ConnectionResetError):  # nothing is left in the kernel's buffers for it
                while await loop.sock_recv(slow, 65536):
                    pass


@pytest.mark.parametrize("what", ["body", "reader"])
async def test_a_drain_does_not_wait_for_them_to_its_deadline(loop_factory: LoopFactory, what: str) -> None:
    """The deadline (25 s) is beyond the time that a test has."""
    app: Reader | Endless = Reader() if what == "body" else Endless()
    server_of = serving(app, lifespan="off", timeout_request_body=0.3, timeout_write=0.7)
    async with server_of as server, connect(server) as slow:
        slow.send(HALF if what == "body" else b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        if isinstance(app, Reader):
            await app.begun.wait()
        else:
            await slow.reader.readexactly(1)
            cast(asyncio.Transport, slow.writer.transport).pause_reading()  # uvloop's is none by inheritance
        server.should_exit = True
        await server.shutdown_over.wait()
        assert app.ended.is_set()


async def test_pipelined_large_answers_to_a_peer_that_does_not_read_stay_few(loop_factory: LoopFactory) -> None:
    """Each is larger than the transport's high-water mark: the next one is not begun."""
    loop = asyncio.get_running_loop()
    async with serving(responding(b"x" * (16 << 20)), lifespan="off", timeout_write=0.7) as server:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await loop.sock_connect(slow, ("127.0.0.1", server.port))
            await loop.sock_sendall(slow, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
            await loop.sock_recv(slow, 1)
            while server.server_state.connections:
                await server._pulse.beat()
        assert server.server_state.total_requests == 1


@pytest.mark.parametrize("size", [100, 10_000, 100_000])
@pytest.mark.parametrize("work", [0.0, 0.001])
async def test_a_stream_that_never_waits_ends_when_its_client_leaves(
    loop_factory: LoopFactory, size: int, work: float
) -> None:
    """The client takes everything until it goes, so `send` never waits, and the loop could not tell it of the end."""
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        end = time.monotonic() + 10
        try:
            while time.monotonic() < end:
                await send({"type": "http.response.body", "body": b"x" * size, "more_body": True})
                if work:
                    time.sleep(work)  # blocks the loop, as applications do
            outcome.append("went on")
        except OSError:
            outcome.append("ended")

    def client(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            for _ in range(20):
                sock.recv(4096)

    async with serving(app, lifespan="off") as server:
        await asyncio.to_thread(client, server.port)
        while not outcome:
            await server._pulse.beat()
    assert outcome == ["ended"]
