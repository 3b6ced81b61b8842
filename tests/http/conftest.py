"""What the HTTP tests share: the codecs, a reader driven as a connection drives it, and a peer on a fake transport."""

from __future__ import annotations

import asyncio
import re
import runpy
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from uvicorn.config import Config
from uvicorn.errors import BadRequest
from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.http.request import Request
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.codec_h11 import H11Codec
from uvicorn.worker.http1.h11_connection import H11Protocol
from uvicorn.worker.http1.reader import Part, RequestReader, SharedParser
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.websockets.upgrade import upgrade

CODECS: dict[str, Any] = {"h11": H11Codec}
CONNECTIONS: dict[str, Any] = {"h11": H11Protocol}

try:
    from uvicorn.worker.http1.codec_httptools import HttptoolsCodec
    from uvicorn.worker.http1.httptools_connection import HttpToolsProtocol
except ImportError:  # the extra is not installed
    pass
else:
    CODECS["httptools"] = HttptoolsCodec
    CONNECTIONS["httptools"] = HttpToolsProtocol


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = runpy.run_path(str(Path(__file__).with_name("corpus.py")))["CASES"]
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])


# -- readers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def codecs() -> dict[str, Any]:
    """All codecs by name."""
    return CODECS


@pytest.fixture(params=sorted(CODECS))
def codec_class(request: pytest.FixtureRequest) -> Any:
    return CODECS[request.param]


Call = tuple[Any, ...]


class Thorough(RequestReader):
    """Has a codec parse every head, the usual ones and those that were seen before as well."""

    def _usual(self, data: bytes) -> RequestHead | None:
        return None


def _calls(
    codec_class: Any,
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
                    if reader.part is not Part.HEAD:
                        break
                    calls.append(("body", body))
        except BadRequest as exc:
            calls.append(("refused", exc.status))
            break
    return calls


@pytest.fixture(scope="session")
def calls() -> Callable[..., list[Call]]:
    return _calls


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


def _parse_responses(data: bytes, methods: Iterable[str] = ()) -> list[Response]:
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

    def __init__(self, connection_class: Any, app: Any, state: ServerState | None = None, **settings: Any) -> None:
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

    async def until(self, ready: Callable[[], Any]) -> None:
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
        return _parse_responses(self.transport.output, methods)

    async def answered(self, *methods: str, count: int = 1) -> list[Response]:
        """Wait until `count` responses with an own end are there."""
        await self.until(lambda: self._count(methods) >= count)
        return self.responses(*methods)

    def _count(self, methods: tuple[str, ...]) -> int:
        try:
            return len(self.responses(*methods))
        except (AssertionError, ValueError):
            return -1


MakePeer = Callable[..., Peer]


@pytest.fixture(params=sorted(CONNECTIONS))
def connection_class(request: pytest.FixtureRequest) -> Any:
    return CONNECTIONS[request.param]


@pytest.fixture
def make_peer(connection_class: Any) -> MakePeer:
    """make_peer(app, **settings) → a Peer, connected. Inside a running loop only."""

    def make(app: Any, **settings: Any) -> Peer:
        return Peer(connection_class, app, **settings)

    return make


@pytest.fixture(scope="session")
def parse_responses() -> Callable[..., list[Response]]:
    return _parse_responses


# -- applications ----------------------------------------------------------------------------------------------

App = Callable[..., Awaitable[None]]


def _respond(body: bytes = b"ok", status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> App:
    """An application that answers at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.fixture(scope="session")
def respond() -> Callable[..., App]:
    return _respond


class Recorder:
    """An application that reads the whole body, keeps (scope, body), and echoes the body."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Any], bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
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


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
