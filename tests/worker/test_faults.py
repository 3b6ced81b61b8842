"""What a process leaves behind when C code kills it. Real processes."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from programs import PATIENCE, Begin, Program, Start

if sys.platform == "win32":
    pytest.skip("signals end processes there in another way", allow_module_level=True)

APP = """
import asyncio, os, signal

async def guilty(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"].startswith("/SIG"):
        os.kill(os.getpid(), getattr(signal, scope["path"][1:]))
    while not os.path.exists("uvicorn.log") and scope["path"] == "/reopened":
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"alive"})
"""
STACK = r'File ".*dying\.py", line \d+ in guilty'


@pytest.fixture
def serve(tmp_path: Path, start_command: Start) -> Begin[Program]:
    (tmp_path / "dying.py").write_text(APP)

    def begin(*options: str) -> Program:
        server = start_command("dying:guilty", "--port", "0", *options)
        server.listens()
        return server

    return begin


@pytest.mark.parametrize(("number", "told"), [("SIGABRT", "Aborted"), ("SIGSEGV", "Segmentation fault")])
def test_a_worker_leaves_its_stack(serve: Begin[Program], number: str, told: str) -> None:
    server = serve("--supervise")
    server.expect("ready: 1 worker")  # stacks are written in small pieces, and a line of the master's may be among them
    server.ask(f"/{number}")
    server.wait_for(f"Fatal Python error: {told}")
    server.wait_for(STACK)
    server.wait_for(f"Worker 0 .* was killed by {number}")
    assert server.end(signal.SIGTERM) == 0


def test_one_process_leaves_it_and_dies_of_the_signal(serve: Begin[Program]) -> None:
    server = serve()
    server.ask("/SIGABRT")
    server.wait_for(STACK)
    assert server.end() == -signal.SIGABRT


def die(tmp_path: Path, start_command: Start, **environment: str) -> tuple[Program, str, str]:
    """A server whose log file is moved away, then one that is killed. What it wrote, and the two files."""
    (tmp_path / "dying.py").write_text(APP)
    log, old = tmp_path / "uvicorn.log", tmp_path / "old.log"
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        options = ("--fd", str(sock.fileno()), "--log-file", "uvicorn.log")
        server = start_command("dying:guilty", *options, pass_fds=[sock.fileno()], env=environment)

        def ask(path: str) -> bytes:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            with contextlib.closing(client):
                client.request("GET", path)
                return client.getresponse().read()

        assert ask("/") == b"alive"
        os.rename(log, old)
        server.tell(signal.SIGUSR1)
        assert ask("/reopened") == b"alive"
        with pytest.raises(OSError):
            ask("/SIGABRT")
    assert server.end() == -signal.SIGABRT
    return server, log.read_text(), old.read_text()


def test_it_is_in_the_log_file_and_in_the_new_one(tmp_path: Path, start_command: Start) -> None:
    server, log, old = die(tmp_path, start_command)
    assert re.search(STACK, log) and "reopened" in log
    assert "Fatal" not in server.text + old


def test_a_handler_that_is_on_already_stays(tmp_path: Path, start_command: Start) -> None:
    server, log, _ = die(tmp_path, start_command, PYTHONFAULTHANDLER="1")
    assert re.search(STACK, server.text) and "Fatal" not in log
