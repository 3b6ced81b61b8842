"""Peers of HTTP/1.1 connections without a socket: a fake transport, its responses, a reader driven as a connection
drives it, and applications to be served.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from applications import App, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.errors import BadRequest
from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.http.request import Request
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.codec_h11 import H11Codec
from uvicorn.worker.http1.connection import Connection
from uvicorn.worker.http1.h11_connection import H11Protocol
from uvicorn.worker.http1.reader import Codec, Part, RequestReader, SharedParser
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.websockets.upgrade import upgrade

CodecClass = Callable[[], Codec]
ConnectionClass = type[Connection]

CODECS: dict[str, CodecClass] = {"h11": H11Codec}
CONNECTIONS: dict[str, ConnectionClass] = {"h11": H11Protocol}

try:
    from uvicorn.worker.http1.codec_httptools import HttptoolsCodec
    from uvicorn.worker.http1.httptools_connection import HttpToolsProtocol
except ImportError:  # the extra is not installed
    pass
else:
    CODECS["httptools"] = HttptoolsCodec
    CONNECTIONS["httptools"] = HttpToolsProtocol


# -- readers ---------------------------------------------------------------------------------------------------


Call = tuple[Any, ...]


class Thorough(RequestReader):
    """Has a codec parse every head, the usual ones and those that were seen before as well."""

    def _without_codec(self, data: bytes) -> RequestHead | None:
        return None


def read_calls(
    codec_class: CodecClass,
    chunks: Iterable[bytes],
    limits: PeerLimits | None = None,
    thorough: bool = False,
    shared: SharedParser | None = None,
) -> list[Call]:
    """What a reader makes of these bytes: ("request", …), ("body", whole), ("refused", status).

    An unfinished body is left out: how much of it was told before a refusal depends on how the bytes were cut.
    `thorough`: a codec sees every head. `shared`: with other readers.
    """
    reader = (Thorough if thorough else RequestReader)(shared or SharedParser(codec_class(), limits))
    calls: list[Call] = []
    body = b""
    for data in chunks:
        reader.pending += data
        try:
            while reader.pending:
                if reader.part is Part.HEAD:
                    if thorough:
                        reader.forget()
                    request = reader.head()
                    if request is None:
                        break
                    told = {name: getattr(request, name) for name in (*Request.__slots__, *RequestHead.__slots__)}
                    calls.append(("request", told))
                    body = b""
                else:
                    body += reader.body()
                    part: Part = reader.part  # which `body` may have changed
                    if part is not Part.HEAD:
                        break
                    calls.append(("body", body))
        except BadRequest as exc:
            calls.append(("refused", exc.status))
            break
    return calls


# -- a peer ----------------------------------------------------------------------------------------------------


class FakeTransport(asyncio.Transport):
    """Keeps what was written, and says when something happened. Closing reaches the protocol a turn later."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self.loop = loop
        self.protocol = protocol
        self.writes: list[bytes] = []
        self.closed = self.aborted = self.half_closed = self.lost = False
        self.reading = True
        self.clogged = False
        self.changed = asyncio.Event()

    @property
    def output(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: Any) -> None:
        assert not self.half_closed, "write after write_eof"
        if not self.closed:
            self.writes.append(bytes(data))
            self.changed.set()
            if self.clogged:
                self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return 1 if self.clogged else 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is low is None

    def unclog(self) -> None:
        """The peer reads again."""
        self.clogged = False
        self.protocol.resume_writing()

    def writelines(self, parts: Iterable[Any]) -> None:
        self.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True
        self.changed.set()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.changed.set()
        if not self.closed:
            self.closed = True
            self.loop.call_soon(self.lose)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def lose(self, exc: Exception | None = None) -> None:
        """The connection is gone, as seen from here."""
        self.closed = True
        self.changed.set()
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(exc)

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False
        self.changed.set()

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True
        self.changed.set()

    def is_half_closed(self) -> bool:
        return self.half_closed

    def is_reading(self) -> bool:
        return self.reading


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    raw_headers: list[tuple[str, str]]


def _parse_head(data: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end, f"no whole head in {data!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", first)
    assert match, first
    fields = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    return int(match[1]), fields, rest


def _parse_chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, end, rest = data.partition(b"\r\n")
        assert end, f"no whole chunk size in {data[:40]!r}"
        count = int(size, 16)
        assert rest[count : count + 2] == b"\r\n", f"no CR LF after a chunk: {rest[:40]!r}"
        body, data = body + rest[:count], rest[count + 2 :]
        if not count:
            return body, data


