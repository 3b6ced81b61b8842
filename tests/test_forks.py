"""Processes that an application forks while it is served: a child is no server. Real processes: a child holds
the output open, so the test sees its end there.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Authority, Pair, flags

if sys.platform == "win32":
    pytest.skip("there is no fork", allow_module_level=True)

from programs import PATIENCE, Begin, Program, Start
from uvicorn.config import Config
from uvicorn.process import channel
from uvicorn.process.channel import Endpoint
from uvicorn.process.page import Phase
from uvicorn.worker.loop.forks import cleaned_forks
from uvicorn.worker.server import Server

APP = """
import asyncio, concurrent.futures, multiprocessing, os, signal, sys, time

fork = multiprocessing.get_context("fork")
pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=fork)
kept = []

def mine(number, frame):
    print("= handled by the application", flush=True)

signal.signal(signal.SIGUSR2, mine)

def child():
    names = ("SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGTTIN", "SIGCHLD")
    default = all(signal.getsignal(getattr(signal, name)) is signal.SIG_DFL for name in names)
    interrupt = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    own = signal.getsignal(signal.SIGUSR2) is mine
    sockets = [name for name in os.listdir("/proc/self/fd") if is_socket(int(name))] if os.path.exists("/proc") else []
    print(f"= child {os.getpid()} {default} {interrupt} {own} {signal.set_wakeup_fd(-1)} {len(sockets)}", flush=True)
    while True:
        time.sleep(60)

def is_socket(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    except OSError:
        return False

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    if scope["path"] == "/fork":
        if os.fork() == 0:
            try:
                child()
            finally:
                os._exit(0)
    elif scope["path"] in ("/exit", "/return"):
        pid = os.fork()
        if pid == 0:
            if scope["path"] == "/exit":
                sys.exit(7)
            return
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(f"= the child has left with {code}", flush=True)
    elif scope["path"] == "/process":
        kept.append(fork.Process(target=child, daemon=True))
        kept[-1].start()
    elif scope["path"] == "/pool":
        kept.append(pool.submit(child))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})
"""

CHILD = r"= child (\d+) True True True -1 "
REQUEST = b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

EVERY_WAY = pytest.mark.parametrize("arguments", [(), ("--supervise",)], ids=["alone", "master"])


@pytest.fixture
def start(start_command: Start, tmp_path: Path) -> Begin[Program]:
    (tmp_path / "app.py").write_text(APP)
    settings = ("--lifespan", "off", "--port", "0", "--timeout-graceful-shutdown", "2")
    return lambda *arguments: start_command("app:app", *settings, *arguments)


@contextlib.contextmanager
def client(server: Program, tls: ssl.SSLContext | None = None) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as sock:
        if tls is None:
            yield sock
        else:
            with tls.wrap_socket(sock, server_hostname="localhost") as wrapped:
                yield wrapped


def ask(sock: socket.socket, path: bytes = b"/", fields: bytes = b"", until: bytes = b"answered") -> None:
    sock.sendall(REQUEST % (path, fields))
    data = b""
    while not data.endswith(until):
        part = sock.recv(65536)
        assert part, data
        data += part


def has_ended(sock: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass  # a close frame, or the end of TLS
    return True


@EVERY_WAY
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("path", [b"/fork", b"/process", b"/pool"])
def test_a_child_is_no_server(start: Begin[Program], arguments: tuple[str, ...], loop: str, path: bytes) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = start("--loop", loop, *arguments)
    with client(server) as asking, client(server) as idle, client(server) as websocket:
        ask(idle)
        ask(websocket, b"/ws", UPGRADE, b"\r\n\r\n")
        ask(asking, path)
        child = int(server.expect(CHILD)[1])
        for sock in (asking, idle):
            ask(sock)  # the parent's loop hears of them as before
        server.tell(signal.SIGTERM)
        assert all(map(has_ended, (asking, idle, websocket)))
        if path == b"/fork":
            assert server.process.wait(PATIENCE) == 0  # it is nobody's: it goes on
            os.kill(child, 0)
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("127.0.0.1", server.port))
                sock.listen()
            os.kill(child, signal.SIGTERM)
        assert server.end() == 0


@EVERY_WAY
def test_a_child_holds_no_socket_of_the_server(start: Begin[Program], arguments: tuple[str, ...]) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("its descriptors are looked up in /proc")
    server = start("--loop", "asyncio", *arguments)
    with client(server) as asking:
        ask(asking, b"/fork")
        found = server.expect(CHILD + r"(\d+)")
        assert int(found[2]) == 2, "the two ends by which the loop wakes itself"
        os.kill(int(found[1]), signal.SIGUSR2)
        server.expect("= handled by the application")
        os.kill(int(found[1]), signal.SIGTERM)
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_https_and_its_handshakes_are_left_behind_too(
    start: Begin[Program], authority: Authority, pair: Pair, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = start("--loop", loop, *flags(pair))
    port = int(server.wait_for(r"Uvicorn running on https://127\.0\.0\.1:(\d+)")[1])
    with (
        client(server, authority.client()) as asking,
        client(server, authority.client()) as idle,
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as shaking,
    ):
        ask(idle)
        ask(asking, b"/fork")
        child = int(server.expect(CHILD)[1])
        ask(idle)
        server.tell(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        for sock in (asking, idle):
            with contextlib.suppress(ssl.SSLError):
                assert has_ended(sock)
        assert has_ended(shaking)
        os.kill(child, signal.SIGTERM)
        server.end()


@EVERY_WAY
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("path", "code"), [(b"/exit", 7), (b"/return", 1)])
def test_a_child_that_comes_back_is_no_second_server(
    start: Begin[Program], arguments: tuple[str, ...], loop: str, path: bytes, code: int
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = start("--loop", loop, *arguments)
    with client(server) as asking, client(server) as idle:
        ask(idle)
        ask(asking, path)
        server.expect(f"= the child has left with {code}$")
        for sock in (idle, asking):
            ask(sock)
    assert server.end(signal.SIGTERM) == 0
    assert server.text.count("Shutting down") == 1


def test_a_program_that_embeds_a_server_decides_for_itself(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    program = start_program("import uvicorn; uvicorn.Server(uvicorn.Config('app:app', port=0, lifespan='off')).run()")
    program.get("/fork")
    child = int(re.compile(r"= child (\d+) False").search(program.expect("= child .*").string)[1])  # type: ignore[index]
    os.kill(child, signal.SIGKILL)
    program.end(signal.SIGTERM)


def test_a_child_does_not_write_to_the_workers_row_of_the_fleets_page(master: Endpoint) -> None:
    """It may live longer than the worker, and the row is another worker's then."""
    link = channel.current
    assert link is not None
    link.beat(1.0, 2, Phase.SERVING, 3)
    with cleaned_forks(Server(Config("app:app", log_config=None)), [], link):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                link.beat(9.0, 9, Phase.SERVING, 9)
                link.heartbeat.pass_interrupt()
                code = 0 if link.heartbeat.take_interrupt() else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert link.heartbeat.read() == (1.0, 2, Phase.SERVING, 3)
