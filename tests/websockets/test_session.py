"""One session over real sockets: what the application is told and may say, what the client sees, what is logged."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import websockets

import websocket_wire as wire
from applications import Message, Receive, Scope, Send
from clients import connect
from logged import Logged
from servers import WatchedServer, serving
from uvicorn.config import Config
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.http.payload import TURN
from uvicorn.worker.http.state import ServerState
from websocket_peers import peer

ACCEPT = {"type": "websocket.accept"}


class Script:
    """An application whose websocket part is a function; what it notes is compared later."""

    def __init__(self, part: Callable[[Receive, Send], Awaitable[None]] | None = None) -> None:
        self.part = part
        self.scope: Scope = {}
        self.noted: list[Any] = []
        self.over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["shared"] = "from the lifespan"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"plain " + scope["type"].encode()})
        else:
            self.scope = scope
            try:
                assert self.part is not None
                await self.part(receive, send)
            finally:
                self.over.set()


async def echo(receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        if "text" in message:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


class Open:
    """Something an application holds; `closed` is set when nobody does any more."""

    def __init__(self, closed: asyncio.Event) -> None:
        self.closed = closed

    def __del__(self) -> None:
        self.closed.set()


@pytest.mark.usefixtures("loop_factory")
async def test_what_an_application_held_is_let_go_when_its_client_leaves(
    http: str, ws: str, without_collector: None
) -> None:
    """At once, not when the garbage collector comes by."""
    closed = asyncio.Event()

    async def talks_on(receive: Receive, send: Send) -> None:
        held = Open(closed)
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        await send({"type": "websocket.send", "text": type(held).__name__})

    async with serving(Script(talks_on), http=http, ws=ws) as server:
        async with peer(server) as client:
            await client.shake_hands()
            client.transport.abort()
        await closed.wait()


@pytest.mark.usefixtures("loop_factory")
async def test_echo(http: str, ws: str) -> None:
    async with serving(Script(echo), http=http, ws=ws) as server, peer(server) as client:
        client.send(wire.handshake("/") + wire.frame(wire.TEXT, b"early"))
        assert await client.answer() == 101
        assert await client.message() == "early"
        for message in ("é" * 100, b"\x00\xff", "x" * 70_000, ""):
            kind, data = (wire.TEXT, message.encode()) if isinstance(message, str) else (wire.BINARY, message)
            client.send(wire.frame(kind, data))
            assert await client.message() == message
        client.send(wire.frame(wire.PING, b"here?"))
        assert await client.frame() == (wire.PONG, b"here?", 0x8A)
        client.send(wire.close(4001, b"done"))
        assert await client.frame() == (wire.CLOSE, b"\x0f\xa1done", 0x88)
        assert await client.ended() == b""


@pytest.mark.usefixtures("loop_factory")
async def test_many_messages_in_one_read(ws: str) -> None:
    """What is said in one turn of the loop leaves in the order in which it was said, whoever held it back."""
    async with serving(Script(echo), ws=ws) as server, peer(server) as client, peer(server) as other:
        for one in (client, other):
            await one.shake_hands()
        texts = [str(number) * (number + 1) for number in range(100)]
        for _ in range(3):
            for one in (client, other):
                one.send(b"".join([wire.frame(wire.TEXT, text.encode()) for text in texts]))
            for one in (client, other):
                assert [await one.message() for _ in texts] == texts


async def test_an_answer_that_is_held_back_leaves_before_the_end(ws: str) -> None:
    async with serving(Script(echo), ws=ws) as server, peer(server) as client:
        await client.shake_hands()
        [session] = server.server_state.connections

        def message_and_end() -> None:
            server.server_state.outbox.last = float("inf")  # somebody wrote just now
            session.data_received(wire.frame(wire.TEXT, b"last"))
            session.eof_received()
            session.transport.close()

        asyncio.get_running_loop().call_soon(message_and_end)
        assert await client.message() == "last"
        assert await client.ended() == b""


async def test_the_scope(http: str) -> None:
    script = Script(echo)
    async with serving(script, http=http, root_path="/mount", headers=[("x-a", "b")]) as server, peer(server) as client:
        await client.shake_hands("/a%20b?c=d", "Sec-WebSocket-Protocol: one, two", "X-Thing: 1")
        scope = script.scope
        assert scope["type"] == "websocket" and scope["scheme"] == "ws" and scope["http_version"] == "1.1"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/mount/a b", b"/mount/a%20b", b"c=d")
        assert scope["root_path"] == "/mount" and "method" not in scope
        assert scope["subprotocols"] == ["one", "two"]
        assert scope["extensions"] == {"websocket.http.response": {}}
        assert scope["state"] == {"shared": "from the lifespan"}
        assert (b"x-thing", b"1") in scope["headers"]
        assert scope["client"][0] == "127.0.0.1" and scope["server"] == ("127.0.0.1", server.port)


async def test_accept_with_subprotocol_and_headers(http: str, logged: Logged) -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"Sec-WebSocket-Accept", b"forged")]
        await send({**ACCEPT, "subprotocol": "two", "headers": headers})
        await receive()

    async with serving(Script(part), http=http) as server, peer(server) as client:
        assert await client.shake_hands("/x?y=z", "Sec-WebSocket-Protocol: one, two") == 101
        assert client.values("set-cookie") == ["a=1", "b=2"]
        assert client.values("sec-websocket-protocol") == ["two"]
        assert len(client.values("sec-websocket-accept")) == 1 and len(client.values("date")) == 1
        port = client.writer.get_extra_info("sockname")[1]
    assert f'127.0.0.1:{port} - "WebSocket /x?y=z" [accepted]' in logged.lines()
    assert logged.lines().count("connection open") == logged.lines().count("connection closed") == 1


async def test_what_is_none_in_a_message_is_not_there() -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send({**ACCEPT, "subprotocol": None})
        await send({"type": "websocket.send", "text": None, "bytes": None})
        await send({"type": "websocket.send", "text": None, "bytes": b"one"})
        await send({"type": "websocket.send", "text": "two", "bytes": None})
        await send({"type": "websocket.close", "code": None, "reason": None})

    async with serving(Script(part)) as server, peer(server) as client:
        assert await client.shake_hands() == 101
        assert [await client.message(), await client.message()] == [b"one", "two"]
        assert (await client.frame()).code == 1000


async def test_a_header_that_closes_each_connection_leaves_sessions_alone() -> None:
    async with serving(Script(echo), headers=[("Connection", "close")]) as server, peer(server) as client:
        assert await client.shake_hands() == 101
        assert client.values("connection") == ["Upgrade"]
        client.text("one")
        assert await client.message() == "one"
        client.text("two")
        assert await client.message() == "two"


async def test_a_denial_whose_body_is_none_is_empty() -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": None})

    async with serving(Script(part)) as server, peer(server) as client:
        assert await client.shake_hands() == 401
        assert client.values("content-length") == ["0"]


@pytest.mark.parametrize(
    ("given", "named", "chosen"),
    [
        (None, [b"two"], "two"),
        ("two", [b"two"], "two"),
        (None, [b" two", b"two "], "two"),
        (None, ["two"], "two"),
        (None, [b"three"], None),
        ("one", [b"two"], None),
        (None, [b"one", b"two"], None),
        (None, [b"one, two"], None),
        ("three", [b"three"], "three"),
        ("one", [b""], None),
    ],
)
async def test_a_subprotocol_among_the_headers(given: str | None, named: list[bytes | str], chosen: str | None) -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        answer = {**ACCEPT, "subprotocol": given, "headers": [("Sec-WebSocket-Protocol", value) for value in named]}
        if chosen is None:
            with pytest.raises(ValueError, match=r"sec-websocket-protocol of 'websocket\.accept' says"):
                await send(answer)
            await send(ACCEPT)
        else:
            await send(answer)
        await receive()

    async with serving(Script(part)) as server, peer(server) as client:
        assert await client.shake_hands("/", "Sec-WebSocket-Protocol: one, two") == 101
        assert client.values("sec-websocket-protocol") == ([] if chosen is None else [chosen])


async def test_an_application_that_never_waits_gives_others_a_turn(ws: str) -> None:
    sent = 0

    async def part(receive: Receive, send: Send) -> None:
        nonlocal sent
        await receive()
        await send(ACCEPT)
        turns: list[int] = []
        asyncio.get_running_loop().call_soon(lambda: turns.append(sent))
        while not turns and sent < 100_000:
            await send({"type": "websocket.send", "bytes": b""})
            sent += 1

    script = Script(part)
    async with serving(script, ws=ws) as server, peer(server) as client:
        assert await client.shake_hands() == 101
        await script.over.wait()
    assert sent <= TURN


@pytest.mark.parametrize("headers", [[(b"x", b"a\r\nb: c")], [(b"a b", b"c")], [("x", None)]])
async def test_a_bad_accept_may_be_repaired(headers: list[tuple[object, object]]) -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises((ValueError, TypeError, AttributeError)):
            await send({**ACCEPT, "headers": headers})
        with pytest.raises(ValueError, match="subprotocol"):
            await send({**ACCEPT, "subprotocol": "a\r\nb"})
        await send(ACCEPT)
        await receive()

    async with serving(Script(part)) as server, peer(server) as client:
        assert await client.shake_hands() == 101


async def test_denied(http: str, logged: Logged) -> None:
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        script.noted.append(await receive())
        with pytest.raises(RuntimeError):
            await send(ACCEPT)

    script.part = part
    async with serving(script, http=http) as server, peer(server) as client:
        assert await client.shake_hands("/secret") == 403
        assert await client.ended() == b""
        await script.over.wait()
    assert script.noted == [{"type": "websocket.disconnect", "code": 1006}]
    assert any(line.endswith('"WebSocket /secret" 403') for line in logged.lines())
    assert "connection rejected (403 Forbidden)" in logged.lines() and "connection open" not in logged.lines()


@pytest.mark.parametrize("answer", ["websocket.accept", "websocket.close"])
async def test_a_request_that_waits_is_served_when_a_handshake_is_answered(answer: str) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def part(receive: Receive, send: Send) -> None:
        await receive()
        asked.set()
        await go.wait()
        await send({"type": answer})
        await receive()

    async with (
        serving(Script(part), limit_concurrency=1, timeout_queue=1000) as server,
        peer(server) as client,
        connect(server) as waiting,
    ):
        admission = server.server_state.admission
        assert admission is not None
        client.send(wire.handshake())
        await asked.wait()
        waiting.ask("/")
        while not admission.waiting:
            await asyncio.sleep(0)
        go.set()
        assert (await waiting.answer()).status == 200


async def test_a_client_that_closes_its_half_behind_its_handshake_has_left() -> None:
    first = asyncio.Event()
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        script.noted.append(await receive())
        script.noted.append(await receive())

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await first.wait()
        await script(scope, receive, send)

    script.part = part
    async with serving(application) as server, peer(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + wire.handshake())
        client.writer.write_eof()
        (connection,) = await _connections(server)
        while not connection.eof:
            await asyncio.sleep(0)
        first.set()
        await script.over.wait()
    assert [message["type"] for message in script.noted] == ["websocket.connect", "websocket.disconnect"]


async def _connections(server: WatchedServer) -> set[Any]:
    while not server.server_state.connections:
        await asyncio.sleep(0)
    found: set[Any] = server.server_state.connections
    return found


@pytest.mark.parametrize("length", [None, b"8"])
async def test_denied_with_a_response(http: str, length: bytes | None) -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"x-why", b"because")] + ([(b"content-length", length)] if length else [])
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"go ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"away!"})

    async with serving(Script(part), http=http) as server, peer(server) as client:
        assert await client.shake_hands() == 401
        assert client.values("x-why") == ["because"] and client.values("connection") == ["close"]
        rest = await client.ended()
        assert rest == (b"go away!" if length else b"3\r\ngo \r\n5\r\naway!\r\n0\r\n\r\n")


@pytest.mark.parametrize("lacking", ["raises", "returns", "starts"])
async def test_no_answer_is_500(lacking: str, logged: Logged) -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        if lacking == "raises":
            raise ValueError("no")
        if lacking == "starts":
            await send({"type": "websocket.http.response.start", "status": 401, "headers": []})

    async with serving(Script(part)) as server, peer(server) as client:
        assert await client.shake_hands() == 500
        assert await client.ended() == b"Internal Server Error"
        assert server.server_state.in_flight == 0
    assert "connection rejected (500 Internal Server Error)" in logged.lines()


@pytest.mark.parametrize(
    ("line", "status"),
    [("Sec-WebSocket-Version: 12", 426), ("Sec-WebSocket-Key: short", 400), ("Content-Length: 2", 400)],
)
async def test_no_proper_upgrade(http: str, line: str, status: int) -> None:
    script = Script(echo)
    async with serving(script, http=http) as server, peer(server) as client:
        assert await client.shake_hands("/", line) == status
        assert client.values("sec-websocket-version") == (["13"] if status == 426 else [])
        assert script.scope == {}


async def test_without_websockets_it_is_a_request(http: str, logged: Logged) -> None:
    async with serving(Script(), http=http, ws="none") as server, peer(server) as client:
        for _ in range(2):
            assert await client.shake_hands() == 200
            assert await client.reader.readuntil(b"http") == b"plain http"
    warnings = [line for line in logged.lines() if "upgrade" in line]
    assert warnings == ["Unsupported upgrade request."]
    assert [line for line in logged.lines() if "No supported WebSocket library detected" in line]


async def test_after_a_request_on_the_same_connection(http: str) -> None:
    async with serving(Script(echo), http=http) as server, peer(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + wire.handshake() + wire.frame(wire.TEXT, b"behind"))
        assert await client.answer() == 200
        await client.reader.readexactly(len(b"plain http"))
        assert await client.answer() == 101
        assert await client.message() == "behind"
        assert server.server_state.total_requests == 2 and server.server_state.in_flight == 0


async def test_an_open_websocket_is_no_load() -> None:
    go = asyncio.Event()

    async def part(receive: Receive, send: Send) -> None:
        await go.wait()
        await echo(receive, send)

    async with serving(Script(part), limit_concurrency=1) as server, peer(server) as one, peer(server) as two:
        one.text("x")
        one.transport.abort()
        async with peer(server) as three, peer(server) as four:
            task = asyncio.create_task(three.shake_hands())
            while server.server_state.in_flight < 1:
                await asyncio.sleep(0)
            assert await four.shake_hands() == 503
            assert four.values("retry-after") == ["1"]
            go.set()
            assert await task == 101
            assert await two.shake_hands() == 101


# -- the end ---------------------------------------------------------------------------------------------------


async def test_the_applications_close(ws: str) -> None:
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        with pytest.raises(ValueError, match="1006"):
            await send({"type": "websocket.close", "code": 1006})
        await send({"type": "websocket.close", "code": 3001, "reason": "enough"})
        script.noted.append(await receive())
        for message in ({"type": "websocket.send", "text": "x"}, {"type": "websocket.close"}):
            with pytest.raises(RuntimeError, match="after sending 'websocket"):
                await send(message)

    script.part = part
    async with serving(script, ws=ws) as server, peer(server) as client:
        await client.shake_hands()
        assert await client.frame() == (wire.CLOSE, b"\x0b\xb9enough", 0x88)
        client.send(wire.frame(wire.TEXT, b"too late") * 100 + wire.close(3001))
        assert await client.ended() == b""
        await script.over.wait()
    assert script.noted == [{"type": "websocket.disconnect", "code": 3001, "reason": "enough"}]


@pytest.mark.parametrize("how", ["close", "nothing said", "lost"])
async def test_the_peers_end(ws: str, how: str, logged: Logged) -> None:
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        while (message := await receive())["type"] != "websocket.disconnect":
            script.noted.append(message["text"])
        script.noted += [message, await receive()]
        for late in ({"type": "websocket.send", "text": "x"}, {"type": "websocket.close"}):
            with pytest.raises(ClientDisconnected):
                await send(late)

    script.part = part
    async with serving(script, ws=ws) as server, peer(server) as client:
        await client.shake_hands()
        end = {"close": wire.close(1001, b"bye"), "nothing said": wire.frame(wire.CLOSE), "lost": b""}[how]
        client.send(wire.frame(wire.TEXT, b"m") * 100 + end)
        if how == "lost":
            client.writer.close()
        await script.over.wait()
    said = {"close": {"code": 1001, "reason": "bye"}, "nothing said": {"code": 1005, "reason": ""}}
    last = {"type": "websocket.disconnect", **said.get(how, {"code": 1006})}
    assert script.noted == ["m"] * 100 + [last] * 2
    assert logged.lines().count("connection closed") == 1


async def test_a_peer_that_leaves_before_the_answer() -> None:
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        script.noted += [await receive(), await receive()]
        with pytest.raises(ClientDisconnected):
            await send(ACCEPT)

    script.part = part
    async with serving(script) as server:
        async with peer(server) as client:
            await asyncio.sleep(0)
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n")
            client.send(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
            while not script.scope:
                await asyncio.sleep(0)
        await script.over.wait()
        assert server.server_state.in_flight == 0
    assert [message["type"] for message in script.noted] == ["websocket.connect", "websocket.disconnect"]


async def test_an_error_is_1011(ws: str, logged: Logged) -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        raise ValueError("no")

    async with serving(Script(part), ws=ws) as server, peer(server) as client:
        await client.shake_hands()
        client.text("go")
        assert (await client.frame()).code == 1011
    (said,) = [line for line in logged.lines() if line.startswith("Exception in ASGI application\n")]
    assert ' - "WebSocket /' in said


async def test_the_application_returns() -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)

    async with serving(Script(part)) as server, peer(server) as client:
        await client.shake_hands()
        assert (await client.frame()).code == 1000


@pytest.mark.parametrize(("payload", "code"), [(b"\xff", 1007), (b"x" * 101, 1009)])
async def test_faults_of_the_peer(ws: str, payload: bytes, code: int) -> None:
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
        script.noted.append((await receive())["code"])

    script.part = part
    async with serving(script, ws=ws, ws_max_size=100) as server, peer(server) as client:
        await client.shake_hands()
        client.send(wire.frame(wire.TEXT, b"before") + wire.frame(wire.TEXT, payload) + bytes(100_000))
        assert await client.message() == "before"
        assert (await client.frame()).code == code
        assert await client.ended() == b""
        await script.over.wait()
        assert script.noted == [code]


async def test_messages_out_of_order() -> None:
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        await receive()
        for wrong in ("websocket.send", "websocket.http.response.body", "http.response.start"):
            with pytest.raises(RuntimeError, match="Expected ASGI message"):
                await send({"type": wrong, "text": "x"})
        await send(ACCEPT)
        for wrong in ("websocket.accept", "websocket.http.response.start"):
            with pytest.raises(RuntimeError, match="Expected ASGI message"):
                await send({"type": wrong, "status": 200})
        with pytest.raises(TypeError):
            await send({"type": "websocket.send", "bytes": "text"})
        await send({"type": "websocket.send", "bytes": bytearray(b"ok")})
        script.noted.append("through")

    script.part = part
    async with serving(script) as server, peer(server) as client:
        await client.shake_hands()
        assert await client.message() == b"ok"
        await script.over.wait()
    assert script.noted == ["through"]


async def test_receive_may_be_cancelled_and_shared() -> None:
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        readers = [asyncio.ensure_future(receive()) for _ in range(3)]
        await asyncio.sleep(0)
        readers[0].cancel()
        await send({"type": "websocket.send", "text": "ready"})
        done = await asyncio.gather(*readers[1:])
        script.noted += [message["text"] for message in done]
        await send({"type": "websocket.close"})

    script.part = part
    async with serving(script) as server, peer(server) as client:
        await client.shake_hands()
        assert await client.message() == "ready"
        client.text("one")
        client.text("two")
        await script.over.wait()
    assert sorted(script.noted) == ["one", "two"]


# -- pings -----------------------------------------------------------------------------------------------------


async def test_pings_and_a_missed_pong(ws: str) -> None:
    script = Script(echo)
    async with serving(script, ws=ws, ws_ping_interval=0.1, ws_ping_timeout=0.3) as server, peer(server) as client:
        await client.shake_hands()
        for _ in range(2):
            ping = await client.frame()
            assert ping.opcode == wire.PING and len(ping.payload) == 4
            client.send(wire.frame(wire.PONG, ping.payload))
        client.send(wire.frame(wire.PONG, b"unasked"))
        assert (await client.frame()).opcode == wire.PING
        assert (await client.frame()).code == 1011
        assert await client.ended() == b""
        await script.over.wait()


@pytest.mark.parametrize("interval", [None, 0])
async def test_no_pings(interval: float | None) -> None:
    async with serving(Script(echo), ws_ping_timeout=0.1, ws_ping_interval=interval) as server, peer(server) as client:
        await client.shake_hands()
        [session] = server.server_state.connections
        session.sweep(server.server_state.now + 1000, 5.0)
        client.text("still here")
        assert await client.message() == "still here"


async def test_the_close_handshake_has_its_time() -> None:
    script = Script()

    async def part(receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)

    script.part = part
    async with serving(script) as server, peer(server) as client:
        await client.shake_hands()
        assert (await client.frame()).code == 1000
        [session] = server.server_state.connections
        session.sweep(session.active_at + 9.9, 5.0)
        assert not session.transport.is_closing()
        session.sweep(session.active_at + 10.1, 5.0)
        assert session.transport.is_closing()


# -- a real client ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("loop_factory")
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_the_client_of_websockets(ws: str, http: str, compression: Literal["deflate"] | None) -> None:
    async with serving(Script(echo), ws=ws, http=http) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        async with websockets.connect(url, compression=compression, max_size=None) as client:
            for message in ("short", "é" * 50_000, bytes(range(256)) * 500, b""):
                await client.send(message)
                assert await client.recv() == message
            await client.send(["in ", "several ", "parts"])
            assert await client.recv() == "in several parts"
            await (await client.ping())
        assert client.close_code == 1000


async def test_compression_may_be_refused() -> None:
    async with serving(Script(echo), ws_per_message_deflate=False) as server, peer(server) as client:
        await client.shake_hands("/", "Sec-WebSocket-Extensions: permessage-deflate")
        assert client.values("sec-websocket-extensions") == []


# -- somebody else's class -------------------------------------------------------------------------------------


class Foreign(asyncio.Protocol):
    """What `ws=` may name: an asyncio protocol that reads the handshake itself."""

    seen: bytes = b""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.state = server_state
        self.app_state = app_state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        Foreign.seen += data
        self.transport.write(b"HTTP/1.1 418 I'm a teapot\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)

    def shutdown(self) -> None:
        self.transport.close()


async def test_a_foreign_class(http: str) -> None:
    Foreign.seen = b""
    async with serving(Script(echo), http=http, ws=Foreign) as server, peer(server) as client:
        assert await client.shake_hands("/a?b=c", "X-Thing: 1") == 418
        head = Foreign.seen.lower()
        assert head.startswith(b"get /a?b=c http/1.1\r\n") and head.endswith(b"\r\n\r\n")
        for line in wire.handshake("/", "X-Thing: 1").lower().split(b"\r\n")[1:]:
            assert line in head
        server.should_exit = True
        assert await client.ended() == b""


@pytest.mark.usefixtures("loop_factory")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([ACCEPT], (101, 0)),
        ([{"type": "websocket.close"}], (403, 0)),
        (
            [
                {"type": "websocket.http.response.start", "status": 402, "headers": []},
                {"type": "websocket.http.response.body", "body": b"pay"},
            ],
            (402, 3),
        ),
    ],
)
async def test_an_access_log_that_follows_requests_has_the_handshake(
    http: str, ws: str, tmp_path: Path, answer: list[Message], told: tuple[int, int]
) -> None:
    async def part(receive: Receive, send: Send) -> None:
        await receive()
        for message in answer:
            await send(message)

    script, path = Script(part), tmp_path / "a"
    async with (
        serving(script, http=http, ws=ws, access_log_file=path, access_log_format="json", log_level="info") as server,
        peer(server) as client,
    ):
        assert await client.shake_hands("/chat?a=b") == told[0]
    line = json.loads(path.read_text())
    assert (line["status"], line["bytes"]) == told and (line["path"], line["query"]) == ("/chat", "a=b")
    assert script.scope["extensions"]["uvicorn.request_id"]["id"] == line["request_id"]


async def test_a_denial_that_is_too_long_is_a_500(ws: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"3")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"too long"})

    async with serving(app, ws=ws, lifespan="off") as server, peer(server) as client:
        assert await client.shake_hands() == 500
        await client.ended()
    assert "longer than Content-Length" in caplog.text and "shorter than" not in caplog.text


async def test_an_application_that_cancels_itself_is_told_of(ws: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async with serving(app, ws=ws, lifespan="off") as server, peer(server) as client:
        assert await client.shake_hands() == 500
        await client.ended()
    assert "ASGI callable was cancelled." in caplog.text and "raise asyncio.CancelledError" in caplog.text


async def test_an_application_that_cancels_itself_when_its_client_leaves_is_no_fault(
    ws: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is not lost yet: the client has not read what was sent to it."""
    heard = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def flood() -> None:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(1 << 20)})

        await send({"type": "websocket.accept"})
        flooding = asyncio.ensure_future(flood())
        while (await receive())["type"] != "websocket.disconnect":
            pass
        flooding.cancel()
        await asyncio.wait([flooding])
        heard.set()
        raise asyncio.CancelledError

    async with serving(app, ws=ws, lifespan="off") as server, peer(server, 4096) as client:
        assert await client.shake_hands() == 101
        client.send(wire.frame(wire.CLOSE, b"\x03\xe8"))
        await heard.wait()
        while server.server_state.tasks:
            await asyncio.sleep(0)
        assert server.server_state.connections
        client.transport.abort()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a wait"])
