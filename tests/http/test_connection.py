"""One connection on a fake transport, for every codec: order, persistence, flow control, faults, time."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Generator
from typing import Any

import pytest

from applications import App, Headers, Message, Receive, Scope, Send, responding
from http_peers import START, ConnectionClass, Gate, Peer, Recorder, body
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.http.exchange import HIGH_WATER
from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.connection import DISCARD_LIMIT, SPARED, TURN
from uvicorn.worker.http1.deadlines import LINGER


def get(path: str = "/", *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/{version}", "Host: a", *lines, "", "")).encode()


def post(body: bytes, *lines: str, path: str = "/") -> bytes:
    return get(path, f"Content-Length: {len(body)}", *lines, method="POST") + body


CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")


HEADER_DEADLINE = PeerLimits().header_time


# -- keep-alive and order --------------------------------------------------------------------------------------


async def test_one_request_after_the_other(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    for count in range(1, 4):
        peer.send(get())
        assert len(await peer.answered(count=count)) == count
    assert not peer.transport.closed
    assert peer.state.total_requests == 3
    assert all("connection" not in response.headers for response in peer.responses())


async def test_connection_close_closes(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(get("/", "Connection: close") + get())
    await peer.closed()
    (response,) = peer.responses()
    assert response.headers["connection"] == "close"
    assert peer.state.connections == set()


async def test_the_application_may_close(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok", headers=[(b"Connection", b"close")]))
    peer.send(get() + get())
    await peer.closed()
    assert len(peer.responses()) == 1


async def test_http_1_0_closes(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(get(version="1.0"))
    await peer.closed()
    assert peer.responses()[0].headers["connection"] == "close"


async def test_http_1_0_with_keep_alive_goes_on(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    for count in (1, 2):
        peer.send(get("/", "Connection: keep-alive", version="1.0"))
        assert (await peer.answered(count=count))[-1].headers["connection"] == "keep-alive"


async def test_http_1_0_gets_no_chunks(connection_class: ConnectionClass) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(body(b"a", more=True))
        await send(body(b"b"))

    peer = Peer(connection_class, app)
    peer.send(get("/", "Connection: keep-alive", version="1.0"))
    await peer.closed()
    (response,) = peer.responses()
    assert (response.body, response.headers) == (b"ab", {"connection": "close"})


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(b"".join(get(f"/{number}") for number in range(4)))
    for number in (3, 2, 1, 0):  # the last is ready first
        await peer.turns()
        assert gate.started == ["/0"] and peer.transport.output == b""
        gate.event(f"/{number}").set()
    responses = await peer.answered(count=4)
    assert [response.body for response in responses] == [b"/0", b"/1", b"/2", b"/3"]
    assert gate.most == 1


async def test_the_next_application_is_not_begun_inside_the_send_of_the_one_before(
    connection_class: ConnectionClass,
) -> None:
    events: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        events.append("begin")
        await asyncio.sleep(0)
        await send(dict(START))
        await send(body(b"x"))
        events.append("end")

    peer = Peer(connection_class, app)
    peer.send(get() * 3)
    await peer.answered(count=3)
    await peer.until(lambda: peer.state.in_flight == 0)
    assert events == ["begin", "end"] * 3


async def test_a_hundred_pipelined_requests_in_one_chunk(connection_class: ConnectionClass) -> None:
    """They must not nest one application in the other; neither when these answer at once nor when they wait."""
    depths: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        frame: Any = sys._getframe()
        depth = 0
        while frame is not None:
            depth, frame = depth + 1, frame.f_back
        depths.append(depth)
        if scope["path"] == "/wait":
            await asyncio.sleep(0)
        await send(dict(START))
        await send(body(b"x"))

    for path in ("/", "/wait"):
        depths.clear()
        peer = Peer(connection_class, app)
        peer.send(get(path) * 100)
        assert len(await peer.answered(count=100)) == 100
        assert max(depths) - min(depths) < 10


async def test_a_request_behind_a_body_nobody_reads(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(post(b"x" * 1000) + get())
    assert len(await peer.answered(count=2)) == 2


async def test_a_request_behind_a_body_that_arrives_after_the_response(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    data = post(b"x" * 1000) + get()
    peer.send(data[:500])
    assert len(await peer.answered()) == 1
    peer.send(data[500:])
    assert len(await peer.answered(count=2)) == 2
    assert not peer.transport.closed


async def test_an_unread_body_that_is_too_large_closes(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(get("/", f"Content-Length: {DISCARD_LIMIT * 2}", method="POST"))
    await peer.answered()
    sent = 0
    while not peer.transport.half_closed:
        assert sent <= DISCARD_LIMIT + 60000
        peer.send(b"x" * 60000)
        sent += 60000
    peer.connection.sweep(peer.state.now + LINGER + 1, 5)
    await peer.closed()


async def test_an_upgrade_nobody_serves_is_ignored(connection_class: ConnectionClass, recorder: Recorder) -> None:
    peer = Peer(connection_class, recorder)
    peer.send(post(b"body", "Connection: Upgrade", "Upgrade: h2c") + get())
    assert [response.body for response in await peer.answered(count=2)] == [b"body", b""]
    assert "upgrade" not in peer.responses()[0].headers


# -- bodies ----------------------------------------------------------------------------------------------------


async def test_chunks_both_ways(connection_class: ConnectionClass) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(body(message["body"].upper(), more=more))

    peer = Peer(connection_class, app)
    peer.send(CHUNKED)
    for word in (b"one", b"two"):
        peer.send(b"3\r\n%b\r\n" % word)
        await peer.output(b"3\r\n%b\r\n" % word.upper())
    peer.send(b"0\r\n\r\n")
    (response,) = await peer.answered()
    assert (response.body, response.headers["transfer-encoding"]) == (b"ONETWO", "chunked")


async def test_reading_pauses_above_the_high_water_mark_and_resumes(connection_class: ConnectionClass) -> None:
    go, sizes = asyncio.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        more = True
        while more:
            message = await receive()
            sizes.append(len(message["body"]))
            more = message["more_body"]
        await send(dict(START))
        await send(body())

    peer = Peer(connection_class, app)
    peer.send(get("/", f"Content-Length: {HIGH_WATER + 10}", method="POST"))
    peer.send(b"x" * (HIGH_WATER - 1))
    assert peer.transport.is_reading()
    peer.send(b"x")
    assert not peer.transport.is_reading()
    go.set()
    await peer.until(lambda: peer.transport.reading)
    peer.send(b"x" * 10)
    await peer.answered()
    assert (sum(sizes), sizes[0]) == (HIGH_WATER + 10, HIGH_WATER)


async def test_reading_resumes_when_the_response_is_done_without_the_body(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(get("/a", f"Content-Length: {HIGH_WATER + 10}", method="POST") + b"x" * HIGH_WATER)
    assert not peer.transport.reading
    gate.event("/a").set()
    await peer.answered()
    await peer.until(lambda: peer.transport.reading)
    gate.event("/b").set()
    peer.send(b"x" * 10 + get("/b"))
    assert [response.body for response in await peer.answered(count=2)] == [b"/a", b"/b"]


async def test_pipelined_bytes_wait_with_a_bound(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(get("/0"))
    while peer.transport.reading:
        peer.send(get("/0") * 100)
        assert len(peer.connection.reader.pending) < HIGH_WATER + 100 * len(get("/0"))
    gate.event("/0").set()
    await peer.until(lambda: peer.transport.reading)
    assert gate.most == 1


async def test_a_body_is_read_although_pipelining_had_paused_reading(connection_class: ConnectionClass) -> None:
    """The head of an upload was the last thing behind many requests; its body must not wait for ever."""
    gate, bodies = Gate(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            bodies.append((await receive())["body"])
        await gate(scope, receive, send)

    peer = Peer(connection_class, app)
    peer.send(get("/0"))
    many = HIGH_WATER // len(get("/0")) + 1
    peer.send(get("/0") * many + get("/1", "Content-Length: 3", method="POST"))
    assert not peer.transport.reading
    gate.event("/0").set()
    gate.event("/1").set()
    await peer.until(lambda: peer.transport.reading)
    peer.send(b"abc")
    await peer.until(lambda: bodies == [b"abc"])
    assert len(await peer.answered(count=many + 2)) == many + 2


async def test_send_waits_while_the_peer_does_not_read(connection_class: ConnectionClass) -> None:
    progress: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        for number in range(3):
            await send(body(b"x", more=True))
            progress.append(number)
        await send(body())

    peer = Peer(connection_class, app)
    peer.transport.clogged = True
    peer.send(get())
    await peer.turns()
    assert progress == []
    peer.transport.unclog()
    await peer.answered()
    assert progress == [0, 1, 2]


async def test_the_application_ends_although_the_peer_does_not_read(connection_class: ConnectionClass) -> None:
    """The last part waits in the transport, not in the application."""
    peer = Peer(connection_class, responding(b"x" * 100000))
    peer.transport.clogged = True
    peer.send(get())
    await peer.turns()
    assert (peer.state.in_flight, peer.state.tasks) == (0, set())


async def test_no_further_request_is_begun_while_the_peer_does_not_read(connection_class: ConnectionClass) -> None:
    """Or pipelining would fill our memory with responses nobody takes."""
    peer = Peer(connection_class, responding(b"x" * 50000))
    peer.transport.clogged = True
    peer.send(get() * 50)
    await peer.turns()
    assert peer.state.total_requests == 1 and not peer.transport.reading
    peer.transport.unclog()
    assert len(await peer.answered(count=50)) == 50
    assert peer.transport.reading


async def test_a_half_closed_peer_that_does_not_read_gets_all_its_answers(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(get("/0") + get("/1"))
    peer.send_eof()
    peer.transport.clogged = True
    gate.event("/0").set()
    gate.event("/1").set()
    await peer.until(lambda: not peer.connection.writable)
    await peer.turns()
    assert not peer.transport.closed
    peer.transport.unclog()
    await peer.closed()
    assert [response.body for response in peer.responses()] == [b"/0", b"/1"]


# -- Expect: 100-continue --------------------------------------------------------------------------------------

EXPECT = get("/", "Content-Length: 2", "Expect: 100-continue", method="POST")


async def test_100_when_the_body_is_asked_for(connection_class: ConnectionClass, recorder: Recorder) -> None:
    peer = Peer(connection_class, recorder)
    peer.send(EXPECT)
    await peer.output(b"HTTP/1.1 100 Continue\r\n\r\n")
    peer.send(b"ab")
    responses = await peer.answered(count=2)
    assert [response.status for response in responses] == [100, 200]
    assert responses[1].body == b"ab" and not peer.transport.closed


async def test_no_100_when_nobody_asks_and_the_connection_ends(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok", status=403))
    peer.send(EXPECT)
    await peer.until(lambda: peer.transport.half_closed)
    (response,) = peer.responses()
    assert (response.status, response.headers["connection"]) == (403, "close")
    peer.send(b"ab" + get())
    peer.send_eof()
    await peer.closed()
    assert len(peer.responses()) == 1


async def test_no_100_after_a_final_status(connection_class: ConnectionClass) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(body(b"x", more=True))
        message = await receive()
        await send(body(message.get("body", b"")))

    peer = Peer(connection_class, app)
    peer.send(EXPECT)
    await peer.output(b"1\r\nx\r\n")
    peer.send(b"ab")
    (response,) = await peer.answered()
    assert (response.status, response.body) == (200, b"xab")


async def test_no_100_when_the_body_came_anyway(connection_class: ConnectionClass, recorder: Recorder) -> None:
    peer = Peer(connection_class, recorder)
    peer.send(EXPECT + b"ab" + get())
    assert [response.status for response in await peer.answered(count=2)] == [200, 200]


# -- the scope -------------------------------------------------------------------------------------------------


async def test_the_whole_scope(connection_class: ConnectionClass, recorder: Recorder) -> None:
    peer = Peer(connection_class, recorder, app_state={"db": 1})
    peer.send(get("/a%20b?c=%20", "X-A: 1"))
    await peer.answered()
    ((scope, _),) = recorder.seen
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "server": ("192.0.2.2", 80),
        "client": ("192.0.2.1", 1234),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=%20",
        "headers": [(b"host", b"a"), (b"x-a", b"1")],
        "extensions": {"http.response.early_hint": {}},
        "state": {"db": 1},
    }


async def test_root_path_is_part_of_the_path(connection_class: ConnectionClass, recorder: Recorder) -> None:
    peer = Peer(connection_class, recorder, root_path="/api")
    peer.send(get("/x%2Fy"))
    await peer.answered()
    scope = recorder.seen[0][0]
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/x/y", b"/api/x%2Fy")


async def test_an_absolute_target(connection_class: ConnectionClass, recorder: Recorder) -> None:
    peer = Peer(connection_class, recorder)
    peer.send(get("http://b:8/p?q"))
    await peer.answered()
    scope = recorder.seen[0][0]
    assert (scope["path"], scope["query_string"], scope["headers"]) == ("/p", b"q", [(b"host", b"b:8")])


async def test_each_request_has_a_scope_of_its_own(connection_class: ConnectionClass, recorder: Recorder) -> None:
    """Applications change what they are given."""
    shared: dict[str, list[object]] = {"shared": []}
    peer = Peer(connection_class, recorder, app_state=shared)
    peer.send(get() + get())
    await peer.answered(count=2)
    (first, _), (second, _) = recorder.seen
    assert first["headers"] is not second["headers"] and first["asgi"] is not second["asgi"]
    assert first["state"] is not second["state"] and first["state"]["shared"] is second["state"]["shared"]


@pytest.mark.parametrize(
    ("names", "client", "server"),
    [
        ({"peername": ("::1", 5, 0, 0), "sockname": ("::1", 80, 0, 0)}, ("::1", 5), ("::1", 80)),
        ({"peername": "", "sockname": "/run/x.sock"}, None, ("/run/x.sock", None)),
        ({"peername": b"", "sockname": "/run/x.sock"}, None, ("/run/x.sock", None)),
        ({"peername": None, "sockname": None}, None, None),
    ],
)
async def test_addresses(
    connection_class: ConnectionClass, recorder: Recorder, names: dict[str, Any], client: object, server: object
) -> None:
    peer = Peer(connection_class, recorder, **names)
    peer.send(get())
    await peer.answered()
    scope = recorder.seen[0][0]
    assert (scope["client"], scope["server"]) == (client, server)


# -- responses -------------------------------------------------------------------------------------------------


async def test_head(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"hello"))
    peer.send(get(method="HEAD") + get())
    first, second = await peer.answered("HEAD", "GET", count=2)
    assert (first.headers["content-length"], first.body, second.body) == ("5", b"", b"hello")


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body(connection_class: ConnectionClass, status: int) -> None:
    peer = Peer(connection_class, responding(b"hello", status=status))
    peer.send(get() + get())
    responses = await peer.answered(count=2)
    assert [response.status for response in responses] == [status, status]
    assert peer.transport.output.count(b"hello") == 0


async def test_default_fields_are_sent_unless_the_application_has_its_own(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok", headers=[(b"Server", b"mine")]))
    peer.state.default_headers = [(b"date", b"now"), (b"server", b"uvicorn")]
    peer.send(get())
    (response,) = await peer.answered()
    assert (response.headers["date"], response.headers["server"]) == ("now", "mine")


async def test_content_shorter_than_announced_closes(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer(connection_class, responding(b"ab", headers=[(b"content-length", b"3")]))
    peer.send(get() + get())
    await peer.closed()
    assert peer.transport.output.endswith(b"\r\n\r\nab")
    assert "shorter than Content-Length" in caplog.text


async def test_content_longer_than_announced_is_a_500(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer(connection_class, responding(b"abcd", headers=[(b"content-length", b"3")]))
    peer.send(get())
    await peer.closed()
    (response,) = peer.responses()
    assert response.status == 500
    assert "RuntimeError: Response content longer than Content-Length" in caplog.text
    assert "shorter than" not in caplog.text


@pytest.mark.parametrize("parts", [(b"abcd",), (b"ab", b"cd")])
async def test_an_application_may_do_better_after_content_that_was_too_long(
    connection_class: ConnectionClass, parts: tuple[bytes, ...]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"content-length", b"3")]})
        for part in parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        with pytest.raises(RuntimeError, match="longer"):
            await send({"type": "http.response.body", "body": parts[-1]})
        await send({"type": "http.response.body", "body": b"abc"[sum(map(len, parts[:-1])) :]})

    peer = Peer(connection_class, app)
    peer.send(get() + get())
    assert [response.body for response in await peer.answered(count=2)] == [b"abc", b"abc"]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"a\r\nb: c")],
        [(b"a b", b"c")],
        [("x", None)],
        [(b"x", "é")],
        [(b"content-length", b"x")],
        [(b"transfer-encoding", b"gzip")],
    ],
)
async def test_bad_response_headers_are_a_500(
    connection_class: ConnectionClass, headers: Headers, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer(connection_class, responding(b"ok", headers=headers))
    peer.send(get() + get())
    await peer.closed()
    (response,) = peer.responses()
    assert (response.status, response.body, response.headers["connection"]) == (500, b"Internal Server Error", "close")
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")]])
@pytest.mark.parametrize("more", [False, True])
async def test_a_205_has_nothing_and_says_so(connection_class: ConnectionClass, headers: Headers, more: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 205, "headers": headers})
        await send(body(b"hello", more=more))
        if more:
            await send(body(b"hello"))

    peer = Peer(connection_class, app)
    peer.send(get() + get())
    responses = await peer.answered(count=2)
    assert [(response.headers["content-length"], response.body) for response in responses] == [("0", b"")] * 2


async def test_connect_is_told_what_else_there_is(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.until(lambda: peer.transport.half_closed)
    (response,) = peer.responses()
    assert response.status == 405 and response.headers["allow"].startswith("GET, HEAD, POST")
    peer.drop()


# -- early hints -----------------------------------------------------------------------------------------------

HINT = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload; as=style", b"</b.js>; rel=preload"]}


async def test_early_hints_leave_at_once(connection_class: ConnectionClass, recorder: Recorder) -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["extensions"] == {"http.response.early_hint": {}}
        await send(dict(HINT))
        await go.wait()
        await send({"type": "http.response.early_hint", "links": iter([b"</c>"])})
        await recorder(scope, receive, send)

    peer = Peer(connection_class, app)
    peer.send(post(b"abc", "Expect: 100-continue") + get())
    await peer.output(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload; as=style\r\nlink: </b.js>; rel=preload\r\n\r\n"
    )
    go.set()
    output = await peer.output(b"200 OK", count=2)
    assert output.count(b"103 Early Hints\r\n") == 4
    assert not peer.transport.closed


@pytest.mark.parametrize("link", [b"a\r\nx: y", b"a\0", "text", 5])
async def test_a_bad_link_is_told_to_the_application(connection_class: ConnectionClass, link: object) -> None:
    raised: list[Exception] = []
    answer = responding(b"ok")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.early_hint", "links": [link]})
        except (ValueError, TypeError) as exc:
            raised.append(exc)
        await answer(scope, receive, send)

    peer = Peer(connection_class, app)
    peer.send(get())
    (response,) = await peer.answered()
    assert (response.status, len(raised)) == (200, 1)


async def test_no_early_hints_where_they_do_not_work(connection_class: ConnectionClass) -> None:
    """HTTP/1.0 knows no 1xx, and after the start it is too late."""
    sentences: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["http_version"] == "1.1":
            await send(dict(START))
        else:
            assert scope["extensions"] == {}
        try:
            await send(dict(HINT))
        except RuntimeError as exc:
            sentences.append(str(exc))
        if scope["http_version"] == "1.0":
            await send(dict(START))
        await send(body())

    for version in ("1.1", "1.0"):
        peer = Peer(connection_class, app)
        peer.send(get(version=version))
        (response,) = await peer.answered()
        assert response.status == 200
    assert sentences == [
        "Expected ASGI message 'http.response.body', but got 'http.response.early_hint'.",
        "Expected ASGI message 'http.response.start', but got 'http.response.early_hint'.",
    ]


# -- the application's faults ----------------------------------------------------------------------------------


class Fault(Exception):
    pass


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "after a turn"])
async def test_an_exception_before_the_start_is_a_500(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, wait: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if wait:
            await asyncio.sleep(0)
        raise Fault("the reason")

    peer = Peer(connection_class, app)
    peer.send(get() + get())
    await peer.closed()
    (response,) = peer.responses()
    assert (response.status, response.headers["connection"]) == (500, "close")
    (record,) = [record for record in caplog.records if record.name == "uvicorn.error"]
    named = 'Exception in ASGI application\n192.0.2.1:1234 - "GET / HTTP/1.1"'  # as its access line begins
    assert (record.levelname, record.getMessage()) == ("ERROR", named)
    assert "Fault: the reason" in caplog.text
    assert (peer.state.in_flight, peer.state.tasks) == (0, set())


async def test_an_exception_after_start_but_before_the_body_is_a_500(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        raise Fault

    peer = Peer(connection_class, app)
    peer.send(get())
    await peer.closed()
    assert [response.status for response in peer.responses()] == [500]


async def test_an_exception_after_the_body_began_closes_without_a_second_head(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(body(b"part", more=True))
        raise Fault

    peer = Peer(connection_class, app)
    peer.send(get() + get())
    await peer.closed()
    assert peer.transport.output.endswith(b"4\r\npart\r\n") and peer.transport.output.count(b"HTTP/1.1") == 1
    assert "Exception in ASGI application" in caplog.text


async def test_an_exception_after_the_response_is_logged_only(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(body(b"ok"))
        raise Fault

    peer = Peer(connection_class, app)
    peer.send(get() + get())
    assert len(await peer.answered(count=2)) == 2
    await peer.turns()
    assert not peer.transport.closed
    assert caplog.text.count("Exception in ASGI application") == 2


async def test_an_exception_while_the_body_is_still_coming(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise Fault

    peer = Peer(connection_class, app)
    peer.send(get("/", "Content-Length: 100000", method="POST") + b"x" * 10)
    await peer.until(lambda: peer.transport.half_closed)
    assert [response.status for response in peer.responses()] == [500]
    peer.send(b"x" * 1000)  # it is listened to for a moment, so that it can read the answer
    assert not peer.transport.closed
    peer.connection.sweep(peer.state.now + LINGER + 0.1, 5)
    await peer.closed()


@pytest.mark.parametrize(
    ("messages", "sentence", "status"),
    [
        ([], "ASGI callable returned without starting response.", 500),
        ([START], "ASGI callable returned without completing response.", 500),
        ([START, body(b"x", more=True)], "ASGI callable returned without completing response.", 200),
    ],
)
async def test_an_application_that_returns_too_early(
    connection_class: ConnectionClass,
    caplog: pytest.LogCaptureFixture,
    messages: list[Message],
    sentence: str,
    status: int,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(dict(message))

    peer = Peer(connection_class, app)
    peer.send(get())
    await peer.closed()
    assert peer.transport.output.startswith(b"HTTP/1.1 %d " % status)
    assert peer.transport.output.count(b"HTTP/1.1") == 1
    assert sentence in [record.getMessage() for record in caplog.records]


async def test_an_application_that_returns_something(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    answer = responding(b"ok")

    async def app(scope: Scope, receive: Receive, send: Send) -> str:
        await answer(scope, receive, send)
        return "something"

    peer = Peer(connection_class, app)  # type: ignore[arg-type]  # that is its fault
    peer.send(get())
    await peer.until(lambda: peer.state.in_flight == 0)
    assert "ASGI callable should return None, but returned 'something'." in caplog.text


@pytest.mark.parametrize(
    "app",
    [lambda: None, lambda scope, receive, send: None, lambda scope, receive, send: 1 / 0, lambda *call: "text"],
    ids=["wrong arguments", "nothing to await", "raises at once", "a string"],
)
async def test_what_is_no_application(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, app: App
) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.config.loaded_app = app
    peer = Peer(connection_class, responding(b"ok"), config=peer.config)
    peer.send(get())
    await peer.closed()
    assert [response.status for response in peer.responses()] == [500]
    assert (peer.state.in_flight, peer.state.tasks) == (0, set())
    assert "Exception in ASGI application" in caplog.text


async def test_an_awaitable_that_is_no_coroutine(connection_class: ConnectionClass) -> None:
    class Awaitable:
        def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.call = (scope, receive, send)

        def __await__(self) -> Generator[Any, None, None]:
            return responding(b"ok")(*self.call).__await__()

    peer = Peer(connection_class, lambda scope, receive, send: Awaitable(scope, receive, send), interface="asgi3")
    peer.send(get())
    assert (await peer.answered())[0].body == b"ok"


async def test_wrong_order_is_told_to_the_application(connection_class: ConnectionClass) -> None:
    sentences: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (body(), dict(START), dict(START), body(), body()):
            try:
                await send(message)
            except RuntimeError as exc:
                sentences.append(str(exc))

    peer = Peer(connection_class, app)
    peer.send(get())
    await peer.answered()
    assert len(sentences) == 3 and not peer.transport.closed


# -- the peer's faults -----------------------------------------------------------------------------------------


async def test_a_refusal_is_one_answer_one_line_and_no_application(
    connection_class: ConnectionClass, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    peer = Peer(connection_class, recorder)
    peer.send(b"GET / HTTP/1.1\r\nHost : \x1b[31m\r\n\r\n" + get())
    await peer.until(lambda: peer.transport.half_closed)
    peer.send(get())
    peer.send_eof()
    await peer.closed()
    (response,) = peer.responses()
    assert (response.status, response.headers["connection"]) == (400, "close")
    assert recorder.seen == []
    (record,) = caplog.records
    assert (record.levelname, "\x1b" in caplog.text) == ("INFO", False)
    assert record.getMessage().startswith("Invalid HTTP request received. 192.0.2.1:1234 - '")
    assert "' (400): b'GET / HTTP/1.1\\r\\nHost : \\x1b[31m\\r\\n\\r\\nGET" in record.getMessage()


async def test_a_refusal_behind_a_good_request_waits_for_its_turn(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(get("/0") + b"nonsense\r\n\r\n")
    await peer.turns()
    assert peer.transport.output == b""
    gate.event("/0").set()
    await peer.until(lambda: peer.transport.half_closed)
    assert [response.status for response in peer.responses()] == [200, 400]
    peer.send_eof()
    await peer.closed()


async def test_a_broken_body_is_refused_while_the_application_waits_for_it(connection_class: ConnectionClass) -> None:
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        messages.append(await receive())
        messages.append(await receive())
        await send(dict(START))

    peer = Peer(connection_class, app)
    peer.send(CHUNKED + b"1\r\na\r\n")
    await peer.until(lambda: messages)
    peer.send(b"nonsense\r\n")
    await peer.until(lambda: len(messages) == 2 and peer.state.in_flight == 0)
    assert messages[1] == {"type": "http.disconnect"}
    assert [response.status for response in peer.responses()] == [400]
    assert peer.transport.half_closed
    peer.send_eof()
    await peer.closed()


async def test_a_broken_body_after_the_response_began_closes(connection_class: ConnectionClass) -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(body(b"x", more=True))
        await receive()
        try:
            await send(body(b"y"))
        except OSError as exc:
            raised.append(exc)
            raise

    peer = Peer(connection_class, app)
    peer.send(CHUNKED)
    await peer.output(b"1\r\nx\r\n")
    peer.send(b"nonsense\r\n")
    await peer.until(lambda: raised)
    assert peer.transport.output.count(b"HTTP/1.1") == 1 and peer.transport.half_closed
    peer.send_eof()
    await peer.closed()


async def test_a_broken_body_at_once_does_not_start_the_application(
    connection_class: ConnectionClass, recorder: Recorder
) -> None:
    peer = Peer(connection_class, recorder)
    peer.send(CHUNKED + b"nonsense\r\n")
    await peer.turns()
    assert [response.status for response in peer.responses()] == [400]
    assert (recorder.seen, peer.state.in_flight) == ([], 0)
    peer.send_eof()
    await peer.closed()


# -- the end of a connection -----------------------------------------------------------------------------------


async def test_receive_says_disconnect_when_the_peer_leaves(connection_class: ConnectionClass) -> None:
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        messages.append(await receive())
        messages.append(await receive())

    peer = Peer(connection_class, app)
    peer.send(get())
    await peer.turns()
    assert len(messages) == 1
    peer.drop()
    await peer.until(lambda: peer.state.in_flight == 0)
    assert messages[1] == {"type": "http.disconnect"}
    assert (peer.state.connections, peer.state.tasks) == (set(), set())


async def test_send_raises_when_the_peer_left_and_the_log_says_it_at_debug_only(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        try:
            while True:
                await send(body(b"x", more=True))
                await asyncio.sleep(0)
        except OSError as exc:
            raised.append(exc)
            raise

    peer = Peer(connection_class, app)
    peer.send(get())
    await peer.output(b"x\r\n", count=3)
    peer.drop()
    await peer.until(lambda: peer.state.in_flight == 0)
    assert [type(exc) for exc in raised] == [ClientDisconnected]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "The client left before the response was complete.")
    ]


async def test_another_oserror_of_the_application_is_its_fault(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        raise ConnectionError("the database's")

    peer = Peer(connection_class, app)
    peer.send(get())
    await peer.turns()
    peer.drop()
    await peer.until(lambda: peer.state.in_flight == 0)
    assert "ConnectionError: the database's" in caplog.text


async def test_a_peer_that_closes_its_half_gets_its_answer(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(get("/0") + get("/1"))
    peer.send_eof()
    await peer.turns()
    assert not peer.transport.closed
    gate.event("/0").set()
    gate.event("/1").set()
    await peer.closed()
    assert [response.body for response in peer.responses()] == [b"/0", b"/1"]


async def test_a_half_close_between_two_pipelined_requests_loses_none(connection_class: ConnectionClass) -> None:
    """The next request is taken up one turn later; what the loop delivers in between must not end the connection."""
    peer: Any = None
    paths: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await asyncio.sleep(0)
        await send(dict(START))
        await send(body())
        if scope["path"] == "/0":
            peer.send_eof()

    peer = Peer(connection_class, app)
    peer.send(get("/0") + get("/1"))
    await peer.closed()
    assert paths == ["/0", "/1"]
    assert len(peer.responses()) == 2


async def test_a_half_close_in_the_middle_of_a_body_is_a_disconnect(connection_class: ConnectionClass) -> None:
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            messages.append(await receive())
            if messages[-1]["type"] == "http.disconnect":
                return

    peer = Peer(connection_class, app)
    peer.send(get("/", "Content-Length: 5", method="POST") + b"ab")
    peer.send_eof()
    await peer.closed()
    assert messages == [{"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.disconnect"}]


@pytest.mark.parametrize("data", [b"", b"GET / HT", get()[:-2]])
async def test_a_half_close_without_a_whole_request_closes(connection_class: ConnectionClass, data: bytes) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    if data:
        peer.send(data)
    peer.send_eof()
    await peer.closed()
    assert peer.transport.output == b""


async def test_a_cancelled_application_is_answered_500(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(get("/0"))
    await peer.turns()
    (task,) = peer.state.tasks
    task.cancel()
    await peer.closed()
    assert [response.status for response in peer.responses()] == [500]
    assert peer.state.in_flight == 0


# -- limits ----------------------------------------------------------------------------------------------------


async def test_above_the_concurrency_limit_the_answer_is_503(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    state, gate = ServerState(), Gate()
    first, second = (Peer(connection_class, gate, state=state, limit_concurrency=1, limit_queue=0) for _ in range(2))
    first.send(get("/0"))
    second.send(post(b"body", path="/1"))
    await second.closed()
    (response,) = second.responses()
    assert (response.status, response.headers["connection"], response.headers["retry-after"]) == (503, "close", "1")
    assert gate.started == ["/0"] and "Exceeded concurrency limit." in caplog.text
    gate.event("/0").set()
    await first.answered()
    await first.until(lambda: state.in_flight == 0)
    third = Peer(connection_class, gate, state=state, limit_concurrency=1)
    third.send(get("/0"))
    assert (await third.answered())[0].status == 200


async def test_a_smaller_limit_for_the_head(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"), h11_max_incomplete_event_size=600)
    peer.send(get("/", "X: " + "v" * 600))
    await peer.turns()
    assert [response.status for response in peer.responses()] == [431]
    peer.send_eof()
    await peer.closed()


# -- time ------------------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed_after_its_time(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.state.now = 100.0
    peer.send(get())
    await peer.answered()
    peer.connection.sweep(104.9, 5)
    assert not peer.transport.closed
    peer.connection.sweep(105.1, 5)
    await peer.closed()
    assert len(peer.responses()) == 1


async def test_a_head_that_waits_for_its_body_leaves_at_the_second_sweep(connection_class: ConnectionClass) -> None:
    """Not at the first, which may come between a head and a body that is about to follow."""
    happens = asyncio.Event()

    async def events(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await happens.wait()
        happens.clear()
        await send({"type": "http.response.body", "body": b"data"})

    peer = Peer(connection_class, events)
    for _ in range(2):
        before = peer.transport.output
        peer.send(get())
        await peer.turns()
        peer.connection.sweep(peer.state.now, 5)
        assert peer.transport.output == before
        peer.connection.sweep(peer.state.now, 5)
        await peer.turns()
        assert peer.transport.output.endswith(b"transfer-encoding: chunked\r\n\r\n")
        happens.set()
        await peer.until(lambda: peer.transport.output.endswith(b"\r\n4\r\ndata\r\n0\r\n\r\n"))


async def test_a_new_connection_that_sends_nothing_is_closed_silently(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.connection.sweep(peer.state.now + HEADER_DEADLINE - 1, 5)
    assert not peer.transport.closed
    peer.connection.sweep(peer.state.now + HEADER_DEADLINE + 1, 5)
    await peer.closed()
    assert peer.transport.output == b""


async def test_time_counts_from_the_last_answer(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.state.now = 100.0
    peer.send(get("/0"))
    await peer.turns()
    peer.connection.sweep(1000.0, 5)
    assert not peer.transport.closed
    peer.state.now = 1000.0
    gate.event("/0").set()
    await peer.answered()
    peer.connection.sweep(1004.0, 5)
    assert not peer.transport.closed


async def test_a_head_has_a_deadline_that_its_bytes_do_not_move(connection_class: ConnectionClass) -> None:
    """A client that sends a byte now and then must not hold a connection for ever."""
    peer = Peer(connection_class, responding(b"ok"))
    peer.state.now = 100.0
    peer.send(b"GET / HTTP/1.1\r\nX: ")
    for second in range(1, 30):
        peer.state.now = 100.0 + second
        peer.send(b"x")
        peer.connection.sweep(peer.state.now, 5)
        assert not peer.transport.half_closed
    peer.state.now = 100.0 + HEADER_DEADLINE + 0.5
    peer.connection.sweep(peer.state.now, 5)
    await peer.until(lambda: peer.transport.half_closed)
    (response,) = peer.responses()
    assert (response.status, response.headers["connection"]) == (408, "close")
    peer.send_eof()
    await peer.closed()


async def test_the_deadline_of_a_second_head_is_its_own(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.state.now = 100.0
    peer.send(get())
    await peer.answered()
    peer.state.now = 104.0
    peer.send(b"GET /")
    peer.connection.sweep(104.0 + HEADER_DEADLINE - 1, 5)
    assert not peer.transport.half_closed


async def test_lingering_ends_although_the_peer_keeps_sending(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.state.now = 100.0
    peer.send(b"nonsense\r\n\r\n")
    await peer.until(lambda: peer.transport.half_closed)
    for _ in range(3):
        peer.state.now += 1
        peer.send(b"x" * 1000)
    peer.connection.sweep(peer.state.now, 5)
    await peer.closed()
    assert peer.transport.aborted


async def test_lingering_ends_when_the_peer_closes(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(b"nonsense\r\n\r\n")
    await peer.until(lambda: peer.transport.half_closed)
    assert not peer.transport.closed
    peer.send_eof()
    await peer.closed()
    assert not peer.transport.aborted


# -- drain -----------------------------------------------------------------------------------------------------


async def test_shutdown_closes_an_idle_connection_now(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(get())
    await peer.answered()
    peer.connection.shutdown()
    await peer.closed()


async def test_shutdown_lets_a_request_finish_and_says_close(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(get("/0") + get("/1"))
    await peer.turns()
    peer.connection.shutdown()
    assert not peer.transport.closed
    gate.event("/0").set()
    await peer.closed()
    (response,) = peer.responses()
    assert response.headers["connection"] == "close"
    assert gate.started == ["/0"]


async def test_retire_answers_one_more_request(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.connection.retire()
    await peer.turns()
    assert not peer.transport.closed
    peer.send(get())
    await peer.closed()
    (response,) = peer.responses()
    assert (response.status, response.headers["connection"]) == (200, "close")


@pytest.mark.parametrize(("asked", "answered"), [(3, 3), (SPARED + 1, SPARED + 1), (SPARED + 9, SPARED + 1)])
async def test_requests_that_stand_behind_are_answered_before_the_end_is_announced(
    connection_class: ConnectionClass, asked: int, answered: int
) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.connection.retire()
    peer.send(get() * asked)
    await peer.closed()
    responses = peer.responses()
    assert len(responses) == answered
    assert [response.headers.get("connection") for response in responses] == [None] * (answered - 1) + ["close"]


class Streamed:
    """An application whose response waits in its middle for `more`."""

    def __init__(self) -> None:
        self.more = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(body(b"a", more=True))
        await self.more.wait()
        await send(body(b"b"))


@pytest.fixture
def streamed() -> Streamed:
    return Streamed()


async def test_retire_in_the_middle_of_a_response_leaves_the_end_to_the_next_one(
    connection_class: ConnectionClass, streamed: Streamed
) -> None:
    peer = Peer(connection_class, streamed)
    peer.send(get())
    await peer.output(b"a\r\n")
    peer.connection.retire()
    peer.connection.close_idle(peer.state.now + 1000)
    streamed.more.set()
    await peer.output(b"b\r\n")
    peer.state.now = 1000.0
    peer.connection.close_idle(-1.0)  # it was not idle for so long
    await peer.turns()
    assert not peer.transport.closed and not peer.transport.half_closed
    peer.send(get())
    await peer.closed()
    assert [response.headers.get("connection") for response in peer.responses()] == [None, "close"]


async def test_what_was_idle_for_long_enough_is_closed(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(get())
    await peer.output(b"HTTP/1.1 200")
    peer.connection.retire()
    peer.connection.close_idle(peer.state.now)
    await peer.closed()
    assert peer.responses()[0].headers.get("connection") is None


async def test_shutdown_in_the_middle_of_a_response_closes_after_it(
    connection_class: ConnectionClass, streamed: Streamed
) -> None:
    peer = Peer(connection_class, streamed)
    peer.send(get())
    await peer.output(b"a\r\n")
    peer.connection.shutdown()
    streamed.more.set()
    await peer.closed()
    assert peer.responses()[0].body == b"ab"


async def test_a_request_behind_another_one_is_told_that_its_client_has_closed_its_half(
    connection_class: ConnectionClass,
) -> None:
    heard: list[str] = []
    first = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            await first.wait()
        else:
            heard.extend([(await receive())["type"], (await receive())["type"]])
        await send(dict(START))
        await send(body(b"a"))

    peer = Peer(connection_class, app)
    peer.send(get("/first") + get("/second"))
    peer.send_eof()
    first.set()
    await peer.closed()
    assert heard == ["http.request", "http.disconnect"] and len(peer.responses()) == 2


async def test_whoever_begins_behind_the_end_of_a_drain_is_told_as_well(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.connection.retire()
    peer.connection.disconnect()
    peer.send(get() + get())
    await peer.closed()
    assert len(peer.responses()) == 1


async def test_disconnect_is_heard_and_the_answer_still_counts(connection_class: ConnectionClass) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await send(dict(START))
        await send(body(b"bye"))

    peer = Peer(connection_class, app)
    peer.send(get())
    await peer.turns()
    peer.connection.retire()
    peer.connection.disconnect()
    await peer.closed()
    assert peer.responses()[0].body == b"bye"


async def test_abort_waits_for_nothing(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, Gate())
    peer.send(get("/0"))
    peer.connection.abort()
    await peer.closed()
    assert peer.transport.aborted
    (task,) = peer.state.tasks
    task.cancel()
    await peer.until(lambda: not peer.state.tasks)


async def test_a_connection_made_while_draining_serves_one_request(connection_class: ConnectionClass) -> None:
    state = ServerState()
    state.draining = True
    peer = Peer(connection_class, responding(b"ok"), state=state)
    peer.send(get())
    await peer.closed()
    assert peer.responses()[0].headers["connection"] == "close"


# -- the access log --------------------------------------------------------------------------------------------


async def test_access_records(connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    state = ServerState()
    state.logs_access = True
    peer = Peer(connection_class, responding(b"ok", status=201), state=state, root_path="/api")
    peer.send(get("/x%20y?a=b"))
    await peer.answered()
    (record,) = [record for record in caplog.records if record.name == "uvicorn.access"]
    assert record.msg == '%s - "%s %s HTTP/%s" %d'
    assert record.args == ("192.0.2.1:1234", "GET", "/api/x%20y?a=b", "1.1", 201)
    assert record.getMessage() == '192.0.2.1:1234 - "GET /api/x%20y?a=b HTTP/1.1" 201'


async def test_each_request_is_logged_once_whatever_happens(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/raise":
            raise Fault
        await send({**START, "headers": [(b"content-length", b"1")]})
        await send(body(b"too much"))

    for path in ("/raise", "/too-much"):
        caplog.clear()
        state = ServerState()
        state.logs_access = True
        peer = Peer(connection_class, app, state=state)
        peer.send(get(path))
        await peer.closed()
        lines = [record.args for record in caplog.records if record.name == "uvicorn.access"]
        assert [args[4] for args in lines if isinstance(args, tuple)] == [500]


# -- memory ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="no references are counted here, so none are left")
@pytest.mark.parametrize("kind", ["at once", "after a turn", "raises", "reads a body"])
async def test_requests_leave_no_reference_cycles(
    connection_class: ConnectionClass, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "uvicorn.error")  # a log record keeps its exception

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if kind == "after a turn":
            await asyncio.sleep(0)
        elif kind == "reads a body":
            await receive()
        elif kind == "raises" and scope["path"] == "/raise":
            raise Fault
        await send(dict(START))
        await send(body(b"ok"))

    async def one(peer: Peer, path: str) -> None:
        peer.take()
        peer.send(post(b"body", path=path))
        await peer.output(b"\r\n\r\n")
        await peer.turns()

    path = "/raise" if kind == "raises" else "/"
    peer = Peer(connection_class, app)
    await one(peer, "/")
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            if kind == "raises":
                peer = Peer(connection_class, app, state=peer.state)
            await one(peer, path)
        if kind != "raises":
            assert gc.collect() == 0
            return
    finally:
        gc.enable()
    # What a whole connection leaves (the fake transport and it hold each other) is bounded, whatever it served.
    assert gc.collect() < 20 * 60


async def test_a_lost_connection_lets_go_of_everything(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(get()[:20])
    peer.drop()
    assert (peer.connection.reader.pending, peer.state.connections) == (b"", set())


# -- an answer before the request's body has come ---------------------------------------------------------------


@pytest.mark.parametrize("end_first", [True, False])
async def test_a_body_that_never_comes_ends_with_its_peer(connection_class: ConnectionClass, end_first: bool) -> None:
    gate = Gate()
    peer = Peer(connection_class, gate)
    peer.send(get("/a", "Content-Length: 100", method="POST") + b"x" * 10)
    if end_first:
        peer.send_eof()
    gate.event("/a").set()
    assert [response.body for response in await peer.answered()] == [b"/a"]
    if not end_first:
        peer.send_eof()
    await peer.closed()


async def test_a_body_that_never_comes_is_not_waited_for_without_end(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(get("/", "Content-Length: 100", method="POST") + b"x" * 10)
    await peer.answered()
    now = peer.connection.active_at
    peer.connection.sweep(now + 4, keep_alive=5)
    assert not peer.transport.is_half_closed()
    peer.connection.sweep(now + 6, keep_alive=5)
    assert peer.transport.is_half_closed()
    peer.connection.sweep(now + 60, keep_alive=5)
    await peer.closed()


async def test_a_drain_does_not_wait_for_the_body_of_an_answered_request(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(get("/", "Content-Length: 100", method="POST") + b"x" * 10)
    await peer.answered()
    peer.connection.shutdown()
    assert peer.transport.half_closed


async def test_a_slow_reader_gets_the_whole_of_a_last_response(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(b"nonsense\r\n\r\n")
    await peer.until(lambda: peer.transport.half_closed)
    peer.transport.clogged = True
    for second in (1, 30, 59):
        peer.connection.sweep(peer.connection.active_at + second, 5)
    assert not peer.transport.aborted, "there is still something to write"
    peer.transport.clogged = False
    peer.connection.sweep(peer.connection.active_at + 60, 5)
    assert not peer.transport.aborted, "its moment begins when it has everything"
    peer.connection.sweep(peer.connection.active_at + 60 + LINGER + 1, 5)
    assert peer.transport.aborted


async def test_a_pipeline_gives_way_to_others(connection_class: ConnectionClass) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    peer = Peer(connection_class, app)
    peer.send(get("/") * 100)
    assert len(seen) <= TURN
    assert len(await peer.answered(count=100)) == 100


# -- applications that misbehave --------------------------------------------------------------------------------


async def test_a_body_that_is_no_bytes_is_refused_before_anything_is_written(connection_class: ConnectionClass) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": "x" * 70000})

    peer = Peer(connection_class, app)
    peer.send(get("/"))
    assert [response.status for response in await peer.answered()] == [500]


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a wait"])
@pytest.mark.parametrize("how", [SystemExit(2), KeyboardInterrupt()], ids=["exit", "interrupt"])
async def test_an_application_that_wants_to_end_the_process_has_failed(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, how: BaseException, late: bool
) -> None:
    """argparse in an endpoint: one bad query must not stop a server."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if late:
            await asyncio.sleep(0)
        raise how

    peer = Peer(connection_class, app, limit_concurrency=1)
    for _ in range(2):
        peer.send(get("/"))
        assert [response.status for response in await peer.answered()] == [500]
        await peer.turns()
        peer = Peer(connection_class, app, limit_concurrency=1)
    assert peer.state.in_flight == 0 and not peer.state.tasks
    said = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert all(record.getMessage().startswith("Exception in ASGI application\n") for record in said) and len(said) == 2
    assert all(record.exc_info and record.exc_info[1] is how for record in said)


