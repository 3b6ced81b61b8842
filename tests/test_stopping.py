"""How a server ends: real processes and real signals, with a master and without one."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Protocol

import pytest

if sys.platform == "win32":
    pytest.skip("its signals are others", allow_module_level=True)

from programs import LIFESPAN, Begin, Program, Start
from uvicorn.process.interrupts import AGAIN_SECONDS

APP = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["path"] == "/slow":
        print("= begun", flush=True)
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})
"""

EVERY_WAY = pytest.mark.parametrize("arguments", [(), ("--supervise",)], ids=["alone", "master"])


@pytest.fixture
def start(start_command: Start, tmp_path: Path) -> Begin[Program]:
    (tmp_path / "app.py").write_text(LIFESPAN + APP)
    return lambda *arguments: start_command("app:app", "--port", "0", *arguments)


# -- which signal is urgent ------------------------------------------------------------------------------------


@EVERY_WAY
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_are_passed_on_are_no_wish_for_haste(
    start: Begin[Program], tmp_path: Path, arguments: tuple[str, ...], first: signal.Signals
) -> None:
    """A launcher passes on a signal that the process group has received already."""
    server = start(*arguments)
    client = server.ask("/slow")
    server.expect("= begun")
    os.killpg(server.process.pid, first)
    server.expect("Shutting down")
    for number in (first, signal.SIGTERM, signal.SIGTERM):
        server.tell(number)
    (tmp_path / "go").touch()
    assert client.getresponse().read() == b"answered"
    assert server.end() == 0
    assert "= shut down" in server.text and "stopping now" not in server.text


@EVERY_WAY
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_copies_that_come_while_it_ends_change_nothing(
    start: Begin[Program], arguments: tuple[str, ...], number: signal.Signals
) -> None:
    """Copies of a signal, from the first one until the process has ended."""
    server = start(*arguments)
    assert server.get() == "answered"
    begun = time.monotonic()
    while server.process.poll() is None and time.monotonic() - begun < AGAIN_SECONDS * 0.9:
        server.tell(number)
        time.sleep(0.001)
    assert server.end() == 0
    assert "= shut down" in server.text and "Traceback" not in server.text


@EVERY_WAY
def test_an_interrupt_ends_a_delay_that_a_term_began(start: Begin[Program], arguments: tuple[str, ...]) -> None:
    server = start("--shutdown-delay", "1000", *arguments)
    assert server.get() == "answered"
    server.tell(signal.SIGTERM)
    server.wait_for("ccepting for 1000 s more, then stopping")
    server.tell(signal.SIGTERM)
    assert server.get() == "answered"
    assert server.end(signal.SIGINT) == 0
    assert "= shut down" in server.text and "stopping now" not in server.text


@EVERY_WAY
def test_a_second_interrupt_a_second_later_is_urgent(start: Begin[Program], arguments: tuple[str, ...]) -> None:
    server = start(*arguments)
    client = server.ask("/slow")
    server.expect("= begun")
    server.tell(signal.SIGINT)
    server.expect("Shutting down")
    server.insist()
    assert server.end() == 0
    assert "= shut down" not in server.text
    client.close()


# -- what multiprocessing has started --------------------------------------------------------------------------

STARTS = """
import asyncio, concurrent.futures, multiprocessing, os, subprocess, sys, time

fork = multiprocessing.get_context("fork")
pool = concurrent.futures.ProcessPoolExecutor(2, mp_context=fork)
queue = fork.Queue()
kept = []

def for_ever():
    while True:
        time.sleep(60)

async def app(scope, receive, send):
    assert scope["type"] == "http"
    match scope["path"]:
        case "/pool":
            said = await asyncio.get_running_loop().run_in_executor(pool, os.getpid)
        case "/process" | "/daemon":
            kept.append(fork.Process(target=for_ever, daemon=scope["path"] == "/daemon"))
            kept[-1].start()
            said = kept[-1].pid
        case "/queue":
            queue.put(b"x" * 1_000_000)
            said = 0
        case _:
            command, nothing = [sys.executable, "-c", "import time; time.sleep(600)"], subprocess.DEVNULL
            kept.append(subprocess.Popen(command, stdout=nothing, stderr=nothing))
            said = kept[-1].pid
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(said).encode()})
"""


@pytest.fixture
def start_with_children(start_command: Start, tmp_path: Path) -> Begin[Program]:
    (tmp_path / "starts.py").write_text(STARTS)
    return lambda *arguments: start_command("starts:app", "--port", "0", "--timeout-graceful-shutdown", "2", *arguments)


