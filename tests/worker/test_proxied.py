"""Connections behind a PROXY header, on real sockets in every loop: whom they name, what is believed, how they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from applications import Receive, Scope, Send
from certificates import Authority, Pair
from clients import Client, connect
from servers import LoopFactory, WatchedServer, serving
from uvicorn.net.proxy_protocol import SIGNATURE

V1 = b"PROXY TCP4 203.0.113.1 192.0.2.1 4711 443\r\n"
UNKNOWN = b"PROXY UNKNOWN\r\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"
CLIENT, SERVER = ("203.0.113.1", 4711), ("192.0.2.1", 443)
GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n%b\r\n"


def v2(tls: bool = False) -> bytes:
    payload = bytes([203, 0, 113, 1, 192, 0, 2, 1]) + struct.pack("!HH", 4711, 443)
    payload += b"\x20\0\x05\x01\0\0\0\0" if tls else b""
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x11, len(payload)) + payload


class Where:
    """An application that keeps its scopes; it answers /late once the client has closed its half."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
            return
        while scope["path"] == "/late" and (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def where() -> Where:
    return Where()


class Behind(Protocol):
    """behind(**settings): a server that expects PROXY headers."""

    def __call__(self, **settings: Any) -> contextlib.AbstractAsyncContextManager[WatchedServer]: ...


@pytest.fixture
def behind(where: Where) -> Behind:
    return lambda **settings: serving(where, lifespan="off", **{"proxy_protocol": True, **settings})


@pytest.mark.parametrize("header", [V1, v2()])
async def test_the_client_is_whom_the_proxy_names(
    behind: Behind, where: Where, loop_factory: LoopFactory, header: bytes
) -> None:
    async with behind() as server, connect(server) as proxy:
        proxy.send(header + GET % (b"1", b"") + GET % (b"2", b""))  # with the first request, and in front of all
        assert [(await proxy.answer()).body for _ in range(2)] == [b"ok"] * 2
        assert (await proxy.get("/3")).status == 200
    assert [(scope["client"], scope["server"], scope["scheme"]) for scope in where.scopes] == [
        (CLIENT, SERVER, "http")
    ] * 3


async def test_a_header_in_pieces(behind: Behind, where: Where, loop_factory: LoopFactory) -> None:
    async with behind() as server, connect(server) as proxy:
        for byte in v2():
            proxy.send(bytes([byte]))
            await proxy.writer.drain()
            await asyncio.sleep(0)
        assert (await proxy.get()).status == 200
    assert where.scopes[0]["client"] == CLIENT


async def test_the_proxy_may_have_ended_tls(behind: Behind, where: Where, loop_factory: LoopFactory) -> None:
    async with behind() as server, connect(server) as proxy:
        proxy.send(v2(tls=True) + GET % (b"late", b""))
        proxy.writer.write_eof()  # half closed, as plain HTTP allows
        assert (await proxy.answer()).status == 200
    assert where.scopes[0]["scheme"] == "https" and "tls" not in where.scopes[0]["extensions"]


@pytest.mark.parametrize("header", [LOCAL, UNKNOWN])
async def test_a_proxy_that_names_nobody(
    behind: Behind, where: Where, loop_factory: LoopFactory, header: bytes
) -> None:
    async with behind() as server, connect(server) as proxy:
        proxy.send(header)
        assert (await proxy.get()).status == 200
        own, far = (proxy.writer.get_extra_info(name) for name in ("sockname", "peername"))
    assert (where.scopes[0]["client"], where.scopes[0]["server"]) == (own, far)


def over_tls(port: int, header: bytes, context: ssl.SSLContext) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as plain:
        plain.sendall(header)
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(GET % (b"", b"Connection: close\r\n"))
            with sock.makefile("rb") as answer:
                return answer.read()


@pytest.mark.parametrize("header", [V1, v2()])
async def test_the_header_comes_before_the_tls_handshake(
    behind: Behind, where: Where, loop_factory: LoopFactory, authority: Authority, pair: Pair, header: bytes
) -> None:
    async with behind(**pair) as server:
        answer = await asyncio.to_thread(over_tls, server.port, header, authority.client())
    assert answer.startswith(b"HTTP/1.1 200")
    assert (where.scopes[0]["client"], where.scopes[0]["scheme"]) == (CLIENT, "https")
    assert where.scopes[0]["extensions"]["tls"]["tls_version"] is not None


async def test_a_unix_socket(behind: Behind, where: Where, loop_factory: LoopFactory, tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    async with behind(uds=path, forwarded_allow_ips="unix:") as _, connect(path) as proxy:
        proxy.send(v2())
        assert (await proxy.get()).status == 200
    assert (where.scopes[0]["client"], where.scopes[0]["server"]) == (CLIENT, SERVER)


async def test_a_websocket(behind: Behind, where: Where, loop_factory: LoopFactory) -> None:
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    fields += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    async with behind() as server, connect(server) as proxy:
        proxy.send(v2(tls=True) + GET % (b"", fields))
        assert (await proxy.answer()).status == 403
    scope = where.scopes[0]
    assert (scope["type"], scope["client"], scope["scheme"]) == ("websocket", CLIENT, "wss")


FORWARDED = b"X-Forwarded-For: 198.51.100.7\r\n"


@pytest.mark.parametrize(
    ("header", "trusted", "believed"),
    [
        (V1, "127.0.0.1", False),  # the proxy passes on what this client wrote
        (V1, "127.0.0.1,203.0.113.1", True),  # the client is a proxy, and a trusted one
        (V1, "*", True),
        (LOCAL, "127.0.0.1", True),  # the proxy speaks for itself
        (UNKNOWN, "127.0.0.1", False),
        (UNKNOWN, "*", True),
    ],
)
async def test_whose_forwarded_fields_are_believed(
    behind: Behind, where: Where, header: bytes, trusted: str, believed: bool
) -> None:
    async with behind(forwarded_allow_ips=trusted) as server, connect(server) as proxy:
        proxy.send(header + GET % (b"", FORWARDED))
        assert (await proxy.answer()).status == 200
    assert (where.scopes[0]["client"] == ("198.51.100.7", 0)) is believed


async def test_the_access_log_names_the_client(
    behind: Behind, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    async with behind() as server, connect(server) as proxy:
        proxy.send(V1)
        assert (await proxy.get("/x")).status == 200
    assert [r.getMessage() for r in caplog.records if r.name == "uvicorn.access"] == [
        '203.0.113.1:4711 - "GET /x HTTP/1.1" 200'
    ]


# -- who and what is refused -----------------------------------------------------------------------------------


async def gone(client: Client) -> None:
    """The server closed the connection without a word, or reset it."""
    try:
        assert await client.ended() == b""
    except ConnectionResetError:
        pass


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message.partition(" - ")[2] for message in caplog.messages if message.startswith("PROXY header refused")]


@pytest.mark.parametrize(
    ("sent", "settings", "reason"),
    [
        (
            V1 + GET % (b"", b""),
            {"forwarded_allow_ips": "192.0.2.9"},
            "not from a trusted proxy (--forwarded-allow-ips): b''",
        ),
        (GET % (b"", b""), {}, "no PROXY header: b''"),
        (b"PROXY nonsense\r\n", {}, "malformed PROXY line: b'PROXY nonsense\\r\\n'"),
        (SIGNATURE + b"\x99", {"timeout_request_header": 0.1}, f"not complete in time: {SIGNATURE + bytes([0x99])!r}"),
        (b"", {"timeout_request_header": 0.1}, None),
    ],
)
async def test_a_refusal_is_logged_once_and_silent(
    behind: Behind,
    where: Where,
    loop_factory: LoopFactory,
    caplog: pytest.LogCaptureFixture,
    sent: bytes,
    settings: dict[str, object],
    reason: str | None,
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with behind(**settings) as server, connect(server) as client:
        client.send(sent)
        await gone(client)
    assert where.scopes == []
    assert refusals(caplog) == ([] if reason is None else [reason])


async def test_one_that_leaves_within_the_header(
    behind: Behind, loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with behind() as server:
        async with connect(server) as client:
            client.send(b"PROXY TCP4")
            client.writer.write_eof()
            await gone(client)
        async with connect(server) as client:
            client.writer.write_eof()
            await gone(client)
        assert server.server_state.connections == set()
    assert refusals(caplog) == ["the connection ended within the header: b'PROXY TCP4'"]


async def test_without_the_option_a_header_is_no_request(where: Where) -> None:
    async with serving(where, lifespan="off") as server, connect(server) as client:
        client.send(V1 + GET % (b"", b""))
        assert (await client.answer()).status == 400
    assert where.scopes == []


# -- a stop ----------------------------------------------------------------------------------------------------


async def test_a_connection_without_its_header_is_idle_for_a_stop(
    behind: Behind, where: Where, loop_factory: LoopFactory
) -> None:
    async with behind() as server, connect(server) as late, connect(server) as known:
        late.send(b"PROXY ")
        known.send(V1)
        assert (await known.get()).status == 200
        while not any(type(one).__name__ == "PendingSocket" for one in server.server_state.connections):
            await asyncio.sleep(0)
        server.should_exit = True
        await gone(late)
        await server.shutdown_over.wait()
        assert server.server_state.connections == set()


async def test_what_was_accepted_before_a_stop_is_served(
    behind: Behind, where: Where, loop_factory: LoopFactory
) -> None:
    async with behind() as server, connect(server) as proxy:
        proxy.send(V1[:9])
        while not server.server_state.connections:
            await asyncio.sleep(0)
        server.should_exit = True
        while not server.server_state.draining:
            await asyncio.sleep(0)
        proxy.send(V1[9:] + GET % (b"", b""))
        answer = await proxy.answer()
        assert answer.status == 200 and answer.headers["connection"] == "close"
    assert where.scopes[0]["client"] == CLIENT


async def test_a_protocol_of_somebody_else_is_served_too(where: Where, loop_factory: LoopFactory) -> None:
    class Foreign(asyncio.Protocol):
        def __init__(self, **_: object) -> None:
            pass

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)
            self.transport.close()

    async with serving(where, lifespan="off", http=Foreign, proxy_protocol=True) as server, connect(server) as proxy:
        proxy.send(V1 + b"echo")
        assert await proxy.ended() == b"echo"
