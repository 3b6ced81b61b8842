"""ASGI's extension `http.response.trailers`: the same over HTTP/1.1 and HTTP/2, through a server and real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

import http2 as h2
from applications import App, Headers, Message, Receive, Scope, Send, respond
from clients import connect
from http2_client import connect_http2
from servers import LoopFactory, WatchedServer, serving
from uvicorn.errors import ClientDisconnected
from uvicorn.logs.formats import AccessRecord
from uvicorn.worker.access.log import AccessLog

TE = (b"te", b"trailers")


def start(status: int = 200, headers: Headers = (), trailers: bool = True) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), "trailers": trailers}


def body(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def trailers(*fields: tuple[object, object], more: bool = False) -> Message:
    return {"type": "http.response.trailers", "headers": fields, "more_trailers": more}


class Got(NamedTuple):
    """A response. `whole`: it was sent to its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    trailers: list[tuple[str, str]]
    whole: bool


class Ask(Protocol):
    async def __call__(self, *fields: h2.Field, method: bytes = b"GET") -> Got: ...


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Ask]]


async def ask_http1(server: WatchedServer, *fields: h2.Field, method: bytes = b"GET", version: bytes = b"1.1") -> Got:
    """On a connection of its own, which the server is asked to close behind the response."""
    async with connect(server) as client:
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        client.send(b"%b / HTTP/%b\r\nHost: a.test\r\n%b\r\n" % (method, version, lines))
        client.writer.write_eof()
        status, headers = await client.head()
        rest = await client.ended()
    if headers.get("transfer-encoding") != "chunked" or method == b"HEAD":
        return Got(status, headers, rest, [], len(rest) == int(headers.get("content-length", len(rest))))
    data = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            assert rest.endswith(b"\r\n\r\n") or rest == b"\r\n"
            found = [line.decode().split(": ") for line in rest.split(b"\r\n") if line]
            return Got(status, headers, data, [(name, value) for name, value in found], True)
        data, rest = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return Got(status, headers, data, [], False)


async def ask_http2(server: WatchedServer, *fields: h2.Field, method: bytes = b"GET") -> Got:
    async with connect_http2(server) as client:
        stream = client.ask(*fields, method=method)
        await client.until(lambda: stream in client.ended or stream in client.resets)
        if stream in client.resets:
            assert client.resets == {stream: h2.INTERNAL_ERROR} and stream not in client.ended
        first, *more = client.heads[stream]
        found = more[0] if more else []
        headers = dict(first)
        whole = stream in client.ended
        return Got(int(headers[":status"]), headers, client.bodies.get(stream, b""), found, whole)