def can_listen(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
    return True


@pytest.mark.parametrize("path", ["/pool", "/process", "/daemon", "/queue"])
@pytest.mark.parametrize("arguments", [(), ("--supervise",), ("--reload",)], ids=["alone", "master", "reload"])
def test_what_multiprocessing_has_started_is_gone_in_time(
    start_with_children: Begin[Program], arguments: tuple[str, ...], path: str
) -> None:
    """A process that is left over would hold the output open, and the test would not see its end."""
    server = start_with_children(*arguments)
    server.get(path)
    assert server.end(signal.SIGTERM) == 0
    assert can_listen(server.port)
    assert "Killing" not in server.text and "Leaving without" not in server.text and "Traceback" not in server.text
    assert ("Ending the processes" in server.text) == (path == "/process")


def test_a_worker_that_is_replaced_takes_its_children_with_it(start_with_children: Begin[Program]) -> None:
    server = start_with_children("--supervise")
    for path in ("/pool", "/process", "/daemon"):
        server.get(path)
    server.tell(signal.SIGHUP)
    server.expect("reloaded: 1 worker")
    server.expect("Ending the processes")
    assert server.end(signal.SIGTERM) == 0
    assert "Killing" not in server.text


def test_what_subprocess_has_started_is_left_alone(start_with_children: Begin[Program]) -> None:
    server = start_with_children()
    child = int(server.get("/subprocess"))
    assert server.end(signal.SIGTERM) == 0
    assert alive(child)
    os.kill(child, signal.SIGKILL)


@EVERY_WAY
def test_a_second_interrupt_waits_for_no_child(
    start_command: Start, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "starts.py").write_text(STARTS)
    server = start_command("starts:app", "--port", "0", "--timeout-graceful-shutdown", "1000", *arguments)
    server.get("/process")
    server.tell(signal.SIGINT)
    server.expect("Waiting for the processes that multiprocessing has started")
    server.tell(signal.SIGTERM)
    server.insist()
    server.end()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# -- what an application has not ended -------------------------------------------------------------------------

UNENDED = """
import asyncio

kept = []

async def generator(seconds):
    try:
        yield
    finally:
        print("= begun", flush=True)
        await asyncio.sleep(seconds)
        print("= ended", flush=True)

async def task(seconds):
    async for _ in generator(0.1):
        try:
            await asyncio.sleep(3600)
        finally:
            print("= begun", flush=True)
            await asyncio.sleep(seconds)
            print("= ended", flush=True)

async def deaf():
    print("= deaf", flush=True)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("= cancelled", flush=True)

async def app(scope, receive, send):
    _, what, *rest = scope["path"].split("/")
    seconds = float(rest[0]) if rest else 3600
    if what == "generator":
        kept.append(generator(seconds))
        await kept[-1].__anext__()
    else:
        kept.append(asyncio.create_task(task(seconds)))
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"kept"})

async def starts_for_ever(scope, receive, send):
    await deaf()
"""

WAYS = pytest.mark.parametrize("arguments", [(), ("--supervise",), ("--reload",)], ids=["alone", "master", "reload"])
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class StartUnended(Protocol):
    def __call__(self, seconds: str, loop: str, *arguments: str, name: str = "app") -> Program: ...


@pytest.fixture
def start_unended(start_command: Start, tmp_path: Path) -> StartUnended:
    (tmp_path / "unended.py").write_text(UNENDED)

    def begin(seconds: str, loop: str, *arguments: str, name: str = "app") -> Program:
        settings = ("--port", "0", "--loop", loop, "--timeout-graceful-shutdown", seconds)
        return start_command(f"unended:{name}", *settings, *arguments)

    return begin


@WAYS
@LOOPS
@pytest.mark.parametrize("what", ["generator", "task"])
def test_what_waits_in_its_finally_has_the_time_of_the_stop(
    start_unended: StartUnended, arguments: tuple[str, ...], loop: str, what: str
) -> None:
    server = start_unended("2", loop, "--lifespan", "off", *arguments)
    server.get(f"/{what}")
    server.tell(signal.SIGTERM)
    server.expect("= begun")
    server.tell(signal.SIGTERM)
    assert server.end() == 0
    assert "Leaving without waiting for" in server.text and "Killing" not in server.text
    assert "Traceback" not in server.text


@WAYS
@LOOPS
@pytest.mark.parametrize("what", ["generator", "task"])
def test_what_ends_in_time_is_waited_for(
    start_unended: StartUnended, arguments: tuple[str, ...], loop: str, what: str
) -> None:
    server = start_unended("1000", loop, "--lifespan", "off", *arguments)
    server.get(f"/{what}/1.2")
    server.tell(signal.SIGTERM)
    server.expect("= begun")
    server.tell(signal.SIGTERM)
    assert server.end() == 0
    assert "= ended" in server.text and "Leaving without" not in server.text


def test_a_second_interrupt_waits_for_no_generator(start_unended: StartUnended) -> None:
    server = start_unended("1000", "asyncio", "--lifespan", "off")
    server.get("/generator")
    server.tell(signal.SIGINT)
    server.expect("= begun")
    server.insist()
    assert server.end() == 0
    assert "Traceback" not in server.text


@LOOPS
def test_a_startup_that_hears_no_cancellation_has_the_time_of_the_stop(start_unended: StartUnended, loop: str) -> None:
    server = start_unended("1", loop, name="starts_for_ever")
    server.expect("= deaf")
    server.tell(signal.SIGTERM)
    server.expect("= cancelled")
    assert server.end() == 0


# -- a reloader of a program's ---------------------------------------------------------------------------------

PROGRAM = """
import uvicorn
from uvicorn.supervisors import ChangeReload

if __name__ == "__main__":
    config = uvicorn.Config("app:app", port=0, reload=True)
    ChangeReload(config, target=uvicorn.Server(config).run, sockets=[config.bind_socket()]).run()
"""


def test_a_programs_reloader_has_the_lifespan_shut_down_although_a_stream_is_open(
    start_program: Start, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(LIFESPAN + APP)
    program = start_program(PROGRAM)
    program.expect("Application startup complete")
    client = program.ask("/slow")
    program.expect("= begun")
    (tmp_path / "app.py").write_text(LIFESPAN + APP + "# changed\n")
    program.expect("= shut down")
    program.expect("Application startup complete")
    client.close()
    program.end(signal.SIGTERM)
    assert program.text.count("= shut down") == 2
