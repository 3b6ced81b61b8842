"""HTTPS over real sockets: handshakes, client certificates, the scope, big bodies, the end of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest

from applications import Receive, Scope, Send
from certificates import Authority, Pair
from clients import connect
from servers import LoopFactory, WatchedServer, serving
from uvicorn.process import channel
from uvicorn.process.channel import Drain
from uvicorn.process.drainmode import DrainMode
from uvicorn.worker.loop.pulse import EACH_TICK

pytestmark = pytest.mark.usefixtures("loop_factory")

MEBIBYTE = b"0123456789abcdef" * 65536
SOON = 15.0
"""Seconds: far less than a drain's deadline, far more than a loaded machine needs."""


@pytest.fixture(params=["h11", "httptools"])
def http(request: pytest.FixtureRequest) -> str:
    if request.param == "httptools":
        pytest.importorskip("httptools")
    return str(request.param)


P = ParamSpec("P")
T = TypeVar("T")


class App:
    """Keeps the scopes and echoes the body; `/big` is a large answer in one piece, `/wait` waits for the test."""

    def __init__(self, big: int = 0) -> None:
        self.scopes: list[Scope] = []
        self.big = b"x" * big
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.begun.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/wait":
            await self.go.wait()
        if scope["path"] == "/ignore":
            await send({"type": "http.response.body", "body": b"not read"})
            return
        if scope["path"] == "/big":
            await send({"type": "http.response.body", "body": self.big})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.body", "body": body or b"ok"})


# -- the same as without -----------------------------------------------------------------------------------------


async def test_requests_and_bodies(loop_factory: LoopFactory, pair: Pair, authority: Authority, http: str) -> None:
    app = App()
    tls = authority.client()
    async with serving(app, lifespan="off", http=http, **pair) as server:
        async with connect(server, tls) as client:
            for _ in range(2):
                assert (await client.get()).body == b"ok"
            client.ask(method="POST", body=MEBIBYTE)
            assert (await client.answer()).body == MEBIBYTE
            for number in range(20):
                client.ask(method="POST", body=b"%d" % number)
            assert [(await client.answer()).body for _ in range(20)] == [b"%d" % number for number in range(20)]
            assert (await client.get("/", "Connection: close")).status == 200
            assert await client.ended() == b""
        assert {scope["scheme"] for scope in app.scopes} == {"https"}
        assert app.scopes[0]["client"] == app.scopes[-1]["client"]


async def test_over_a_unix_socket(loop_factory: LoopFactory, pair: Pair, authority: Authority, tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    async with serving(App(), lifespan="off", uds=path, **pair):
        reader, writer = await asyncio.open_unix_connection(path, ssl=authority.client(), server_hostname="localhost")
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"ok")
        writer.close()


