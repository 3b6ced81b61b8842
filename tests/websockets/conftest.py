"""Shared by the WebSocket tests: every codec of frames, every codec of heads, and a client that sees each byte."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import runpy
import socket
import types
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

wire = types.SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("wire.py"))))

CODECS = ("websockets", "wsproto")
PARSERS = ("httptools", "h11")


@pytest.fixture(scope="session", name="wire")
def wire_forms() -> Any:
    """The functions of `wire.py`."""
    return wire


@pytest.fixture(params=CODECS)
def ws(request: pytest.FixtureRequest) -> str:
    """A test that asks for this runs once over every library of frames that is installed."""
    pytest.importorskip(request.param)
    name: str = request.param
    return name


@pytest.fixture(params=PARSERS)
def http(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    name: str = request.param
    return name


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

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def text(self, text: str) -> None:
        self.send(wire.frame(wire.TEXT, text.encode()))

    async def shake_hands(self, path: str = "/", *lines: str) -> int:
        self.send(wire.handshake(path, *lines))
        return await self.answer()

    async def answer(self) -> int:
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
async def _peer(server: Any, receive_buffer: int = 0) -> AsyncIterator[Peer]:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass  # the server was first


@pytest.fixture(scope="session")
def peer() -> Callable[..., contextlib.AbstractAsyncContextManager[Peer]]:
    """`async with peer(server) as client:`"""
    return _peer


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What `uvicorn.error` said so far, from INFO on."""
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]


@pytest.fixture
def codec_class(ws: str) -> Any:
    return importlib.import_module(f"uvicorn.worker.websockets.codec_{ws}").Codec
