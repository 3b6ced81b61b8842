"""Requests over HTTP/2, through a server, an application and a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest

import http2 as h2
from applications import Receive, Scope, Send, echo, respond, responding
from http2_client import connect_http2
from servers import LoopFactory, WatchedServer, serving
from uvicorn.errors import ClientDisconnected
from uvicorn.process.drainmode import DrainMode

MEBIBYTE = b"0123456789abcdef" * 65536


def over_http2(app: Callable[..., object], **settings: Any) -> contextlib.AbstractAsyncContextManager[WatchedServer]:
    return serving(app, http2=True, lifespan="off", **settings)


async def test_a_request_and_its_scope(loop_factory: LoopFactory) -> None:
    scopes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await respond(send, b"hello", 201, [(b"X-Test", b" 1 "), (b"Connection", b"close")])

    async with over_http2(app, root_path="/api") as server, connect_http2(server) as client:
        response = await client.get(b"/a%20b?c", (b"cookie", b"a=1"), (b"x-a", b"2"), (b"cookie", b"b=2"))
    assert (response.status, response.body) == (201, b"hello")
    names = [name for name, _ in response.headers]
    assert names == ["date", "server", "x-test", "content-length"]
    assert dict(response.headers)["x-test"] == "1"
    (scope,) = scopes
    assert scope["type"] == "http" and scope["http_version"] == "2" and scope["method"] == "GET"
    assert scope["path"] == "/api/a b" and scope["raw_path"] == b"/api/a%20b" and scope["query_string"] == b"c"
    assert scope["headers"] == [(b"host", b"a.test"), (b"cookie", b"a=1; b=2"), (b"x-a", b"2")]
    assert scope["scheme"] == "http" and scope["client"][0] == "127.0.0.1"


async def test_many_at_once(loop_factory: LoopFactory) -> None:
    both = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            await both.wait()
        both.set()
        await respond(send, scope["path"].encode())

    async with over_http2(app) as server, connect_http2(server) as client:
        first, second = client.ask(path=b"/first"), client.ask(path=b"/second")
        assert (await client.response(second)).body == b"/second"
        assert (await client.response(first)).body == b"/first"


@pytest.mark.parametrize("window", [1000, 65_535, 1 << 20])
async def test_a_mebibyte_each_way(loop_factory: LoopFactory, window: int) -> None:
    async with over_http2(echo) as server, connect_http2(server, [(h2.INITIAL_WINDOW_SIZE, window)]) as client:
        stream = client.next_stream()
        client.send(h2.post(stream))
        await client.until(lambda: client.frames)  # its settings, and with them its windows
        sent = 0

        def room() -> int:
            updates = [one for one in client.frames if one.kind == h2.WINDOW_UPDATE]
            connection = 65_535 + sum(one.number for one in updates if one.stream == 0)
            own = (1 << 18) + sum(one.number for one in updates if one.stream == stream)
            return min(16_384, connection - sent, own - sent, len(MEBIBYTE) - sent)

        while sent < len(MEBIBYTE):
            await client.until(lambda: room() > 0, "room for more")
            size = room()
            last = sent + size == len(MEBIBYTE)
            client.send(h2.data(stream, MEBIBYTE[sent : sent + size], h2.END_STREAM if last else 0))
            sent += size
        assert (await client.response(stream)).body == MEBIBYTE


async def test_an_upload_that_nobody_reads_stops(loop_factory: LoopFactory) -> None:
    """And does not stop the others."""
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await release.wait()
        await respond(send, b"ok")

    async with over_http2(app, http2_stream_window=70_000) as server, connect_http2(server) as client:
        stream = client.next_stream()
        client.send(h2.post(stream), *[h2.data(stream, b"x" * 10_000)] * 7)
        await client.heard()
        assert not [one for one in client.frames if one.kind == h2.WINDOW_UPDATE and one.stream == stream]
        assert (await client.get()).body == b"ok"
        client.send(h2.data(stream, b"x" * 1))
        await client.until(lambda: stream in client.resets)
        assert client.resets[stream] == h2.FLOW_CONTROL_ERROR
        release.set()


async def test_a_slow_reader_holds_up_its_own_stream_alone(loop_factory: LoopFactory) -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/quick":
            await respond(send, b"quick")
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while len(sent) < 100:
            await send({"type": "http.response.body", "body": b"x" * 20_000, "more_body": True})
            sent.append(1)
        await send({"type": "http.response.body"})

    async with over_http2(app) as server, connect_http2(server, [(h2.INITIAL_WINDOW_SIZE, 30_000)]) as client:
        client.credits = False
        slow = client.ask(path=b"/slow")
        await client.until(lambda: len(client.bodies.get(slow, b"")) == 30_000)
        assert (await client.get(b"/quick")).body == b"quick"
        assert len(sent) < 10
        client.credits = True
        client.send(h2.window_update(0, 1 << 24), h2.window_update(slow, 1 << 24))
        assert len((await client.response(slow)).body) == 2_000_000


@pytest.mark.parametrize(
    ("method", "status", "headers", "body", "expected"),
    [
        (b"HEAD", 200, [(b"content-length", b"5")], b"hello", (200, "5", b"")),
        (b"HEAD", 200, [], b"hello", (200, "5", b"")),
        (b"GET", 204, [(b"content-length", b"5")], b"", (204, None, b"")),
        (b"GET", 304, [(b"content-length", b"5")], b"hello", (304, "5", b"")),
        (b"GET", 205, [], b"hello", (205, "0", b"")),
        (b"GET", 200, [], b"", (200, "0", b"")),
        (b"GET", 404, [], b"no", (404, "2", b"no")),
        (b"GET", 200, [(b"transfer-encoding", b"chunked")], b"x", (200, "1", b"x")),
    ],
)
async def test_bodies_and_lengths(
    method: bytes, status: int, headers: h2.Field, body: bytes, expected: tuple[int, str | None, bytes]
) -> None:
    async with over_http2(responding(body, status, headers)) as server, connect_http2(server) as client:  # type: ignore[arg-type]
        response = await client.response(client.ask(method=method))
        assert (response.status, dict(response.headers).get("content-length"), response.body) == expected


async def test_interim_responses(loop_factory: LoopFactory) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["extensions"]["http.response.early_hint"] == {}
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        message = await receive()
        await respond(send, message["body"])

    async with over_http2(app) as server, connect_http2(server) as client:
        stream = client.next_stream()
        client.send(h2.post(stream, (b"expect", b"100-continue")))
        await client.until(lambda: len(client.heads.get(stream, [])) == 2)
        assert [head[0][1] for head in client.heads[stream]] == ["103", "100"]
        client.send(h2.data(stream, b"body", h2.END_STREAM))
        assert (await client.response(stream)).body == b"body"


@pytest.mark.parametrize("after", ["nothing", "start", "a part", "too little"])
async def test_an_application_that_fails(
    after: str, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its response a 500; behind a part of it a reset; never the end of a whole response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/other":
            await respond(send, b"ok")
            return
        if after != "nothing":
            headers = [(b"content-length", b"10")] if after == "too little" else []
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        if after in ("a part", "too little"):
            await send({"type": "http.response.body", "body": b"part", "more_body": after == "a part"})
        if after != "too little":
            raise RuntimeError("broken")

    async with over_http2(app) as server, connect_http2(server) as client:
        stream = client.ask()
        if after in ("nothing", "start"):
            response = await client.response(stream)
            assert (response.status, response.body) == (500, b"Internal Server Error")
        else:
            await client.until(lambda: stream in client.resets)
            assert client.resets == {stream: h2.INTERNAL_ERROR} and stream not in client.ended
        assert (await client.get(b"/other")).body == b"ok"
    logged = caplog.text
    assert ("broken" in logged) == (after != "too little")


async def test_too_much_is_an_error_of_the_application() -> None:
    caught = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        with pytest.raises(RuntimeError) as error:
            await send({"type": "http.response.body", "body": b"two"})
        caught.append(str(error.value))
        await send({"type": "http.response.body", "body": b"1"})

    async with over_http2(app) as server, connect_http2(server) as client:
        stream = client.ask()
        await client.until(lambda: stream in client.ended or stream in client.resets)
    assert caught == ["Response content longer than Content-Length"]


async def test_who_leaves_is_told_to_the_application(loop_factory: LoopFactory) -> None:
    told: list[object] = []
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/other":
            await respond(send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await receive()
        told.append((await receive())["type"])
        try:
            await send({"type": "http.response.body", "body": b"more"})
        except ClientDisconnected:
            told.append("raised")
        done.set()

    async with over_http2(app) as server, connect_http2(server) as client:
        stream = client.ask()
        await client.until(lambda: client.bodies.get(stream))
        client.send(h2.rst_stream(stream))
        await asyncio.wait_for(done.wait(), 60)
        assert told == ["http.disconnect", "raised"]
        assert (await client.get(b"/other")).status == 200


async def test_what_is_reset_in_the_same_read_never_runs() -> None:
    ran = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append(scope["path"])
        await respond(send)

    async with over_http2(app) as server, connect_http2(server) as client:
        client.send(
            b"".join(h2.get(number, path=b"/%d" % number) + h2.rst_stream(number) for number in range(1, 101, 2))
        )
        client.send(h2.get(101, path=b"/last"))
        await client.response(101)
    assert ran == ["/last"]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_above_its_limit(announced: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await respond(send, b"ok")

    async with over_http2(app, limit_request_body=10) as server, connect_http2(server) as client:
        stream = client.next_stream()
        more = ((b"content-length", b"20"),) if announced else ()
        client.send(h2.post(stream, *more), h2.data(stream, b"x" * 20))
        response = await client.response(stream)
        assert response.status == 413
        await client.until(lambda: stream in client.resets)
        assert client.resets == {stream: h2.NO_ERROR}
        assert (await client.response(client.ask(method=b"POST", body=b"x"))).body == b"ok"


@pytest.mark.parametrize(
    ("limit", "status"), [("limit_request_line", 414), ("limit_request_headers", 431), ("limit_request_fields", 431)]
)
async def test_limits_of_a_head(limit: str, status: int) -> None:
    size = 3 if limit == "limit_request_fields" else 512
    async with over_http2(responding(b"ok"), **{limit: size}) as server, connect_http2(server) as client:
        path = b"/" + b"a" * (600 if status == 414 else 0)
        more = [(b"x-%d" % number, b"v" * 200) for number in range(4)] if status == 431 else []
        assert (await client.get(path, *more)).status == status
        assert (await client.get()).status == 200


async def test_above_the_concurrency_limit_requests_wait() -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/held":
            await release.wait()
        await respond(send, b"ok")

    settings = {"limit_concurrency": 1, "limit_queue": 1}
    async with over_http2(app, **settings) as server, connect_http2(server) as client:
        held, waits, refused = client.ask(path=b"/held"), client.ask(), client.ask()
        response = await client.response(refused)
        assert (response.status, dict(response.headers)["retry-after"]) == (503, "1")
        release.set()
        assert (await client.response(held)).status == (await client.response(waits)).status == 200


async def test_what_an_application_does_after_its_answer_takes_no_place() -> None:
    """A background task is no part of the request: a client that keeps to the limit is not refused for it."""
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"ok")
        await release.wait()

    async with over_http2(app, http2_max_concurrent_streams=2) as server, connect_http2(server) as client:
        for _ in range(5):
            assert (await client.get()).status == 200
        release.set()


async def test_what_a_client_has_reset_takes_its_place_until_the_application_returns() -> None:
    """Rapid reset (CVE-2023-44487), by a client whose requests were running."""
    release, began = asyncio.Event(), asyncio.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        began.release()
        await release.wait()

    async with over_http2(app, http2_max_concurrent_streams=2) as server, connect_http2(server) as client:
        for _ in range(2):
            stream = client.ask()
            await began.acquire()
            client.send(h2.rst_stream(stream))
        refused = client.ask()
        await client.heard()
        assert client.resets == {refused: h2.REFUSED_STREAM}
        release.set()


@pytest.mark.parametrize("status", [413, 500, 503])
async def test_answers_of_ours_to_grpc_have_no_body(status: int) -> None:
    """Their clients map the status of a response that ends with its head."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/held":
            await receive()
        if status == 413:
            await receive()
        raise RuntimeError("broken")

    limits = {413: {"limit_request_body": 10}, 500: {}, 503: {"limit_concurrency": 1, "limit_queue": 0}}[status]
    async with over_http2(app, **limits) as server, connect_http2(server) as client:
        if status == 503:
            held = client.next_stream()
            client.send(h2.headers(held, h2.request_fields(method=b"POST", path=b"/held"), h2.END_HEADERS))
        stream = client.next_stream()
        client.send(h2.post(stream, (b"content-type", b"application/grpc+proto"), (b"te", b"trailers")))
        client.send(h2.data(stream, b"x" * 20))
        response = await client.response(stream)
        assert (response.status, response.body) == (status, b"")
        first, *more = [one.kind for one in client.frames if one.stream == stream and one.kind != h2.RST_STREAM]
        assert first == h2.HEADERS and not more


