"""`--host ::` serves IPv4 as well, and IPv4 clients appear with their IPv4 addresses. Real processes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import fetch
from programs import Program, Start

pytestmark = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no socket for both families")

APP = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{scope['client'][0]} {scope['server'][0]}".encode()})
"""
RUNNING = r"Uvicorn running on http://\[::\]:(\d+)"
MODES = {
    "one process": (),
    "asyncio": ("--loop", "asyncio"),
    "two workers": ("--workers", "2"),
    "the PROXY protocol": ("--proxy-protocol",),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def both() -> Iterator[socket.socket]:
    """A listening socket for both address families."""
    try:
        sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with sock:
        yield sock


def ask(host: str, port: int, before: bytes = b"", fields: bytes = b"") -> str:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    return fetch((host, port), before + request + fields + b"\r\n").decode()


def check(program: Program, port: int, before: bytes = b"") -> None:
    """IPv4 clients have plain IPv4 addresses in the scope, in the log and in the list of trusted proxies."""
    if before:  # what it names is believed because of who sends it
        assert ask("127.0.0.1", port, before) == "203.0.113.1 192.0.2.1"
        program.wait_for(r'203\.0\.113\.1:4711 - "GET / HTTP/1\.1" 200')
        return
    assert ask("127.0.0.1", port) == "127.0.0.1 127.0.0.1"
    program.wait_for(r' 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200')
    assert ask("::1", port) == "::1 ::1"
    assert ask("127.0.0.1", port, fields=b"X-Forwarded-For: 198.51.100.7\r\n") == "198.51.100.7 127.0.0.1"
    assert "::ffff:" not in program.text


@pytest.mark.parametrize("mode", MODES)
def test_every_address(mode: str, start_command: Start, folder: Path, both: socket.socket) -> None:
    program = start_command("app:app", "--host", "::", "--port", "0", "--forwarded-allow-ips=127.0.0.1", *MODES[mode])
    port = int(program.expect(RUNNING)[1])
    check(program, port, b"PROXY TCP4 203.0.113.1 192.0.2.1 4711 443\r\n" if "PROXY" in mode else b"")
    assert program.end(signal.SIGTERM) == 0


def test_a_socket_that_was_given(start_command: Start, folder: Path, both: socket.socket) -> None:
    program = start_command("app:app", "--fd", str(both.fileno()), pass_fds=[both.fileno()])
    program.expect(RUNNING)
    check(program, both.getsockname()[1])
    assert program.end(signal.SIGTERM) == 0


def test_a_program(start_program: Start, folder: Path, both: socket.socket) -> None:
    program = start_program("import uvicorn\nuvicorn.run('app:app', host='::', port=0)")
    check(program, int(program.expect(RUNNING)[1]))
