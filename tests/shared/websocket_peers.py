"""A WebSocket client that sees each byte, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, cast

import websocket_wire as wire
from clients import closing


class Listening(Protocol):
    """A server of any kind."""

    @property
    def port(self) -> int: ...


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    first: int

    @property
    def code(self) -> int:
        assert self.opcode == wire.CLOSE, self
        return int.from_bytes(self.payload[:2], "big")


class Peer:
    """One connection of a WebSocket client that hides nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: list[tuple[str, str]] = []

    @property
    def transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self.writer.transport)  # uvloop's are not derived from that class

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def text(self, text: str) -> None:
        self.send(wire.frame(wire.TEXT, text.encode()))

    async def shake_hands(self, path: str = "/", *lines: str) -> int:
        """Send the handshake. The status of the answer."""
        self.send(wire.handshake(path, *lines))
        return await self.answer()

    async def answer(self) -> int:
        """The status of the answer to a handshake; `headers` has its fields."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        self.status = int(first.split()[1])
        self.headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        return self.status

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]

    async def frame(self) -> Frame:
        first, second = await self.reader.readexactly(2)
        assert second < 128, "a server does not mask"
        size = second
        if second == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif second == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return Frame(first & 0xF, await self.reader.readexactly(size), first)

    async def message(self) -> str | bytes:
        """The next text or binary message; pongs and pings in between are passed over."""
        while True:
            got = await self.frame()
            if got.opcode == wire.TEXT:
                return got.payload.decode()
            if got.opcode == wire.BINARY:
                return got.payload
            assert got.opcode in (wire.PING, wire.PONG), got

    async def ended(self) -> bytes:
        """Whatever is still to come before the server closes."""
        return await self.reader.read()


@contextlib.asynccontextmanager
async def peer(server: Listening, receive_buffer: int = 0) -> AsyncIterator[Peer]:
    """`async with peer(server) as client:`; `receive_buffer` is in bytes, 0 for the system's default."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=sock)
    async with closing(writer):
        yield Peer(reader, writer)