async def test_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    async with over_http2(responding(b"ok", 404)) as server, connect_http2(server) as client:
        await client.get(b"/a?b=%22")
    lines = [record.getMessage().split(" - ")[1] for record in caplog.records if record.name == "uvicorn.access"]
    assert lines == ['"GET /a?b=%22 HTTP/2" 404']


# -- beginnings and ends ---------------------------------------------------------------------------------------


async def test_http_1_on_the_same_port(loop_factory: LoopFactory) -> None:
    async with over_http2(responding(b"ok")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAAA\r\n\r\n"
        )
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        await writer.wait_closed()


async def test_without_the_option_it_is_refused() -> None:
    async with serving(responding(b"ok"), lifespan="off") as server, connect_http2(server) as client:
        await client.until(lambda: client.reader.at_eof() or client._rest)
        assert client._rest.startswith(b"HTTP/1.1 505")


async def test_a_preface_behind_a_request_is_refused() -> None:
    """HTTP/2 begins with a connection, or never."""
    async with over_http2(responding(b"ok")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + h2.hello())
        answers = await reader.read()
        assert answers.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 505" in answers
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("mode", list(DrainMode))
async def test_a_drain_finishes_what_was_begun(mode: DrainMode, loop_factory: LoopFactory) -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"be", "more_body": True})
        if mode is not DrainMode.CUT:
            await release.wait()
        await send({"type": "http.response.body", "body": b"gun"})

    async with over_http2(app) as server, connect_http2(server) as client, connect_http2(server) as idle:
        server.drain_as = (mode, 20.0)
        await idle.heard()
        stream = client.ask()
        await client.until(lambda: client.bodies.get(stream))
        server.should_exit = True
        await client.until(lambda: len(client.goaways) == 2)
        assert client.goaways == [(2**31 - 1, 0), (stream, 0)]
        late = client.ask()
        if mode is not DrainMode.CUT:
            await client.until(lambda: late in client.resets)
            assert client.resets[late] == h2.REFUSED_STREAM
        release.set()
        assert (await client.response(stream)).body == b"begun"
        await client.until_closed()
        await idle.until_closed()
        assert idle.goaways == [(2**31 - 1, 0), (0, 0)]


