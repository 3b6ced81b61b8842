"""HTTPS as the command serves it: a master and its workers. Real processes; a test waits for lines and answers."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Authority, Pair, flags
from programs import PATIENCE, Begin, Program, Start

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

APP = """
import os

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""


@pytest.fixture
def run(tmp_path: Path, start_command: Start) -> Begin[Program]:
    (tmp_path / "app.py").write_text(APP)
    return lambda *arguments: start_command("app:app", "--lifespan", "off", "--port", "0", *arguments)


@contextlib.contextmanager
def connection(port: int, tls: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock,
        tls.wrap_socket(sock, server_hostname="localhost", session=session) as wrapped,
    ):
        yield wrapped


def ask(sock: ssl.SSLSocket) -> int:
    """The pid of the worker; the connection stays."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    data = b""
    while not (found := re.search(rb"\r\n\r\n(\d+)$", data)):
        part = sock.recv(65536)
        assert part, f"closed after {data!r}"
        data += part
    return int(found[1])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_cannot_be_served_is_exit_code_3(
    run: Begin[Program], pair: Pair, authority: Authority, tmp_path: Path, workers: str
) -> None:
    authority.issue(tmp_path / "other.pem")
    command = run("--workers", workers, *flags({**pair, "ssl_keyfile": str(tmp_path / "other.pem")}))
    assert command.end() == 3
    lines = [line for line in command.text.splitlines() if "does not belong to the certificate" in line]
    assert len(lines) == 1
    assert "Traceback" not in command.text
    if workers == "2":
        assert "Started server process" not in command.text  # told before a fork


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_reload_shows_the_new_certificate_and_drops_nobody(
    run: Begin[Program], pair: Pair, authority: Authority, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    command = run("--workers", "2", "--loop", loop, "--log-level", "debug", *flags(pair))
    port = command.listens()
    for _ in range(2):
        command.wait_for("is ready")
    with connection(port, authority.client()) as old:
        before = old.getpeercert(True)
        first = ask(old)
        authority.issue(Path(pair["ssl_certfile"]), Path(pair["ssl_keyfile"]))
        command.tell(signal.SIGHUP)
        assert ask(old) == first, "a connection of before is served by its worker"
    for _ in range(2):  # until it has left, an old worker may accept for one more moment
        command.wait_for(r"Worker \d \[\d+\] (exited|was killed)")
    with connection(port, authority.client()) as new:
        assert new.getpeercert(True) != before
        assert ask(new) != first
    assert command.end(signal.SIGTERM) == 0


def test_a_reload_with_a_broken_pair_leaves_the_old_workers(
    run: Begin[Program], pair: Pair, authority: Authority
) -> None:
    command = run("--workers", "2", "--log-level", "debug", *flags(pair))
    port = command.listens()
    for _ in range(2):
        command.wait_for("is ready")
    Path(pair["ssl_keyfile"]).write_text("nonsense")
    command.tell(signal.SIGHUP)
    command.wait_for(r"contains no private key in PEM format\.")
    with connection(port, authority.client()) as sock:
        assert ask(sock)
    assert command.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_at_another_worker(
    run: Begin[Program], pair: Pair, authority: Authority, version: ssl.TLSVersion
) -> None:
    command = run("--workers", "2", "--log-level", "debug", *flags(pair))
    port = command.listens()
    for _ in range(2):
        command.wait_for("is ready")
    tls = authority.client()
    tls.minimum_version = tls.maximum_version = version
    with connection(port, tls) as sock:
        first = ask(sock)
        session = sock.session
        others = set()
        for _ in range(200):
            with connection(port, tls, session) as again:
                others.add(ask(again))
                assert again.session_reused
                session = again.session
            if others - {first}:
                break
        assert others - {first}, "the other worker never answered"
    assert command.end(signal.SIGTERM) == 0
