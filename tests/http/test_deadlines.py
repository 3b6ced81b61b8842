"""Slow peers, and the queue above the concurrency limit, on a fake transport and for every codec."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from applications import App, Receive, Scope, Send, responding
from http_peers import START, ConnectionClass, Gate, Peer, Recorder, body
from uvicorn.worker.http.deadlines import RATE_GRACE
from uvicorn.worker.http.exchange import HIGH_WATER
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.deadlines import LINGER

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Slow:
    """An application that reads when the test lets it, and keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.go.wait()
        while True:
            message = await receive()
            self.messages.append(message["type"])
            if message["type"] == "http.disconnect" or not message["more_body"]:
                break
        if message["type"] != "http.disconnect":
            await send(dict(START))
            await send(body())


def at(peer: Peer, seconds: float) -> None:
    """The worker's clock says so, and its timer sweeps."""
    peer.state.now = seconds
    peer.connection.sweep(seconds, 5)


def pass_time(peer: Peer, begin: float, end: float) -> None:
    for tick in range(int(begin * 2), int(end * 2) + 1):
        at(peer, tick / 2)


async def ended_with(peer: Peer, status: int) -> None:
    await peer.until(lambda: peer.transport.half_closed)
    (response,) = peer.responses()
    assert (response.status, response.headers["connection"]) == (status, "close")
    pass_time(peer, peer.state.now, peer.state.now + LINGER + 1)
    await peer.closed()


# -- bodies ----------------------------------------------------------------------------------------------------


async def test_a_body_that_stops_is_ended(connection_class: ConnectionClass) -> None:
    app = Slow()
    app.go.set()
    peer = Peer(connection_class, app)
    peer.send(POST + b"x")
    await peer.turns()
    pass_time(peer, 0, 59)
    peer.send(b"x")  # nobody has a turn to read it
    pass_time(peer, 59, 119)
    assert not peer.transport.half_closed
    at(peer, 119.5)
    await ended_with(peer, 408)
    await peer.until(lambda: peer.state.in_flight == 0)
    assert app.messages == ["http.request", "http.disconnect"]


async def test_chunks_that_are_cut_in_their_size_lines_are_progress(connection_class: ConnectionClass) -> None:
    app = Slow()
    app.go.set()
    peer = Peer(connection_class, app)
    peer.send(CHUNKED + b"1")
    for minute in range(1, 10):
        peer.send(b"\r\nx\r\n1")
        pass_time(peer, minute * 50 - 50, minute * 50)
    assert not peer.transport.half_closed
    pass_time(peer, 450, 510)
    await ended_with(peer, 408)


async def test_a_body_that_nobody_reads_is_not_the_peers_fault(connection_class: ConnectionClass) -> None:
    app = Slow()
    peer = Peer(connection_class, app, limit_body_rate=10**6)
    peer.send(POST + b"x" * HIGH_WATER)
    assert not peer.transport.reading
    pass_time(peer, 0, 1000)
    assert not peer.transport.half_closed
    app.go.set()
    await peer.until(lambda: peer.transport.reading)
    pass_time(peer, 1000, 1000 + RATE_GRACE - 1)
    assert not peer.transport.half_closed
    pass_time(peer, 1000 + RATE_GRACE, 1001 + RATE_GRACE)
    await ended_with(peer, 408)


async def test_a_client_that_waits_for_100_continue_is_not_slow(connection_class: ConnectionClass) -> None:
    app = Slow()
    peer = Peer(connection_class, app)
    peer.send(POST[:-2] + b"Expect: 100-continue\r\n\r\n")
    pass_time(peer, 0, 1000)
    assert peer.transport.output == b""
    app.go.set()
    await peer.output(b"100 Continue")
    pass_time(peer, 1000, 1060)
    assert not peer.transport.half_closed
    at(peer, 1060.5)
    await peer.until(lambda: peer.transport.half_closed)
    assert [response.status for response in peer.responses()] == [100, 408]
    peer.drop()


