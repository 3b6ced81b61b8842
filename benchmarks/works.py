"""What a client of the drills does on one connection: requests of different kinds, one round after the other.

Owns: the bytes of a round, and when it is complete. A round that is answered by less than was asked for is short, also
where the server announced the end of the connection in its middle: whoever pipelines has sent those requests.
Must not: open a connection, or count. Fails by: the exceptions that `exchange.classify` has names for, and `Closed`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Awaitable, Callable

from benchmarks.exchange import Response, Short, Wrong, request_bytes

PIPELINED = 4
UPLOADED = 3
"""Chunks of an upload, and the pause between two of them in seconds."""
PAUSE = 0.005


class Closed(Exception):
    """The server said goodbye to a WebSocket by a close frame: no failure."""


class Round:
    """`pid` is who answered last on the connection, 0 while nobody has; `close` that it is to be used no more."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = b""
        self.pid = 0
        self.close = False
        self.opened = False

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        data, self.rest = self.rest, b""
        if not data:
            data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        if not data:
            raise Short
        return data

    async def response(self) -> Response:
        response = Response()
        while True:
            complete = response.feed(await self.receive())
            self.pid = response.pid or self.pid
            if complete:
                break
        self.rest = response.rest
        if response.status != 200:
            raise Wrong(response.status)
        self.close = self.close or response.close
        return response


async def ask(on: Round, path: str, *, close: bool) -> None:
    """One request, perhaps the last one of its connection."""
    await on.send(request_bytes(path, close=close))
    await on.response()
    on.close = on.close or close


async def get(on: Round) -> None:
    await ask(on, "/", close=False)


async def closing(on: Round) -> None:
    """A connection for each request."""
    await ask(on, "/", close=True)


async def stream(on: Round) -> None:
    """A response in chunks, over some time."""
    await ask(on, "/stream", close=False)


async def pipeline(on: Round) -> None:
    """Several requests at once; each is to be answered."""
    await on.send(request_bytes("/", close=False) * PIPELINED)
    for _ in range(PIPELINED):
        await on.response()


async def upload(on: Round) -> None:
    """A body in chunks, over some time."""
    await on.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(UPLOADED):
        await asyncio.sleep(PAUSE)
        await on.send(b"5\r\nhello\r\n")
    await on.send(b"0\r\n\r\n")
    await on.response()


async def websocket(on: Round) -> None:
    """One message and its answer; the handshake first."""
    if not on.opened:
        key = base64.b64encode(os.urandom(16)).decode()
        head = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        await on.send(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += await on.receive()
        status = int(data.split()[1])
        if status != 101:
            raise Wrong(status)
        on.opened = True
        on.rest = data.partition(b"\r\n\r\n")[2]
    await on.send(b"\x81\x85\0\0\0\0hello")
    first = 0
    while first != 0x81:  # what is no text is a ping; nobody stays so long that a pong is missed
        data = b""
        while len(data) < 2 or len(data) < 2 + data[1]:
            data += await on.receive()
        first, payload, on.rest = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
        if first == 0x88:
            raise Closed
    on.pid = int(payload)


Work = Callable[[Round], Awaitable[None]]

WORKS: dict[str, Work] = {one.__name__: one for one in (get, closing, stream, pipeline, upload, websocket)}
