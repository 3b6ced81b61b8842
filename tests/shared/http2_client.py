"""An HTTP/2 client that sees each frame, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

import hpack

import http2 as h2
from clients import closing
from servers import WatchedServer

SECONDS = 60
"""What anything may take before a test fails."""


class Response(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    trailers: list[tuple[str, str]]


class Http2Client:
    """One connection. `frames` are all that have come; `responses` what they mean."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.frames: list[h2.Frame] = []
        self.heads: dict[int, list[list[tuple[str, str]]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.over = False
        self.answers = True
        """Whether SETTINGS and PING are answered."""
        self.credits = True
        """Whether windows are opened again for what has come."""
        self._decoder = hpack.Decoder()
        self._rest = b""
        self._block = b""
        self._next = 1

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def next_stream(self) -> int:
        number, self._next = self._next, self._next + 2
        return number

    def ask(self, *more: h2.Field, path: bytes = b"/", method: bytes = b"GET", body: bytes | None = None) -> int:
        """Begin a request, with all of its body; its stream."""
        number = self.next_stream()
        fields = h2.request_fields(*more, method=method, path=path)
        self.send(h2.headers(number, fields, h2.END_HEADERS | (h2.END_STREAM if body is None else 0)))
        if body is not None:
            parts = [body[at : at + 16384] for at in range(0, len(body), 16384)] or [b""]
            for part in parts[:-1]:
                self.send(h2.data(number, part))
            self.send(h2.data(number, parts[-1], h2.END_STREAM))
        return number

    async def response(self, stream: int) -> Response:
        """The whole response on a stream. Fails if it was reset, or the connection ended."""
        await self.until(lambda: stream in self.ended, f"the end of stream {stream}")
        heads = [head for head in self.heads[stream] if not dict(head).get(":status", "").startswith("1")]
        first, trailers = heads[0], heads[1] if len(heads) > 1 else []
        return Response(int(dict(first)[":status"]), first[1:], self.bodies.get(stream, b""), trailers)

    async def get(self, path: bytes = b"/", *more: h2.Field) -> Response:
        return await self.response(self.ask(*more, path=path))

    @property
    def resets(self) -> dict[int, int]:
        return {one.stream: one.number for one in self.frames if one.kind == h2.RST_STREAM}

    @property
    def goaways(self) -> list[tuple[int, int]]:
        return [one.goaway for one in self.frames if one.kind == h2.GOAWAY]

    async def until(self, holds: Callable[[], object], what: str = "") -> None:
        """Read until it holds. Fails when the server closes before."""

        async def read() -> None:
            while not holds():
                assert not self.over, f"the server closed before {what or 'that'}: {[str(one) for one in self.frames]}"
                await self._read()

        try:
            await asyncio.wait_for(read(), SECONDS)
        except asyncio.TimeoutError:
            raise AssertionError(f"no {what or 'such frame'}: {[str(one) for one in self.frames]}") from None

    async def until_closed(self) -> None:
        await asyncio.wait_for(self._read_all(), SECONDS)

    async def _read_all(self) -> None:
        while not self.over:
            await self._read()

    async def heard(self) -> None:
        """Until the server has read everything that was sent before: it answers a PING."""
        mark = b"%08d" % len(self.frames)
        self.send(h2.frame(h2.PING, 0, 0, mark))
        await self.until(
            lambda: any(one.kind == h2.PING and one.payload == mark for one in self.frames), "answer to PING"
        )

    async def _read(self) -> None:
        try:
            data = await self.reader.read(65536)
        except ConnectionError:
            data = b""
        self.over = not data
        found, self._rest = h2.frames_in(self._rest + data)
        for one in found:
            self.frames.append(one)
            self._take(one)

    def _take(self, one: h2.Frame) -> None:
        if one.kind in (h2.SETTINGS, h2.PING) and not (self.answers or one.flags & h2.ACK):
            pass
        elif one.kind == h2.SETTINGS and not one.flags & h2.ACK:
            self.send(h2.frame(h2.SETTINGS, h2.ACK))
        elif one.kind == h2.PING and not one.flags & h2.ACK:
            self.send(h2.frame(h2.PING, h2.ACK, 0, one.payload))
        elif one.kind in (h2.HEADERS, h2.CONTINUATION):
            self._block += one.payload
            if one.flags & h2.END_HEADERS:
                head = [(str(name), str(value)) for name, value in self._decoder.decode(self._block)]
                self.heads.setdefault(one.stream, []).append(head)
                self._block = b""
        elif one.kind == h2.DATA:
            self.bodies[one.stream] = self.bodies.get(one.stream, b"") + one.payload
            if self.credits and one.payload:
                self.send(h2.window_update(0, len(one.payload)), h2.window_update(one.stream, len(one.payload)))
        if one.kind in (h2.HEADERS, h2.DATA) and one.flags & h2.END_STREAM:
            self.ended.add(one.stream)


@contextlib.asynccontextmanager
async def connect_http2(
    server: WatchedServer,
    settings: Iterable[tuple[int, int]] = (),
    *,
    tls: ssl.SSLContext | None = None,
    preface: bytes | None = None,
) -> AsyncIterator[Http2Client]:
    """A connection that has begun: with `preface`, or with that of a client that behaves."""
    if tls is None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls, server_hostname="localhost")
    async with closing(writer):
        client = Http2Client(reader, writer)
        client.send(h2.hello(*settings) if preface is None else preface)
        yield client