@pytest.mark.parametrize("how", [SystemExit(2), KeyboardInterrupt()], ids=["exit", "interrupt"])
async def test_an_application_that_wants_to_end_the_process_has_failed(
    ws: str, caplog: pytest.LogCaptureFixture, how: BaseException, late: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/open":
            await send({"type": "websocket.accept"})
            await receive()
            await receive()
        if late:
            await asyncio.sleep(0)
        raise how

    async with serving(app, ws=ws, lifespan="off") as server:
        async with peer(server) as client:
            assert await client.shake_hands() == 500
            await client.ended()
        async with peer(server) as client:
            assert await client.shake_hands("/open") == 101
            client.text("x")
            assert (await client.frame()).payload[:2] == (1011).to_bytes(2, "big")
        assert server.server_state.in_flight == 0
    assert caplog.text.count("Exception in ASGI application") == 2


# -- more than one `receive` -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("loop_factory")
@pytest.mark.parametrize("order", ["cancelled first", "message first", "cancelled twice", "begun in between"])
@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_cancelled_receive_leaves_the_others_alone(ws: str, order: str, which: int) -> None:
    """Three tasks wait for a message, and one of them is cancelled when one comes, or a little before."""
    ended: list[str] = []
    waiting, sent = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        tasks = [asyncio.ensure_future(receive()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting.set()
        if order == "message first":
            await sent.wait()  # the loop delivers it to one of them in the next turn, or has done so
        tasks[which].cancel()
        if order == "cancelled twice":
            tasks.append(asyncio.ensure_future(receive()))
            await asyncio.sleep(0)
            tasks[which].cancel()
        elif order == "begun in between":
            tasks.append(asyncio.ensure_future(receive()))
        await sent.wait()
        for index, task in enumerate(tasks):
            try:
                ended.append((await task)["text"])
            except asyncio.CancelledError:
                assert index == which, "somebody else was cancelled"
                ended.append("cancelled")
        await send({"type": "websocket.close"})

    async with serving(app, ws=ws, lifespan="off") as server, peer(server) as client:
        await client.shake_hands()
        await waiting.wait()
        for number in range(4):
            client.text(str(number))
        await client.writer.drain()
        sent.set()
        await client.frame()
    texts = [text for text in ended if text != "cancelled"]
    assert len(texts) == len(set(texts)) >= len(ended) - 1


# -- a client that leaves before its handshake is answered -----------------------------------------------------


@pytest.mark.parametrize("asks", [False, True])
async def test_a_client_that_leaves_before_its_handshake_is_answered(
    ws: str, caplog: pytest.LogCaptureFixture, asks: bool
) -> None:
    """`websocket.connect` comes first all the same; then `send` says that nobody is there."""
    begun, gone, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await gone.wait()
        heard.append((await receive())["type"])
        try:
            if asks:
                heard.append((await receive())["type"])
                return
            await send({"type": "websocket.accept"})
        finally:
            over.set()

    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serving(app, ws=ws, lifespan="off") as server:
        async with peer(server) as client:
            client.send(wire.handshake("/left"))
            await begun.wait()
        while server.server_state.connections:
            await asyncio.sleep(0)
        gone.set()
        await over.wait()
    assert heard == ["websocket.connect", "websocket.disconnect"][: 2 if asks else 1]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    (line,) = [record.getMessage() for record in caplog.records if "/left" in record.getMessage()]
    assert line.endswith('"WebSocket /left" 499')