async def test_a_rate_is_an_average_after_a_grace(connection_class: ConnectionClass) -> None:
    app = Slow()
    app.go.set()
    peer = Peer(connection_class, app, limit_body_rate=1000)
    peer.send(POST)
    at(peer, 0)
    for second in range(1, 30):
        peer.send(b"x" * 1000)
        pass_time(peer, second - 0.5, second)
    assert not peer.transport.half_closed
    for second in range(30, 60):
        if not peer.transport.half_closed:
            peer.send(b"x" * 100)
            pass_time(peer, second - 0.5, second)
    await ended_with(peer, 408)


async def test_no_second_head_when_the_response_had_begun(connection_class: ConnectionClass) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        await send(body(b"x", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    peer = Peer(connection_class, app)
    peer.send(POST)
    pass_time(peer, 0, 61)
    await peer.until(lambda: peer.transport.half_closed)
    assert peer.transport.output.count(b"HTTP/1.1") == 1
    peer.drop()


@pytest.mark.parametrize(("lines", "data"), [(b"Content-Length: 6", b""), (b"Transfer-Encoding: chunked", b"6\r\n")])
async def test_a_body_over_its_limit(
    connection_class: ConnectionClass, recorder: Recorder, lines: bytes, data: bytes
) -> None:
    peer = Peer(connection_class, recorder, limit_request_body=5)
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + lines + b"\r\n\r\n" + data)
    await ended_with(peer, 413)
    assert recorder.seen == []


# -- readers ---------------------------------------------------------------------------------------------------


async def test_a_reader_that_takes_nothing_is_aborted(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    peer = Peer(connection_class, responding(b"x" * 1000))
    peer.transport.clogged = True
    peer.send(GET)
    await peer.turns()
    pass_time(peer, 0, 60)
    assert not peer.transport.closed
    at(peer, 60.5)
    assert peer.transport.aborted
    assert caplog.messages == ["Closed a connection that takes nothing of its response: 192.0.2.1:1234"]
    await peer.closed()


async def test_an_endless_stream_to_it_ends(connection_class: ConnectionClass) -> None:
    raised: list[OSError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(START))
        try:
            while True:
                await send(body(b"x", more=True))
        except OSError as exc:
            raised.append(exc)

    peer = Peer(connection_class, app)
    peer.transport.clogged = True
    peer.send(GET)
    await peer.turns()
    pass_time(peer, 0, 61)
    await peer.until(lambda: peer.state.in_flight == 0)
    assert len(raised) == 1


async def test_a_response_under_way_is_no_idle_connection(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.transport.clogged = True
    peer.send(GET)
    await peer.turns()
    pass_time(peer, 0, 30)
    assert not peer.transport.closed
    peer.transport.unclog()
    pass_time(peer, 30, 35)
    assert not peer.transport.closed
    at(peer, 35.5)
    await peer.closed()


async def test_an_empty_line_behind_a_request_begins_no_head(connection_class: ConnectionClass) -> None:
    peer = Peer(connection_class, responding(b"ok"))
    peer.send(GET + b"\r\n")
    await peer.answered()
    pass_time(peer, 0, 6)
    await peer.closed()
    assert [response.status for response in peer.responses()] == [200]


# -- the queue above the concurrency limit ----------------------------------------------------------------------


def get(path: str) -> bytes:
    return GET.replace(b"/", path.encode(), 1)


def crowd(connection_class: ConnectionClass, app: App, count: int, **settings: Any) -> list[Peer]:
    """Peers of one server, each with a request under way to /0, /1, …"""
    state = ServerState()
    peers = [Peer(connection_class, app, state=state, **settings) for _ in range(count)]
    for number, peer in enumerate(peers):
        peer.send(get(f"/{number}"))
    return peers


async def test_requests_wait_their_turn(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peers = crowd(connection_class, gate, 4, limit_concurrency=2, limit_queue=2)
    await peers[0].turns()
    assert gate.started == ["/0", "/1"]
    for number in (1, 0, 2, 3):
        gate.event(f"/{number}").set()
        await peers[number].answered()
        await peers[number].turns()
    assert gate.started == ["/0", "/1", "/2", "/3"]
    assert (peers[0].state.in_flight, peers[0].state.tasks) == (0, set())


async def test_many_that_answer_at_once_do_not_nest(connection_class: ConnectionClass) -> None:
    gate, answer = Gate(), responding(b"ok")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (gate if scope["path"] == "/0" else answer)(scope, receive, send)

    peers = crowd(connection_class, app, 200, limit_concurrency=1, limit_queue=1000)
    gate.event("/0").set()
    for peer in peers:
        await peer.answered()
    await peers[-1].turns()  # its application returns after its answer
    assert peers[0].state.in_flight == 0


async def test_a_full_queue_is_503_at_once(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peers = crowd(connection_class, gate, 3, limit_concurrency=1, limit_queue=1)
    await peers[2].closed()
    (response,) = peers[2].responses()
    assert (response.status, response.headers["retry-after"]) == (503, "1")
    assert peers[1].transport.output == b""


async def test_who_waits_too_long_gets_503(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peers = crowd(connection_class, gate, 2, limit_concurrency=1, timeout_queue=3)
    pass_time(peers[1], 0, 3)
    assert peers[1].transport.output == b""
    at(peers[1], 3.5)
    await peers[1].closed()
    assert [response.status for response in peers[1].responses()] == [503]
    gate.event("/0").set()
    await peers[0].answered()
    await peers[0].turns()
    assert gate.started == ["/0"]


async def test_who_leaves_the_queue_makes_room(connection_class: ConnectionClass) -> None:
    gate = Gate()
    peers = crowd(connection_class, gate, 2, limit_concurrency=1, limit_queue=1)
    peers[1].drop()
    third = Peer(connection_class, gate, state=peers[0].state, config=peers[0].config)
    third.send(get("/2"))
    gate.event("/0").set()
    gate.event("/2").set()
    await third.answered()
    assert gate.started == ["/0", "/2"]


async def test_a_body_that_breaks_in_the_queue(connection_class: ConnectionClass) -> None:
    gate = Gate()
    (first,) = crowd(connection_class, gate, 1, limit_concurrency=1)
    second = Peer(connection_class, gate, state=first.state, config=first.config)
    second.send(CHUNKED)
    second.send(b"nonsense\r\n")
    await ended_with(second, 400)
    gate.event("/0").set()
    await first.answered()
    await first.turns()
    assert (gate.started, first.state.in_flight) == (["/0"], 0)


async def test_the_body_of_a_waiting_request_is_kept_with_a_bound(
    connection_class: ConnectionClass, recorder: Recorder
) -> None:
    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (gate if scope["method"] == "GET" else recorder)(scope, receive, send)

    (first,) = crowd(connection_class, app, 1, limit_concurrency=1)
    second = Peer(connection_class, app, state=first.state, config=first.config)
    second.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (HIGH_WATER + 3) + b"x" * HIGH_WATER)
    assert not second.transport.reading
    gate.event("/0").set()
    await second.until(lambda: second.transport.reading)
    second.send(b"abc")
    await second.answered()
    assert recorder.seen[0][1] == b"x" * HIGH_WATER + b"abc"


async def test_idle_connections_are_no_load(connection_class: ConnectionClass) -> None:
    peers = [Peer(connection_class, responding(b"ok"), limit_concurrency=1, limit_queue=0)]
    peers += [Peer(connection_class, responding(b"ok"), state=peers[0].state, config=peers[0].config) for _ in range(5)]
    for peer in peers:
        peer.send(GET)
        assert (await peer.answered())[0].status == 200
        await peer.until(lambda: peers[0].state.in_flight == 0)
    assert len(peers[0].state.connections) == 6