@pytest.fixture(params=["1.1", "2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(version: str) -> Serve:
    """`async with serve(app) as ask:` serves it over this version of HTTP."""

    @contextlib.asynccontextmanager
    async def begin(app: App, **settings: object) -> AsyncIterator[Ask]:
        async with serving(app, http2=True, lifespan="off", **settings) as server:

            async def ask(*fields: h2.Field, method: bytes = b"GET") -> Got:
                one = ask_http1 if version == "1.1" else ask_http2
                return await one(server, *fields, method=method)

            yield ask

    return begin


def sending(*messages: Message) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize("parts", [[b""], [b"all"], [b"some ", b"", b"parts"], [b"x" * 100_000, b"y" * 100_000]])
async def test_trailers_follow_the_body(serve: Serve, loop_factory: LoopFactory, parts: list[bytes]) -> None:
    bodies = [body(part, more=True) for part in parts[:-1]]
    end = [trailers((b"X-Sum", b" 1 "), more=True), trailers(("x-text", "2"), (b"x-sum", b"3"))]
    async with serve(sending(start(), *bodies, body(parts[-1]), *end)) as ask:
        got = await ask(TE)
    assert got.whole and got.status == 200 and got.body == b"".join(parts)
    assert got.trailers == [("x-sum", "1"), ("x-text", "2"), ("x-sum", "3")]
    assert "content-length" not in got.headers


async def test_where_it_is_announced(serve: Serve, version: str) -> None:
    """Over HTTP/2 to everybody, over HTTP/1.1 to a client that takes trailers."""
    announced = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        announced.append(scope["extensions"].get("http.response.trailers"))
        await respond(send)

    async with serve(app) as ask:
        await ask()
        await ask(TE)
        if version == "1.1":
            await ask((b"te", b"deflate, Trailers"))
            await ask((b"te", b"deflate"), (b"te", b"trailers, gzip;q=0.5"))
            await ask((b"te", b"xtrailers"))
    assert announced == ([None, {}, {}, {}, None] if version == "1.1" else [{}, {}])


@pytest.mark.parametrize(
    ("reason", "fields", "method"), [("nobody asked", (), b"GET"), ("HEAD", (TE,), b"HEAD"), ("304", (TE,), b"GET")]
)
async def test_where_none_are_sent(
    serve: Serve, version: str, reason: str, fields: tuple[h2.Field, ...], method: bytes
) -> None:
    """The application need not know: its messages are the same, and the response is whole behind the last one."""
    status = 304 if reason == "304" else 200
    async with serve(sending(start(status), body(b"some"), trailers((b"x-sum", b"1")))) as ask:
        got = await ask(*fields, method=method)
    carried = version == "2" and reason == "nobody asked"  # there every client has to read them
    assert got.whole and got.status == status and got.trailers == ([("x-sum", "1")] if carried else [])
    assert got.body == (b"some" if reason == "nobody asked" else b"")


async def test_with_a_content_length(serve: Serve, version: str) -> None:
    """HTTP/1.1 has no place for trailers behind such a body, HTTP/2 has."""
    app = sending(start(headers=[(b"content-length", b"4")]), body(b"some"), trailers((b"x-sum", b"1")))
    async with serve(app) as ask:
        got = await ask(TE)
    assert got.whole and got.body == b"some" and got.headers["content-length"] == "4"
    assert got.trailers == ([] if version == "1.1" else [("x-sum", "1")])


async def test_a_body_that_is_too_short(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    app = sending(start(headers=[(b"content-length", b"9")]), body(b"some"), trailers((b"x-sum", b"1")))
    async with serve(app) as ask:
        got = await ask(TE)
    assert got.body in (b"some", b"") and not got.whole
    assert "Response content shorter than Content-Length" in caplog.text


async def test_http_1_0() -> None:
    app = sending(start(), body(b"some"), trailers((b"x-sum", b"1")))
    async with serving(app, lifespan="off") as server:
        got = await ask_http1(server, TE, version=b"1.0")
    assert got.whole and got.body == b"some" and got.trailers == [] and "transfer-encoding" not in got.headers


async def test_an_http_1_0_response_without_its_trailers_is_reset() -> None:
    """Where the end of the connection is the end of the body, nothing else tells a part from the whole."""
    app = sending(start(), body(b"some"))
    async with serving(app, lifespan="off") as server, connect(server) as client:
        client.send(b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.ended()


async def test_an_http_1_connection_goes_on() -> None:
    app = sending(start(), body(b"some"), trailers((b"x-sum", b"1")))
    async with serving(app, lifespan="off") as server, connect(server) as client:
        for _ in range(2):
            client.ask("/", "TE: trailers", "Connection: TE")
            await client.head()
            data = await client.reader.readuntil(b"\r\n\r\n")
            assert data == b"4\r\nsome\r\n0\r\nx-sum: 1\r\n\r\n"


@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
@pytest.mark.parametrize("at", ["the last body", "some trailers"])
async def test_a_response_without_its_trailers_is_cut(
    serve: Serve, loop_factory: LoopFactory, how: str, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"some"))
        if at == "some trailers":
            await send(trailers((b"x-sum", b"1"), more=True))
        if how == "raises":
            raise RuntimeError("broken")
        if how == "is cancelled":
            raise asyncio.CancelledError

    async with serve(app) as ask:
        got = await ask(TE)
    assert not got.whole and got.trailers == []
    said = {"returns": "without completing response", "raises": "broken", "is cancelled": "was cancelled"}
    assert said[how] in caplog.text


PLACE = " Trailers follow the last body, if http.response.start has 'trailers': True."

OUT_OF_ORDER = {
    "before the start": (
        [],
        trailers(),
        "Expected ASGI message 'http.response.start', but got 'http.response.trailers'.",
    ),
    "no body yet": (
        [start()],
        trailers(),
        "Expected ASGI message 'http.response.body', but got 'http.response.trailers'.",
    ),
    "more body": (
        [start(), body(b"x", more=True)],
        trailers(),
        "Expected ASGI message 'http.response.body', but got 'http.response.trailers'.",
    ),
    "a body behind the last": (
        [start(), body(b"x")],
        body(b"y"),
        "Expected ASGI message 'http.response.trailers', but got 'http.response.body'.",
    ),
    "not promised": (
        [start(trailers=False), body(b"x")],
        trailers(),
        "Unexpected ASGI message 'http.response.trailers' sent, after response already completed.",
    ),
    "twice": (
        [start(), body(b"x"), trailers()],
        trailers(),
        "Unexpected ASGI message 'http.response.trailers' sent, after response already completed.",
    ),
}


@pytest.mark.parametrize("place", OUT_OF_ORDER)
async def test_messages_out_of_order(serve: Serve, place: str) -> None:
    before, message, sentence = OUT_OF_ORDER[place]
    raised = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for one in before:
            await send(one)
        with pytest.raises(RuntimeError) as error:
            await send(message)
        raised.append(str(error.value))
        for one in (start(), body(b"x"), trailers()):  # nothing was lost
            with contextlib.suppress(RuntimeError):
                await send(one)

    async with serve(app) as ask:
        got = await ask(TE)
    hint = PLACE if message["type"] == "http.response.trailers" else ""
    assert raised == [sentence + hint]
    assert got.whole


FAULTY: list[tuple[tuple[object, object], type[Exception], str]] = [
    ((b":status", b"200"), ValueError, "Pseudo headers are not allowed in trailers: b':status'"),
    ((b"content-length", b"1"), ValueError, "'content-length' is not allowed in trailers: send it in"),
    ((b"Transfer-Encoding", b"x"), ValueError, "'Transfer-Encoding' is not allowed in trailers"),
    ((b"Host", b"a"), ValueError, "'Host' is not allowed in trailers"),
    ((b"connection", b"close"), ValueError, "'connection' is not allowed in trailers"),
    ((b"te", b"trailers"), ValueError, "'te' is not allowed in trailers"),
    ((b"trailer", b"x"), ValueError, "'trailer' is not allowed in trailers"),
    ((b"Set-Cookie", b"a=1"), ValueError, "'Set-Cookie' is not allowed in trailers"),
    ((b"If-Match", b"a"), ValueError, "'If-Match' is not allowed in trailers"),
    ((b"content-type", b"a/b"), ValueError, "'content-type' is not allowed in trailers"),
    ((b"x y", b"1"), ValueError, "Invalid header name in the response: b'x y'"),
    ((b"x-a", b"1\r\nx: 2"), ValueError, "Invalid value of trailer b'x-a' in the response: CR, LF or NUL"),
    ((b"x-a", 1), TypeError, "The value of a trailer must be bytes, not int: 1"),
    ((1, b"x-a"), TypeError, "A header name must be bytes, not int: 1"),
]


@pytest.mark.parametrize(("field", "kind", "sentence"), FAULTY)
async def test_what_no_trailers_may_have(
    serve: Serve, version: str, field: tuple[object, object], kind: type[Exception], sentence: str
) -> None:
    """An error of the application's, which may send others; also where no trailers are sent."""
    raised = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"x"))
        with pytest.raises(kind) as error:
            await send(trailers((b"x-lost", b"1"), field))
        raised.append(str(error.value))
        await send(trailers((b"x-sum", b"1")))

    async with serve(app) as ask:
        got = await ask(TE)
        assert got.whole and got.trailers == [("x-sum", "1")]
        got = await ask()  # who did not ask for them: the rules are the same
        assert got.whole and got.trailers == ([] if version == "1.1" else [("x-sum", "1")])
    assert len(raised) == 2 and all(said.startswith(sentence) for said in raised)


async def test_who_has_left_gets_no_trailers(serve: Serve, version: str) -> None:
    told: list[object] = []
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"some"))
        await receive()
        told.append((await receive())["type"])
        with pytest.raises(ClientDisconnected):
            for _ in range(1000):  # the end of a connection is noticed in another turn of the loop
                await send(trailers((b"x-sum", b"1"), more=True))
                await asyncio.sleep(0)
        over.set()

    async with serving(app, http2=True, lifespan="off") as server:
        if version == "2":
            async with connect_http2(server) as client:
                stream = client.ask(TE)
                await client.until(lambda: client.bodies.get(stream))
                client.send(h2.rst_stream(stream))
                await over.wait()
        else:
            async with connect(server) as plain:
                plain.ask("/", "TE: trailers")
                await plain.reader.readuntil(b"some")
                plain.writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                plain.writer.close()  # by a reset: the end of one half is no end
                await over.wait()
    assert told == ["http.disconnect"]