async def test_an_application_that_is_no_coroutine_may_raise_anything(connection_class: ConnectionClass) -> None:
    def app(scope: Scope, receive: Receive, send: Send) -> Any:
        raise KeyboardInterrupt

    peer = Peer(connection_class, app, interface="asgi3")
    peer.send(get("/"))
    assert [response.status for response in await peer.answered()] == [500]
    assert peer.state.in_flight == 0


async def test_an_application_that_cancels_itself_is_told_of(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    peer = Peer(connection_class, app)
    peer.send(get("/"))
    assert [response.status for response in await peer.answered()] == [500]
    assert "ASGI callable was cancelled." in caplog.text
    assert "raise asyncio.CancelledError" in caplog.text  # where it was


async def test_an_application_that_the_server_cancels_is_not_told_of(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    """The server says in one line how many those are."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    peer = Peer(connection_class, app)
    peer.send(get("/"))
    await peer.turns()
    peer.state.gave_up = True
    (task,) = peer.state.tasks
    task.cancel()
    await peer.turns()
    assert not peer.state.tasks and "ERROR" not in caplog.text


async def test_one_connection_line_when_the_application_wishes_otherwise(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok", headers=[(b"connection", b"keep-alive")]))
    peer.send(get("/", "Connection: close"))
    (response,) = await peer.answered()
    assert response.headers["connection"] == "close"


async def test_a_204_keeps_neither_a_length_nor_a_wish_to_stay(connection_class: ConnectionClass) -> None:
    headers = [(b"connection", b"keep-alive"), (b"content-length", b"0")]
    peer = Peer(connection_class, responding(b"", 204, headers))
    peer.send(get("/", "Connection: close"))
    (response,) = await peer.answered()
    assert response.headers["connection"] == "close"
    assert "content-length" not in response.headers