async def test_an_idle_connection_is_sent_away(loop_factory: LoopFactory) -> None:
    """By GOAWAY, and a request that was on its way is served."""
    async with over_http2(responding(b"ok"), timeout_keep_alive=0) as server, connect_http2(server) as client:
        await client.get()
        client.answers = False
        await client.until(lambda: client.goaways)
        stream = client.ask()
        assert (await client.response(stream)).body == b"ok"
        await client.until_closed()
        assert client.goaways == [(2**31 - 1, 0), (stream, 0)]


async def test_who_says_nothing_is_sent_away() -> None:
    async with over_http2(responding(b"ok"), timeout_request_header=0.1) as server:
        async with connect_http2(server, preface=h2.PREFACE) as client:
            client.answers = False
            await client.until_closed()
            assert client.goaways == [(0, h2.SETTINGS_TIMEOUT)]
        async with connect_http2(server) as client:
            client.answers = False
            client.send(h2.frame(h2.HEADERS, 0, 1, b"\x82"))
            await client.until_closed()
            assert client.goaways[-1][1] == h2.SETTINGS_TIMEOUT


async def test_a_body_that_does_not_come() -> None:
    async with over_http2(echo, timeout_request_body=0.1) as server, connect_http2(server) as client:
        stream = client.next_stream()
        client.send(h2.post(stream))
        await client.until(lambda: stream in client.resets)
        assert client.resets[stream] == h2.CANCEL  # its response has begun
        assert (await client.response(client.ask(method=b"POST", body=b"x"))).body == b"x"


async def test_a_window_that_stays_shut() -> None:
    async with (
        over_http2(responding(b"hello"), timeout_write=0.1) as server,
        connect_http2(server, [(h2.INITIAL_WINDOW_SIZE, 0)]) as client,
    ):
        stream = client.ask()
        await client.until(lambda: stream in client.resets)
        assert client.resets[stream] == h2.CANCEL
        await client.heard()


async def test_what_a_peer_does_wrong_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with over_http2(responding(b"ok")) as server, connect_http2(server) as client:
        client.send(h2.headers(1, h2.request_fields((b"X", b"1"))), h2.frame(h2.PING, 0, 0, b"x"))
        await client.until_closed()
    lines = [record.getMessage() for record in caplog.records if "Invalid" in record.getMessage()]
    assert [line.split(" - ")[1] for line in lines] == [
        "'pseudo-header field after a regular field, or a forbidden field' (stream 1, PROTOCOL_ERROR, HTTP/2)",
        "'PING with a wrong length' (FRAME_SIZE_ERROR, HTTP/2)",
    ]