async def test_receive_is_told_of_the_end_behind_the_trailers(serve: Serve) -> None:
    told = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["more_body"] is False
        waits = asyncio.ensure_future(receive())
        await send(start())
        await send(body(b"some"))
        await asyncio.sleep(0)
        told.append(waits.done())
        await send(trailers((b"x-sum", b"1")))
        told.append((await waits)["type"])

    async with serving(app, http2=True, lifespan="off") as server, connect_http2(server) as client:
        response = await client.response(client.ask(TE))
    assert response.trailers == [("x-sum", "1")]
    assert told == [False, "http.disconnect"]


async def test_the_access_log_ends_behind_the_trailers(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """With the size of the body; a response without its trailers is told when it was cut."""
    caplog.set_level(logging.INFO, "uvicorn.access")
    told: list[AccessRecord] = []
    before: list[int] = []
    monkeypatch.setattr(AccessLog, "tell", lambda self, one: told.append(one))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"some"))
        await send(trailers((b"x-sum", b"1"), more=True))
        before.append(len(told))
        if len(before) == 1:
            await send(trailers())

    async with serve(app, access_log_file=tmp_path / "a", access_log_format="json") as ask:
        assert (await ask(TE)).whole
        assert not (await ask(TE)).whole
    assert before == [0, 1]
    assert [(one.status, one.sent, one.whole) for one in told] == [(200, 4, True), (200, 4, False)]