def parse_responses(data: bytes, methods: Iterable[str] = ()) -> list[Response]:
    """Every response in `data`, which must hold whole ones only. `methods`: of the requests, GET where it ends."""
    responses = []
    wanted = iter(methods)
    while data:
        status, fields, data = _parse_head(data)
        headers = dict(fields)
        assert status == 100 or len(headers) == len(fields), f"a field twice: {fields}"
        method = "GET" if status < 200 else next(wanted, "GET")
        if method == "HEAD" or status < 200 or status in (204, 304):
            body = b""
        elif "transfer-encoding" in headers:
            assert headers["transfer-encoding"] == "chunked" and "content-length" not in headers
            body, data = _parse_chunks(data)
        elif "content-length" in headers:
            size = int(headers["content-length"])
            assert len(data) >= size, f"short body: {data!r}"
            body, data = data[:size], data[size:]
        else:
            assert headers["connection"] == "close"
            body, data = data, b""
        responses.append(Response(status, headers, body, fields))
    return responses


class Peer:
    """The other end of one connection: sends bytes, waits for what it provokes, reads responses."""

    def __init__(
        self, connection_class: ConnectionClass, app: App, state: ServerState | None = None, **settings: Any
    ) -> None:
        client, server = settings.pop("peername", ("192.0.2.1", 1234)), settings.pop("sockname", ("192.0.2.2", 80))
        lifespan_state = settings.pop("app_state", {})
        self.config = settings.pop("config", None) or Config(app, log_config=None, lifespan="off", **settings)
        if not self.config.loaded:
            self.config.load()
        self.state = state or ServerState()
        if state is None or state.admission is None:
            self.state.configure(self.config)
            self.state.upgrade = upgrade
        self.loop = asyncio.get_running_loop()
        self.connection = connection_class(self.config, self.state, lifespan_state)
        self.transport = FakeTransport(self.loop, self.connection, {"peername": client, "sockname": server})
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        assert self.transport.reading, "a real transport would not deliver while reading is paused"
        assert not self.transport.closed
        self.connection.data_received(data)

    def send_eof(self) -> None:
        if not self.connection.eof_received():
            self.transport.close()

    def drop(self, exc: Exception | None = None) -> None:
        """The connection is reset."""
        self.transport.lose(exc or ConnectionResetError())

    async def until(self, ready: Callable[[], object]) -> None:
        """Wait until `ready()`; it is asked again after whatever the transport sees, and for some turns after that."""
        while not ready():
            for _ in range(20):
                await asyncio.sleep(0)
                if ready():
                    return
            self.transport.changed.clear()
            await self.transport.changed.wait()

    async def turns(self, count: int = 20) -> None:
        """Let the loop run: for saying that something does NOT happen."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def closed(self) -> None:
        """Wait for the end; a client that sees the server's half closed closes the other one."""
        await self.until(lambda: self.transport.closed or self.transport.half_closed)
        if not self.transport.closed:
            self.send_eof()
        await self.until(lambda: self.transport.lost)

    async def output(self, text: bytes, count: int = 1) -> bytes:
        """Wait until `text` was written `count` times; everything that was written."""
        await self.until(lambda: self.transport.output.count(text) >= count)
        return self.transport.output

    def take(self) -> bytes:
        """What was written since the last call."""
        data = self.transport.output
        self.transport.writes.clear()
        return data

    def responses(self, *methods: str) -> list[Response]:
        """All responses so far; each must be whole."""
        return parse_responses(self.transport.output, methods)

    async def answered(self, *methods: str, count: int = 1) -> list[Response]:
        """Wait until `count` responses with an own end are there."""
        await self.until(lambda: self._count(methods) >= count)
        return self.responses(*methods)

    def _count(self, methods: tuple[str, ...]) -> int:
        try:
            return len(self.responses(*methods))
        except (AssertionError, ValueError):
            return -1


# -- applications ----------------------------------------------------------------------------------------------


class Recorder:
    """An application that reads the whole body, keeps (scope, body), and echoes the body."""

    def __init__(self) -> None:
        self.seen: list[tuple[Scope, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.seen.append((scope, body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def body(data: bytes = b"", more: bool = False) -> Message:
    """A part of a response."""
    return {"type": "http.response.body", "body": data, "more_body": more}


class Gate:
    """An application whose requests wait until the test opens them, by path."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.running = 0
        self.most = 0
        self.events: dict[str, asyncio.Event] = {}

    def event(self, path: str) -> asyncio.Event:
        return self.events.setdefault(path, asyncio.Event())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.started.append(path)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.event(path).wait()
        self.running -= 1
        await send(dict(START))
        await send(body(path.encode()))
