"""WebSockets on streams of HTTP/2 (RFC 8441)."""

from __future__ import annotations

import asyncio
import logging

import pytest

import http2 as h2
from applications import Receive, Scope, Send
from http2_client import Http2Client, connect_http2
from servers import LoopFactory, serving
from uvicorn.process.drainmode import DrainMode

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x01\x02\x03\x04"


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A client's frame (RFC 6455, 5.2)."""
    size = len(payload)
    length = bytes([size | 128]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    return bytes([0x80 | kind]) + length + MASK + masked


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Those of a server, none of them large."""
    found = []
    while data:
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        found.append((data[0] & 15, data[at : at + size]))
        data = data[at + size :]
    return found


def opening(*more: h2.Field, path: bytes = b"/") -> list[h2.Field]:
    return [
        *h2.request_fields(method=b"CONNECT", path=path),
        (b":protocol", b"websocket"),
        (b"sec-websocket-version", b"13"),
        *more,
    ]


async def opened(client: Http2Client, *more: h2.Field) -> int:
    """A WebSocket that was accepted; its stream."""
    await client.until(lambda: client.frames)
    stream = client.next_stream()
    client.send(h2.headers(stream, opening(*more), h2.END_HEADERS))
    await client.until(lambda: stream in client.heads)
    assert client.heads[stream][0][0] == (":status", "200")
    return stream


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"http"})
        return
    assert scope["type"] == "websocket" and scope["http_version"] == "2" and scope["scheme"] == "ws"
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    scope["state"].setdefault("ends", []).append((message["code"], message.get("reason")))


@pytest.fixture(params=["websockets", "wsproto"])
def ws(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


async def test_messages_and_a_close(ws: str, loop_factory: LoopFactory) -> None:
    async with serving(echo, http2=True, ws=ws, lifespan="off") as server, connect_http2(server) as client:
        stream = await opened(client, (b"sec-websocket-protocol", b"chat, other"))
        assert dict(client.heads[stream][0])["sec-websocket-protocol"] == "chat"
        client.send(
            h2.data(stream, frame(TEXT, b"hello") + frame(PING, b"p")), h2.data(stream, frame(BINARY, b"b" * 300)[:50])
        )
        client.send(h2.data(stream, frame(BINARY, b"b" * 300)[50:]))
        assert (await client.get()).body == b"http"
        await client.until(lambda: len(frames(client.bodies.get(stream, b""))) == 3)
        assert sorted(frames(client.bodies[stream])) == [(TEXT, b"hello"), (BINARY, b"b" * 300), (PONG, b"p")]
        client.send(h2.data(stream, frame(CLOSE, b"\x03\xe8bye")))
        await client.until(lambda: stream in client.ended)
        assert frames(client.bodies[stream])[-1] == (CLOSE, b"\x03\xe8bye")
        assert not client.goaways


@pytest.mark.parametrize("end", ["END_STREAM", "RST_STREAM", "the connection"])
async def test_a_peer_that_leaves(end: str, loop_factory: LoopFactory) -> None:
    heard: list[int] = []
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        heard.append((await receive())["code"])
        done.set()

    async with serving(app, http2=True, lifespan="off") as server, connect_http2(server) as client:
        stream = await opened(client)
        if end == "END_STREAM":
            client.send(h2.data(stream, b"", h2.END_STREAM))
        elif end == "RST_STREAM":
            client.send(h2.rst_stream(stream))
        else:
            client.writer.close()
        await asyncio.wait_for(done.wait(), 60)
    assert heard == [1006]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([field for field in opening() if field[0] != b"sec-websocket-version"], 426),
        ([*opening(), (b"sec-websocket-protocol", b"a b")], 400),
    ],
)
async def test_what_is_refused(fields: list[h2.Field], status: int) -> None:
    async with serving(echo, http2=True, lifespan="off") as server, connect_http2(server) as client:
        client.send(h2.headers(1, fields, h2.END_HEADERS))
        assert (await client.response(1)).status == status
        await client.heard()


@pytest.mark.parametrize("how", ["close", "denial", "returns", "raises"])
async def test_an_application_that_does_not_accept(how: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if how == "close":
            await send({"type": "websocket.close"})
        elif how == "denial":
            await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]})
            await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
            await send({"type": "websocket.http.response.body", "body": b"you"})
        elif how == "raises":
            raise RuntimeError

    async with serving(app, http2=True, lifespan="off") as server, connect_http2(server) as client:
        client.send(h2.headers(1, opening(), h2.END_HEADERS))
        response = await client.response(1)
        expected = {"close": (403, b""), "denial": (401, b"not you")}.get(how, (500, b"Internal Server Error"))
        assert (response.status, response.body) == expected


async def test_a_slow_reader_holds_up_nobody_else(loop_factory: LoopFactory) -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await echo(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 10_000})
            sent.append(1)

    settings = [(h2.INITIAL_WINDOW_SIZE, 20_000)]
    async with serving(app, http2=True, lifespan="off") as server, connect_http2(server, settings) as client:
        server.drain_as = (DrainMode.CUT, 5.0)
        client.credits = False
        stream = await opened(client)
        await client.until(lambda: len(client.bodies.get(stream, b"")) == 20_000)
        assert (await client.get()).body == b"http"
        assert len(sent) < 20


async def test_messages_that_nobody_takes_shut_the_window() -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await release.wait()
        while (await receive())["type"] == "websocket.receive":
            pass

    async with serving(app, http2=True, lifespan="off", ws_max_queue=1) as server, connect_http2(server) as client:
        stream = await opened(client)
        message = frame(BINARY, b"x" * 16_000)
        for _ in range(16):
            client.send(h2.data(stream, message))
        await client.heard()
        credit = sum(one.number for one in client.frames if one.kind == h2.WINDOW_UPDATE and one.stream == stream)
        assert credit < 16 * len(message)
        release.set()
        await client.until(
            lambda: (
                sum(one.number for one in client.frames if one.kind == h2.WINDOW_UPDATE and one.stream == stream)
                > credit
            )
        )


async def test_a_drain_sends_it_away(loop_factory: LoopFactory) -> None:
    async with serving(echo, http2=True, lifespan="off") as server, connect_http2(server) as client:
        stream = await opened(client)
        server.should_exit = True
        await client.until(lambda: frames(client.bodies.get(stream, b"")))
        assert frames(client.bodies[stream])[0][0] == CLOSE
        assert int.from_bytes(frames(client.bodies[stream])[0][1][:2], "big") == 1012
        client.send(h2.data(stream, frame(CLOSE, b"\x03\xf4")))
        await client.until_closed()
        assert stream in client.ended


async def test_it_is_announced_only_where_it_is_served() -> None:
    for ws, announced in (("none", False), ("auto", True)):
        async with serving(echo, http2=True, ws=ws, lifespan="off") as server, connect_http2(server) as client:
            await client.until(lambda: client.frames)
            payload = client.frames[0].payload
            names = [int.from_bytes(payload[at : at + 2], "big") for at in range(0, len(payload), 6)]
            assert (h2.ENABLE_CONNECT_PROTOCOL in names) == announced


async def test_it_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serving(echo, http2=True, lifespan="off") as server, connect_http2(server) as client:
        await opened(client)
    assert '"WebSocket /" [accepted]' in caplog.text


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        ([b"dGhlIHNhbXBsZSBub25jZQ=="], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ([], None),
        ([b"abc"], None),
        ([b"A" * 22] * 2, None),
    ],
)
async def test_a_key_that_a_proxy_has_passed_on_is_answered(keys: list[bytes], answer: str | None) -> None:
    """Envoy has no answer of its own for a client that speaks HTTP/1.1 (RFC 6455, 1.3); HTTP/2 itself needs none."""
    async with serving(echo, http2=True) as server, connect_http2(server) as client:
        stream = await opened(client, *((b"sec-websocket-key", key) for key in keys))
        assert dict(client.heads[stream][0]).get("sec-websocket-accept") == answer