async def test_the_line_that_people_wait_for(
    loop_factory: LoopFactory, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serving(App(), lifespan="off", **pair) as server:
        assert f"Uvicorn running on https://127.0.0.1:{server.port} (Press CTRL+C to quit)" in caplog.messages


# -- the scope ---------------------------------------------------------------------------------------------------


async def scope_of(tls: ssl.SSLContext, **settings: Any) -> dict[str, Any]:
    """The extension `tls` of a scope."""
    app = App()
    async with serving(app, lifespan="off", **settings) as server, connect(server, tls) as client:
        assert (await client.get()).status == 200
        assert (await client.get()).status == 200
    first: dict[str, Any]
    first, second = (scope["extensions"]["tls"] for scope in app.scopes)
    assert first == second and first is not second
    return first


@pytest.mark.parametrize(("version", "number"), [("TLSv1_2", 0x0303), ("TLSv1_3", 0x0304)])
async def test_the_extension(
    loop_factory: LoopFactory, pair: Pair, authority: Authority, version: str, number: int
) -> None:
    tls = authority.client()
    tls.maximum_version = ssl.TLSVersion[version]
    tls.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    found = await scope_of(tls, **pair)
    assert Path(pair["ssl_certfile"]).read_text().startswith(found.pop("server_cert"))
    cipher = found.pop("cipher_suite")
    assert cipher == 0xC02B if number == 0x0303 else cipher in (0x1301, 0x1302, 0x1303)
    assert found == {
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": number,
    }


async def test_there_is_no_extension_without_tls(loop_factory: LoopFactory) -> None:
    app = App()
    async with serving(app, lifespan="off") as server, connect(server) as client:
        await client.get()
    assert "tls" not in app.scopes[0].get("extensions", {})


async def test_the_certificate_of_a_context_of_the_programs_is_not_known(
    loop_factory: LoopFactory, pair: Pair, authority: Authority
) -> None:
    settings = {**pair, "ssl_context_factory": lambda config, make_default: make_default()}
    assert (await scope_of(authority.client(), **settings))["server_cert"] is None


# -- client certificates -----------------------------------------------------------------------------------------


@pytest.fixture
def card(authority: Authority, tmp_path: Path) -> Path:
    """A client's certificate and key."""
    authority.issue(tmp_path / "card.pem", name="client.example.org", common_name="One, Some", organization_name="Ö")
    return tmp_path / "card.pem"


@pytest.mark.parametrize("wanted", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
async def test_a_client_with_a_certificate(
    loop_factory: LoopFactory, pair: Pair, authority: Authority, card: Path, wanted: int
) -> None:
    settings = {**pair, "ssl_cert_reqs": wanted, "ssl_ca_certs": authority.path}
    found = await scope_of(authority.client(card), **settings)
    assert found["client_cert_chain"][0] in card.read_text()
    names = found["client_cert_name"].split(",OU=")[0], found["client_cert_name"]
    assert names[0] == "CN=One\\, Some" and ",O=Ö" in names[1]
    assert found["client_cert_error"] is None


async def test_a_client_without_one_where_it_is_optional(
    loop_factory: LoopFactory, pair: Pair, authority: Authority
) -> None:
    settings = {**pair, "ssl_cert_reqs": 1, "ssl_ca_certs": authority.path}
    found = await scope_of(authority.client(), **settings)
    assert (found["client_cert_chain"], found["client_cert_name"]) == ([], None)


@pytest.mark.parametrize("shown", ["none", "a stranger's"])
@pytest.mark.parametrize("wanted", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
async def test_a_client_that_is_refused(
    loop_factory: LoopFactory,
    pair: Pair,
    authority: Authority,
    new_authority: Callable[[], Authority],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    wanted: int,
    shown: str,
) -> None:
    if shown == "none" and wanted == ssl.CERT_OPTIONAL:
        pytest.skip("it is served")
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    certificate = None
    if shown != "none":
        certificate = tmp_path / "stranger.pem"
        new_authority().issue(certificate)
    app = App()
    settings = {**pair, "ssl_cert_reqs": wanted, "ssl_ca_certs": authority.path}
    async with serving(app, lifespan="off", **settings) as server:
        with contextlib.suppress(OSError):  # TLS 1.3: the client may be told after its handshake
            async with connect(server, authority.client(certificate)) as client:
                client.ask()
                assert await client.ended() == b""
        await said(caplog, "was lost while it was set up")
    assert app.scopes == []
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def said(caplog: pytest.LogCaptureFixture, words: str) -> None:
    """Wait until the log says so; another turn of the loop between two looks."""
    while words not in caplog.text:
        await asyncio.sleep(0.01)


# -- handshakes that fail ----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def plain(server: WatchedServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_plain_http_on_the_tls_port(
    loop_factory: LoopFactory, pair: Pair, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    async with serving(App(), lifespan="off", **pair) as server:
        async with plain(server) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"HTTP" not in await reader.read()
        await said(caplog, "was lost while it was set up")
        async with connect(server, authority.client()) as client:
            assert (await client.get()).status == 200
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_client_that_says_nothing_is_dropped(
    loop_factory: LoopFactory, pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.worker.front.acceptor.HANDSHAKE_SECONDS", 0.1)
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    async with serving(App(), lifespan="off", **pair) as server, plain(server) as (reader, _):
        assert await reader.read() == b""
        await said(caplog, "was lost while it was set up")
        assert not server.server_state.connections
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_silent_client_does_not_hold_up_a_stop(loop_factory: LoopFactory, pair: Pair) -> None:
    async with serving(App(), lifespan="off", **pair) as server, plain(server):
        while not server.servers[0]._being_set_up:
            await asyncio.sleep(0)
        start = time.monotonic()
        server.should_exit = True
        await server.shutdown_over.wait()
        assert time.monotonic() - start < SOON


# -- a certificate that changes ----------------------------------------------------------------------------------


async def test_new_certificates_are_noticed_and_nobody_is_dropped(
    loop_factory: LoopFactory,
    pair: Pair,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("uvicorn.worker.server.CERTIFICATE_SECONDS", EACH_TICK)
    caplog.set_level(logging.INFO, "uvicorn.error")
    app = App()
    async with serving(app, lifespan="off", **pair) as server, connect(server, authority.client()) as old:
        assert (await old.get()).status == 200
        old.ask("/wait")
        await old_begun(app, 2)
        authority.issue(Path(pair["ssl_certfile"]), Path(pair["ssl_keyfile"]))
        await said(caplog, "The certificate was reloaded")
        async with connect(server, authority.client()) as new:
            assert (await new.get()).status == 200
            seen = [c.writer.get_extra_info("ssl_object").getpeercert(True) for c in (old, new)]
            assert seen[0] != seen[1]
        app.go.set()
        assert (await old.answer()).body == b"ok"
        assert (await old.get()).status == 200
    certs = [scope["extensions"]["tls"]["server_cert"] for scope in app.scopes]
    assert certs == [ssl.DER_cert_to_PEM_cert(seen[n]) for n in (0, 0, 1, 0)]


async def old_begun(app: App, count: int) -> None:
    while len(app.scopes) < count:
        app.begun.clear()
        await app.begun.wait()


async def test_a_program_may_change_the_live_context(
    loop_factory: LoopFactory, pair: Pair, authority: Authority, tmp_path: Path
) -> None:
    async with serving(App(), lifespan="off", **pair) as server:
        authority.issue(tmp_path / "other.pem")
        assert server.config.ssl is not None
        server.config.ssl.load_cert_chain(tmp_path / "other.pem")
        async with connect(server, authority.client()) as client:
            der = client.writer.get_extra_info("ssl_object").getpeercert(True)
            assert ssl.DER_cert_to_PEM_cert(der) in (tmp_path / "other.pem").read_text()


# -- the end of a connection -------------------------------------------------------------------------------------


class Deaf:
    """A client by hand that never says goodbye: it neither answers a close_notify nor closes by itself."""

    def __init__(self, port: int, tls: ssl.SSLContext, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(SOON)
        self.sock.connect(("127.0.0.1", port))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tls.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | bytes:
        """b"" where the connection has ended."""
        while True:
            try:
                return function(*arguments, **named)
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if not data:
                    return b""
                self.incoming.write(data)
            finally:
                self.flush()

    def flush(self) -> None:
        if data := self.outgoing.read():
            self.sock.sendall(data)

    def handshake(self) -> None:
        self.call(self.tls.do_handshake)

    def send(self, data: bytes) -> None:
        self.call(self.tls.write, data)

    def read(self) -> bytes:
        """Some plain text, b"" after the close_notify."""
        try:
            return bytes(self.call(self.tls.read, 65536))
        except ssl.SSLZeroReturnError:
            return b""

    def read_all(self, pause: float = 0.0) -> bytes:
        parts = []
        while part := self.read():
            parts.append(part)
            time.sleep(pause)
        return b"".join(parts)

    def hung_up(self) -> bool:
        """Wait until the server's socket is closed."""
        try:
            while self.sock.recv(65536):
                pass
        except OSError as exc:
            return exc.errno == errno.ECONNRESET
        return True


@contextlib.asynccontextmanager
async def deaf(server: WatchedServer, tls: ssl.SSLContext, receive_buffer: int = 0) -> AsyncIterator[Deaf]:
    client = await asyncio.to_thread(Deaf, server.port, tls, receive_buffer)
    try:
        await asyncio.to_thread(client.handshake)
        yield client
    finally:
        client.sock.close()


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_a_peer_that_never_says_goodbye_is_left(
    loop_factory: LoopFactory, pair: Pair, authority: Authority
) -> None:
    async with serving(App(), lifespan="off", **pair) as server, deaf(server, authority.client()) as client:
        await asyncio.to_thread(client.send, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await asyncio.to_thread(client.read_all)).endswith(b"ok")
        start = time.monotonic()
        assert await asyncio.to_thread(client.hung_up)
        assert time.monotonic() - start < SOON
        while server.server_state.connections:
            await asyncio.sleep(0.01)


async def test_idle_peers_do_not_hold_up_a_stop(loop_factory: LoopFactory, pair: Pair, authority: Authority) -> None:
    settings = {**pair, "timeout_keep_alive": 300}
    async with serving(App(), lifespan="off", **settings) as server, deaf(server, authority.client()) as client:
        await asyncio.to_thread(client.send, GET)
        assert await asyncio.to_thread(client.read)
        start = time.monotonic()
        server.should_exit = True
        await server.shutdown_over.wait()
        assert time.monotonic() - start < SOON


async def test_a_request_in_work_is_answered_in_a_stop(
    loop_factory: LoopFactory, pair: Pair, authority: Authority
) -> None:
    app = App()
    async with serving(app, lifespan="off", **pair) as server, connect(server, authority.client()) as client:
        client.ask("/wait")
        await app.begun.wait()
        server.should_exit = True
        while not server.server_state.draining:
            await asyncio.sleep(0)
        app.go.set()
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
        assert await client.ended() == b""


async def test_a_handshake_that_a_stop_overtakes(
    loop_factory: LoopFactory, pair: Pair, authority: Authority, master: channel.Endpoint
) -> None:
    """Whoever was accepted is served, although its handshake ended after the worker began to retire."""
    async with serving(App(), lifespan="off", **pair) as server:
        client = await asyncio.to_thread(Deaf, server.port, authority.client())
        while not server.servers[0]._being_set_up:
            await asyncio.sleep(0)
        master.send(Drain(DrainMode.RETIRE, time.monotonic() + 60))
        while not server.server_state.draining:
            await asyncio.sleep(0)

        def ask() -> bytes:
            client.handshake()
            client.send(GET)
            return client.read_all()

        answer = await asyncio.to_thread(ask)
        client.sock.close()
        assert b"connection: close\r\n" in answer.lower() and answer.endswith(b"ok")


async def test_a_slow_reader_gets_its_last_response_to_the_end(
    loop_factory: LoopFactory, pair: Pair, authority: Authority
) -> None:
    """Far more than the kernel holds, in one piece, read after every time of ours is over."""
    app = App(big=24 << 20)
    async with serving(app, lifespan="off", **pair) as server, deaf(server, authority.client(), 65536) as client:
        request = b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        await asyncio.to_thread(client.send, request)
        await app.begun.wait()
        while not any(c.transport.is_closing() for c in server.server_state.connections):
            await asyncio.sleep(0.01)
        for _ in range(15):  # ticks: three looks at the connections
            await server._pulse.beat()
        answer = await asyncio.to_thread(client.read_all)
        assert answer.partition(b"\r\n\r\n")[2] == app.big


async def test_a_refusal_reaches_a_client_that_is_still_sending(
    loop_factory: LoopFactory, pair: Pair, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.worker.http1.deadlines.LINGER", 0.5)  # this client uses all of it
    async with serving(App(), lifespan="off", **pair) as server, deaf(server, authority.client()) as client:

        def upload() -> bytes:
            client.send(b"nonsense\r\n\r\n")
            for _ in range(512):
                client.send(b"x" * 16384)
            return client.read()

        assert (await asyncio.to_thread(upload)).startswith(b"HTTP/1.1 400 ")
        assert await asyncio.to_thread(client.hung_up)


async def test_an_answer_before_the_upload_is_over(
    loop_factory: LoopFactory, pair: Pair, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.worker.http1.deadlines.LINGER", 0.5)  # this client uses all of it
    async with serving(App(), lifespan="off", **pair) as server, deaf(server, authority.client()) as client:

        def upload() -> bytes:
            client.send(b"POST /ignore HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 33554432\r\n\r\n")
            for _ in range(512):
                client.send(b"x" * 16384)
            return client.read_all()

        assert (await asyncio.to_thread(upload)).endswith(b"not read")
        assert await asyncio.to_thread(client.hung_up)
