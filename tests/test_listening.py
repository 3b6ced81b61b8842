"""When the port opens: it is bound at once, and clients can connect once a worker serves. Real processes.

The application waits at a gate, a pipe that the test opens, in its import or in its startup. The test holds the port
by a bound socket of its own: nobody is kept from binding it as well, as long as it does not listen.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import connects, fetch
from programs import Program, Start

APP = """
import os, sys
gate = os.environ.get("GATE")
def wait(where):
    if gate and os.environ["WHERE"] == where:
        os.write(2, b"waiting at the gate\\n")
        open(gate).read()
wait("import")
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        wait("startup")
        if os.environ.get("FAILS"):
            raise ValueError("the database is away")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})
"""

MODES = {"one process": (), "a master": ("--supervise",), "two workers": ("--workers", "2")}


class Gate:
    """A named pipe: its readers wait until the test opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def open(self) -> None:
        """Let the readers continue, those that wait and those that come later."""
        os.close(os.open(self.path, os.O_RDWR))  # which does not wait for somebody who waits
        self.path.unlink()
        self.path.write_text("")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / "gated.py").write_text(APP)
    return Gate(tmp_path / "gate")


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def begin(start: Start, gate: Gate, *arguments: str, where: str = "import", **env: str) -> Program:
    return start("gated:app", *arguments, env={"GATE": str(gate.path), "WHERE": where, **env})


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("where", ["import", "startup"])
@pytest.mark.parametrize("mode", MODES)
def test_nobody_is_let_in_before_somebody_serves(
    mode: str, where: str, loop: str, start_command: Start, gate: Gate, port: int
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    program = begin(start_command, gate, "--port", str(port), "--loop", loop, *MODES[mode], where=where)
    program.wait_for("waiting at the gate")
    assert not connects(("127.0.0.1", port)) and "running on" not in program.text
    if mode == "two workers":
        program.expect("waiting at the gate")
    gate.open()
    program.wait_for("Application startup complete")
    program.expect("Uvicorn running on")
    if mode == "two workers":
        program.expect("Application startup complete")
    assert fetch(("127.0.0.1", port)) == b"here"
    assert program.end(signal.SIGTERM) == 0
    assert program.text.count("running on") == 1


@pytest.mark.parametrize("mode", MODES)
def test_of_two_that_have_bound_the_second_finds_out_when_it_listens(
    mode: str, start_command: Start, gate: Gate, port: int
) -> None:
    slow = begin(start_command, gate, "--port", str(port), *MODES[mode])
    slow.wait_for("waiting at the gate")
    quick = start_command("gated:app", "--port", str(port))
    quick.wait_for("Uvicorn running on")
    gate.open()
    assert slow.end() == 3
    assert slow.text.count(f"Cannot listen on 127.0.0.1:{port}: the port is in use.") == 1, slow.text
    assert "running on" not in slow.text
    late = start_command("gated:app", "--port", str(port), *MODES[mode])
    assert late.end() == 3
    assert f"Cannot listen on 127.0.0.1:{port}: the port is in use." in late.text
    assert "Started" not in late.text
    assert fetch(("127.0.0.1", port)) == b"here"


@pytest.mark.parametrize("mode", MODES)
def test_the_path_of_a_server_that_starts_is_not_stale(
    mode: str, start_command: Start, gate: Gate, tmp_path: Path
) -> None:
    path = tmp_path / "x.sock"
    slow = begin(start_command, gate, "--uds", str(path), *MODES[mode])
    slow.wait_for("waiting at the gate")
    assert path.is_socket() and not connects(str(path))
    before = path.stat().st_ino
    late = start_command("gated:app", "--uds", str(path))
    assert late.end() == 3
    assert "a live server is using it" in late.text
    assert path.stat().st_ino == before
    gate.open()
    slow.expect("Uvicorn running on unix:")
    assert connects(str(path))
    assert slow.end(signal.SIGTERM) == 0
    assert not path.exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_start_that_fails_never_listened(mode: str, start_command: Start, gate: Gate, port: int) -> None:
    program = begin(
        start_command, gate, "--port", str(port), *MODES[mode], "--lifespan", "on", where="startup", FAILS="1"
    )
    program.wait_for("waiting at the gate")
    gate.open()
    assert program.end() == 3
    assert "running on" not in program.text and "the database is away" in program.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
@pytest.mark.parametrize("where", ["import", "startup"])
def test_a_stop_before_somebody_serves(
    number: signal.Signals, where: str, start_command: Start, gate: Gate, port: int
) -> None:
    program = begin(start_command, gate, "--port", str(port), "--supervise", where=where)
    program.wait_for("waiting at the gate")
    program.tell(number)
    program.wait_for(f"Received {number.name}")
    gate.open()
    assert program.end() == 0
    assert "running on" not in program.text


def test_a_reloader_listens_at_once(start_command: Start, gate: Gate, port: int) -> None:
    """A browser that asks while the application is being mended waits for it."""
    program = begin(start_command, gate, "--port", str(port), "--reload", "--reload-dir", str(gate.path.parent))
    program.wait_for("Uvicorn running on")
    program.wait_for("waiting at the gate")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/")
        gate.open()
        assert connection.getresponse().read() == b"here"
    assert program.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("where", ["import", "startup"])
def test_a_stop_while_a_worker_starts_leaves_no_queue_where_nobody_accepts(
    where: str, start_command: Start, gate: Gate, port: int
) -> None:
    gate.open()
    program = begin(start_command, gate, "--port", str(port), "--supervise", where=where)
    program.serves(1)
    gate.path.unlink()
    again = Gate(gate.path)
    program.tell(signal.SIGHUP)
    program.wait_for("waiting at the gate")
    program.tell(signal.SIGTERM)
    program.expect("Application shutdown complete")  # of the one that served: it has closed its listener long ago
    assert not connects(("127.0.0.1", port)), "who comes now would wait at a worker that never accepts"
    again.open()
    assert program.end() == 0


def test_a_worker_that_comes_later_accepts(start_command: Start, gate: Gate, port: int) -> None:
    """A worker that was forked after the master had told all workers to listen."""
    program = start_command("gated:app", "--port", str(port), "--supervise")
    program.serves(1)
    worker = int(re.findall(r"Started server process \[(\d+)\]", program.text)[-1])
    program.tell(signal.SIGKILL, worker)
    program.wait_for("Application startup complete")
    assert fetch(("127.0.0.1", port)) == b"here"
    program.tell(signal.SIGHUP)
    program.wait_for("reloaded: 1 worker")
    assert fetch(("127.0.0.1", port)) == b"here"
    assert program.end(signal.SIGTERM) == 0
    assert program.text.count("running on") == 1


# -- programs --------------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, os, sys
import uvicorn
from uvicorn.supervisors import Multiprocess
import gated

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        os.write(2, b"it accepts\\n")

config = uvicorn.Config(gated.app, port=0, workers=int(sys.argv[1]))
sock = config.bind_socket()
how = sys.argv[2]
if how == "serve":
    asyncio.run(Server(config).serve(sockets=[sock]))
elif how == "run":
    Server(config).run(sockets=[sock])
else:
    Multiprocess(config, target=Server(config).run, sockets=[sock]).run()
"""


@pytest.mark.parametrize(("how", "workers"), [("serve", 1), ("run", 1), ("master", 1), ("master", 2)])
def test_bind_socket_says_the_address_and_nobody_else(how: str, workers: int, start_program: Start, gate: Gate) -> None:
    env = {"GATE": str(gate.path), "WHERE": "startup"}
    program = start_program(PROGRAM, str(workers), how, env=env)
    port = program.listens()
    program.wait_for("waiting at the gate")
    assert not connects(("127.0.0.1", port))
    if workers == 2:
        program.expect("waiting at the gate")
    gate.open()
    program.expect("it accepts")
    assert fetch(("127.0.0.1", port)) == b"here"
    program.end(signal.SIGTERM)
    assert program.text.count("Uvicorn running on") == 1, program.text
