"""What a peer may try, over a real socket, through a server and an application, while another client is served."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import Any

import pytest

import http2 as h2
from applications import Receive, Scope, Send, respond, responding
from http2_client import Http2Client, connect_http2
from http2_floods import FLOODS
from http2_machine import METHODS
from servers import LoopFactory, WatchedServer, serving
from uvicorn.worker.http2.connection import Http2Connection
from uvicorn.worker.http2.fields import HeadReader, decoder

MEBIBYTE = 1 << 20


def over_http2(app: Any, **settings: Any) -> contextlib.AbstractAsyncContextManager[WatchedServer]:
    return serving(app, http2=True, lifespan="off", **settings)


def connections(server: WatchedServer) -> list[Http2Connection]:
    return [one for one in server.server_state.connections if isinstance(one, Http2Connection)]


async def hold_posts(scope: Scope, receive: Receive, send: Send) -> None:
    """A POST waits until its client has left."""
    if scope["method"] == "POST":
        while (await receive())["type"] != "http.disconnect":
            pass
    else:
        await respond(send, b"ok")


async def read_on(client: Http2Client) -> None:
    with contextlib.suppress(AssertionError):  # it is over
        await client.until_closed()


@pytest.mark.parametrize("name", list(FLOODS))
async def test_floods(name: str, loop_factory: LoopFactory) -> None:
    """Each ends its own connection, and others are served meanwhile."""
    async with over_http2(hold_posts) as server, connect_http2(server) as other, connect_http2(server) as client:
        client.credits = client.answers = False
        reads = asyncio.create_task(read_on(client))
        pieces = FLOODS[name]
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(pieces), 50):
                client.send(*pieces[at : at + 50])
                await client.writer.drain()
                assert (await other.get()).status == 200
        await reads
        assert not client.goaways or client.goaways[-1][1] == h2.ENHANCE_YOUR_CALM
        assert connections(server) and (await other.get()).body == b"ok"
    assert not other.goaways or other.goaways[-1][1] == h2.NO_ERROR


@pytest.mark.parametrize("kind", ["HEAD", "PING", "SETTINGS"])
async def test_what_nobody_reads_is_bounded(kind: str, loop_factory: LoopFactory) -> None:
    """Answers that wait for no window, to a client that reads nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, b"", 200, [(b"x-large", b"&" * 20_000)] if scope["method"] == "HEAD" else [])

    async with over_http2(app) as server, connect_http2(server) as client, connect_http2(server) as other:
        await other.get()
        await client.heard()
        (connection,) = [one for one in connections(server) if one.machine.last < 0]
        most = 0
        for turn in range(60 if kind == "HEAD" else 3000):
            if kind == "HEAD":
                for _ in range(20):
                    client.ask(method=b"HEAD")
            else:
                one = h2.settings() if kind == "SETTINGS" else h2.frame(h2.PING, 0, 0, b"%08d" % turn)
                client.send(*[one] * 100)
            await client.writer.drain()
            await other.get()
            most = max(most, connection.transport.get_write_buffer_size())
            if connection.machine.over:
                break
        assert most < 4 * MEBIBYTE
        if kind == "HEAD":
            await client.until(lambda: h2.REFUSED_STREAM in client.resets.values() or client.goaways or client.over)
            assert h2.REFUSED_STREAM in client.resets.values()


