"""Reloads, recycling and a stop under clients that keep eight requests in flight: none that was begun is lost."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

import http2 as h2
from programs import PATIENCE, Program, Start, eventually

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

APP = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
IN_FLIGHT = 8
CLIENTS = 4


class Asker(threading.Thread):
    """A client that opens another connection when it is sent away, and repeats only what may be repeated: what was
    refused, and what is above the last stream of a GOAWAY. `lost`: what a server has begun and not answered."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.stop = threading.Event()
        self.done = self.connections = 0
        self.lost: list[object] = []
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as sock:
                    self.connections += 1
                    self.ask(sock)
        except Exception as exc:  # the test tells of it
            self.failed = exc

    def ask(self, sock: socket.socket) -> None:
        begun = set(range(1, 2 * IN_FLIGHT, 2))
        last, going, rest = max(begun), True, b""
        sock.sendall(h2.hello() + h2.window_update(0, 1 << 30) + b"".join(map(h2.get, sorted(begun))))
        while begun:
            data = sock.recv(65536)
            if not data:
                self.lost += begun
                return
            found, rest = h2.frames_in(rest + data)
            for one in found:
                if one.kind in (h2.SETTINGS, h2.PING) and not one.flags & h2.ACK:
                    sock.sendall(h2.frame(one.kind, h2.ACK, 0, one.payload if one.kind == h2.PING else b""))
                elif one.kind == h2.GOAWAY:
                    going = False
                    if one.goaway[1]:
                        self.lost.append(one.goaway)
                    begun = {number for number in begun if number <= one.goaway[0]}
                elif one.kind == h2.RST_STREAM and one.stream in begun:
                    begun.discard(one.stream)
                    if one.number != h2.REFUSED_STREAM:
                        self.lost.append(one.number)
                elif one.kind == h2.DATA and one.flags & h2.END_STREAM:
                    begun.discard(one.stream)
                    self.done += 1
                    if going and not self.stop.is_set():
                        last += 2
                        begun.add(last)
                        sock.sendall(h2.get(last))


@pytest.mark.parametrize("how", ["reload", "requests", "stop"])
def test_nothing_is_lost(how: str, start_command: Start, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(APP)
    limits = ["--limit-max-requests", "500"] if how == "requests" else []
    program = start_command("plain:app", "--port", "0", "--workers", "2", "--http2", "--no-access-log", *limits)
    program.serves(2)
    askers = [Asker(program.port) for _ in range(CLIENTS)]
    for asker in askers:
        asker.start()
    try:
        during(how, program, askers)
    finally:
        for asker in askers:
            asker.stop.set()
    eventually(lambda: not any(asker.is_alive() for asker in askers), "their end")
    assert [asker.failed for asker in askers] == [None] * CLIENTS
    assert [asker.lost for asker in askers] == [[]] * CLIENTS
    assert program.end(signal.SIGTERM) == 0


def during(how: str, program: Program, askers: list[Asker]) -> None:
    """What happens to the server while they ask."""
    eventually(lambda: all(asker.done > 100 for asker in askers), "their first answers")
    if how == "reload":
        program.tell(signal.SIGHUP)
        program.expect("reloaded:")
        eventually(lambda: all(asker.connections > 1 for asker in askers), "their next connections")
    elif how == "requests":
        eventually(lambda: all(asker.connections > 4 for asker in askers), "their next connections")
    else:
        for asker in askers:
            asker.stop.set()  # what is in flight is answered, and nobody opens another connection
        program.tell(signal.SIGTERM)