@pytest.mark.parametrize("size", [10, 70_000])
async def test_trailers_that_wait_for_the_window(size: int) -> None:
    """Over HTTP/2 they are not a part of what the window counts, but come behind what it does."""
    app = sending(start(), body(b"x" * size), trailers((b"x-sum", b"1")))
    settings = [(h2.INITIAL_WINDOW_SIZE, 5)]
    async with serving(app, http2=True, lifespan="off") as server, connect_http2(server, settings) as client:
        client.credits = False
        stream = client.ask(TE)
        await client.until(lambda: client.bodies.get(stream) == b"xxxxx")
        await client.heard()
        assert len(client.heads[stream]) == 1 and stream not in client.ended
        client.send(h2.window_update(stream, size), h2.window_update(0, size))
        response = await client.response(stream)
    assert len(response.body) == size and response.trailers == [("x-sum", "1")]


async def test_trailers_of_several_frames() -> None:
    fields = [(b"x-%d" % number, b"v" * 1000) for number in range(40)]
    app = sending(start(), body(), trailers(*fields))
    async with serving(app, http2=True, lifespan="off") as server, connect_http2(server) as client:
        response = await client.response(client.ask(TE))
        assert (await client.get()).status == 200
    assert response.trailers == [(name.decode(), value.decode()) for name, value in fields]
    kinds = [one.kind for one in client.frames if one.stream == 1]
    assert kinds == [h2.HEADERS, h2.HEADERS, h2.CONTINUATION, h2.CONTINUATION]
