"""A reload under load: every message that a client sent before it answered the close frame reaches the application."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from programs import PATIENCE, Program, Start

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

connection = pytest.importorskip("websockets.sync.client")
closed = pytest.importorskip("websockets.exceptions").ConnectionClosed

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

CLIENTS = 6
APP = """
import os
record = os.open("record", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        os.write(record, message["text"].encode() + b"\\n")
        try:
            await send({"type": "websocket.send", "text": message["text"]})
        except OSError:
            pass
"""


@pytest.fixture
def master(tmp_path: Path, start_command: Start, ws: str) -> Program:
    (tmp_path / "collect.py").write_text(APP)
    return start_command("collect:app", "--port", "0", "--workers", "2", "--ws", ws)


class Talker(threading.Thread):
    """Sends numbered messages ten by ten, connects again when it is sent away, and notes what it got rid of."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__()
        self.label, self.url = name, url
        self.sent: list[str] = []
        self.codes: list[int] = []
        self.stop, self.talking, self.sent_away = threading.Event(), threading.Event(), threading.Event()
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                with connection.connect(self.url, open_timeout=PATIENCE) as socket:
                    self.talk(socket)
        except BaseException as exc:
            self.fault = exc
            self.talking.set()  # nobody has to wait for the fault to be said
            self.sent_away.set()

    def talk(self, socket: ClientConnection) -> None:
        try:
            while not self.stop.is_set():
                for _ in range(10):
                    text = f"{self.label} {len(self.sent)}"
                    socket.send(text)
                    self.sent.append(text)
                for _ in range(10):
                    socket.recv(timeout=PATIENCE)
                self.talking.set()
        except closed as exc:
            self.talking.clear()
            self.sent_away.set()
            self.codes.append(exc.rcvd.code if exc.rcvd is not None else 1006)


def test_no_message_is_lost(master: Program, tmp_path: Path) -> None:
    port = master.listens()
    talkers = [Talker(str(number), f"ws://127.0.0.1:{port}/") for number in range(CLIENTS)]
    for talker in talkers:
        talker.start()
    try:
        for generation in (2, 3):
            for talker in talkers:  # who comes only now is not sent away
                assert talker.talking.wait(PATIENCE)
            master.tell(signal.SIGHUP)
            master.wait_for(rf"reloaded: 2 workers, generation {generation}")
            for talker in talkers:
                assert talker.sent_away.wait(PATIENCE)
                talker.sent_away.clear()
    finally:
        for talker in talkers:
            talker.stop.set()
        for talker in talkers:
            talker.join(PATIENCE)
    assert [talker.fault for talker in talkers] == [None] * CLIENTS
    assert {code for talker in talkers for code in talker.codes} == {1012}
    assert master.end(signal.SIGTERM) == 0
    record = (tmp_path / "record").read_text().splitlines()
    assert len(record) > 100
    for talker in talkers:
        mine = [line for line in record if line.startswith(talker.label + " ")]
        assert mine == talker.sent