async def test_slow_readers(loop_factory: LoopFactory) -> None:
    """128 streams of a client whose windows are shut, each with as much as `send` takes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/quick":
            await respond(send, b"ok")
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 16384, "more_body": True})

    shut = [(h2.INITIAL_WINDOW_SIZE, 0)]
    async with over_http2(app) as server, connect_http2(server, shut) as client, connect_http2(server) as other:
        for _ in range(130):
            client.ask(path=b"/slow")
        await client.heard()
        assert list(client.resets.values()) == [h2.REFUSED_STREAM] * 2
        assert (await other.get(b"/quick")).body == b"ok"
        (connection,) = [one for one in connections(server) if len(one.machine.streams) == 128]
        queued = [stream.queued for stream in connection.machine.streams.values()]
        assert max(queued) <= 65536 + 16384 and connection.transport.get_write_buffer_size() == 0
        client.answers = False
        client.writer.write_eof()
        await client.until_closed()  # no window will ever be opened


async def test_an_upload_in_small_pieces_is_joined(loop_factory: LoopFactory) -> None:
    """An object for each would take many times its size."""
    release = asyncio.Event()
    bodies = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        bodies.append(body)
        await respond(send)

    pieces = [bytes([number % 251]) for number in range(20_000)]
    async with over_http2(app) as server, connect_http2(server) as client:
        stream = client.next_stream()
        client.send(h2.post(stream), *[h2.data(stream, piece) for piece in pieces])
        await client.heard()
        (connection,) = connections(server)
        assert len(connection.machine.streams[stream].exchange._body) < 200
        release.set()
        client.send(h2.data(stream, b"", h2.END_STREAM))
        await client.response(stream)
    assert bodies == [b"".join(pieces)]


async def test_what_comes_before_a_websocket_is_accepted_in_small_pieces(loop_factory: LoopFactory) -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await release.wait()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.close", "code": 4000 if message["text"] == "a" * 10_000 else 4001})
        await receive()

    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/")]
    fields += [(b":authority", b"a.test"), (b"sec-websocket-version", b"13")]
    text = b"\x81\xfe" + (10_000).to_bytes(2, "big") + bytes(4) + b"a" * 10_000
    async with over_http2(app) as server, connect_http2(server) as client:
        stream = client.next_stream()
        client.send(h2.headers(stream, fields, h2.END_HEADERS))
        client.send(*[h2.data(stream, text[at : at + 1]) for at in range(len(text))])
        await client.heard()
        release.set()
        await client.until(lambda: len(client.bodies.get(stream, b"")) >= 4)
        assert client.bodies[stream][:4] == b"\x88\x02" + (4000).to_bytes(2, "big")


@pytest.mark.parametrize("what", ["no host", "a long header", "a large body"])
async def test_refusals_wait_for_no_window(what: str, loop_factory: LoopFactory) -> None:
    """Their texts are for people; a client that takes none of them holds nothing up. No application runs."""
    ran = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append(scope["path"])
        await receive()

    shut = [(h2.INITIAL_WINDOW_SIZE, 0)]
    settings = {"limit_request_body": 5, "limit_request_headers": 1000, "timeout_write": 0.1}
    async with over_http2(app, **settings) as server, connect_http2(server, shut) as client:
        stream = client.next_stream()
        if what == "a large body":
            client.send(h2.post(stream, (b"content-length", b"10")))
        elif what == "no host":
            client.send(h2.headers(stream, h2.request_fields(authority=b"")))
        else:
            client.send(h2.get(stream, (b"x-long", b"v" * 2000)))
        await client.until(lambda: stream in client.ended or stream in client.resets)
        await client.heard()
        (connection,) = connections(server)
        assert not connection.machine.streams and not ran


async def test_a_connection_that_is_used_is_not_idle() -> None:
    """Also when no request is in work at any moment when the server looks."""
    async with over_http2(responding(b"ok")) as server, connect_http2(server) as client:
        await client.heard()
        (connection,) = connections(server)
        for turn in range(1, 5):
            await client.get()
            connection.sweep(connection.now + 100 * turn, 5)
            connection.sweep(connection.now + 100 * turn + 4, 5)
        await client.heard()
        assert not client.goaways
        connection.sweep(connection.now + 1000, 5)
        await client.until(lambda: client.goaways)


async def test_what_has_returned_is_kept_by_nothing() -> None:
    kept: list[weakref.ref[asyncio.Event]] = []
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        held = asyncio.Event()
        scope["state"] = {"held": held}
        kept.append(weakref.ref(held))
        await release.wait()
        await respond(send)

    async with over_http2(app) as server, connect_http2(server) as client:
        stream = client.ask()
        await client.heard()
        release.set()
        await client.response(stream)
        (connection,) = connections(server)
        connection.sweep(connection.now, 5)
        gc.collect()
        assert len(kept) == 1 and kept[0]() is None


async def test_the_first_head_of_a_connection_is_not_remembered() -> None:
    """Often it is the only one; and so is a head that means many bytes, however short its block is."""
    async with over_http2(responding(b"ok")) as server, connect_http2(server) as client:
        await client.get()
        (connection,) = connections(server)
        heads = connection.machine.heads
        assert not heads.known and not heads._pathless
        await client.get()
        assert len(heads.known) == 1
        client.send(h2.headers(client.next_stream(), []))  # malformed
        long = h2.literal(b"x-long", b"v" * 2000, 0x40)
        fields = h2.block(h2.request_fields())
        client.send(h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, client.next_stream(), fields + long))
        for _ in range(2):
            number = client.next_stream()
            client.send(h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, number, fields + b"\xbe" * 5))
            assert (await client.response(number)).body == b"ok"
        assert not heads.known


def test_an_index_of_two_bytes_is_no_path() -> None:
    """A block is known without its path; what looks like one behind such an index are other fields."""
    limits = (1000, 128, 65536)
    filled = h2.block(h2.request_fields()) + h2.literal(b"a", b"", 0x40) * 75 + h2.literal(b"host", b"a.test", 0x40)
    rest = b"c" * 31 + b"-," + b"d" * 44
    first, second = (b"\x82\x86\x84\xbe\xff\x04\x10" + name + rest for name in (b"." + b"b" * 15, b"/" + b"p" * 15))
    fresh, reader = (HeadReader(decoder(), limits, METHODS, False) for _ in range(2))
    fresh.read(filled)
    for block in (filled, first, first):
        reader.read(block)
    assert reader.read(second).target == fresh.read(second).target == b"/"
    assert reader.read(second).fields == fresh.read(second).fields
