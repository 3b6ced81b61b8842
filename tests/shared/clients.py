"""A plain HTTP/1.1 client in the test's event loop; tests choose and see every byte."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import NamedTuple

from servers import WatchedServer


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection of a plain HTTP/1.1 client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, path: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> None:
        length = [f"Content-Length: {len(body)}"] if body else []
        head = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: a", *length, *lines, "", ""))
        self.writer.write(head.encode() + body)

    async def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")[:-4].split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines)

    async def chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def answer(self) -> Answer:
        """The next whole response."""
        status, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while part := await self.chunk():
                body += part
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = await self.reader.read()
        return Answer(status, headers, body)

    async def get(self, path: str = "/", *lines: str) -> Answer:
        self.ask(path, *lines)
        return await self.answer()

    async def ended(self) -> bytes:
        """Everything that the server sends until it closes."""
        return await self.reader.read()


@contextlib.asynccontextmanager
async def connect(where: int | str | WatchedServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """`async with connect(server or port or path) as client:`; with `tls`, the server has to prove it is localhost."""
    if isinstance(where, WatchedServer):
        where = where.port
    if isinstance(where, str):
        reader, writer = await asyncio.open_unix_connection(where)
    elif tls is None:
        reader, writer = await asyncio.open_connection("127.0.0.1", where)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", where, ssl=tls, server_hostname="localhost")
    async with closing(writer):
        yield Client(reader, writer)


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close it in the end; the server may have closed first."""
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
