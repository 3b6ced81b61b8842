"""A master over real workers that serve real requests: what an operator is promised, through the command.

Everything waits for a line of the log, an answer, or the end of a process.
"""

from __future__ import annotations

import http.client
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Protocol

import pytest

from programs import PATIENCE, Program, Start
from uvicorn.config import options

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

APP = """
import asyncio, os, re, sys, threading, time

def guilty(kind):
    if kind == "sleep":
        time.sleep(600)
    if kind == "spin":
        while True:
            pass
    if kind == "gil":
        sum(range(10**13))
    if kind == "traced":
        sys.settrace(lambda *_: None)
        time.sleep(float(os.environ["TRACED"]))
        sys.settrace(None)

async def app(scope, receive, send):
    if scope["type"] == "lifespan" and os.environ.get("APP") == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    assert scope["type"] == "http"
    _, what, *rest = scope["path"].split("/")
    if what == "block":
        os.write(1, b"blocking %d\\n" % os.getpid())
        guilty(rest[0])
    if what == "busy":
        until = time.monotonic() + float(rest[0])
        while time.monotonic() < until:
            pass
    if what == "wait":
        print("waiting", flush=True)
        await asyncio.Event().wait()
    if what == "nap":
        print("napping", flush=True)
        await asyncio.sleep(float(rest[0]))
    if what == "thread":
        print("threaded", flush=True)
        await asyncio.to_thread(threading.Event().wait)
    text = f"{os.getpid()} {os.environ.get('GREETING', '')}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""


class Serve(Protocol):
    """Starts the command with options and an environment, and waits until it listens."""

    def __call__(self, *options: str, **environment: str) -> Program: ...


@pytest.fixture
def serve(tmp_path: Path, start_command: Start) -> Serve:
    (tmp_path / "served.py").write_text(APP)

    def begin(*options: str, **environment: str) -> Program:
        server = start_command("served:app", "--port", "0", "--no-access-log", *options, env=environment)
        server.listens()
        return server

    return begin


def words(server: Program) -> list[str]:
    """The answer's words: the pid of the worker, and the greeting."""
    return server.get().split(" ")


EXACT_LINES = sys.implementation.name == "cpython"
"""PyPy's faulthandler calls its line numbers approximate, and they are."""
HANG = ("--supervise", "--timeout-worker-healthcheck", "1")


@pytest.mark.parametrize(
    ("kind", "state", "line"),
    [
        ("sleep", "waiting", "time.sleep"),
        ("spin", "running on the CPU", "while True|pass"),
        ("gil", "running on the CPU", "sum"),
    ],
)
def test_a_blocked_loop_is_told_with_the_guilty_line_and_replaced(
    serve: Serve, kind: str, state: str, line: str
) -> None:
    server = serve(*HANG)
    waiting = server.ask("/wait")
    server.expect("waiting")
    blocked = server.ask(f"/block/{kind}?secret=1")
    pid = server.expect(r"blocking (\d+)")[1]
    server.expect(rf"Worker 0 \[{pid}\] has not run its event loop .*; killing it")
    server.expect(f"its main thread is {state}")
    guilty = int(server.expect(r'served\.py", line (\d+) in guilty')[1])
    if EXACT_LINES:
        assert re.match(line, APP.splitlines()[guilty - 1].strip())
    if kind != "gil":  # a call that holds the interpreter lock lets nobody speak: then only their number is known
        server.expect(r"In flight:")
        named = server.expect(r"  GET /\S+ from 127\.0\.0\.1:\d+, \d+\.\d s")[0]
        named += server.expect(r"  GET /\S+ from 127\.0\.0\.1:\d+, \d+\.\d s")[0]
        assert "/wait" in named and f"/block/{kind}?secret=1" in named
    assert words(server)[0] != pid
    assert server.end(signal.SIGTERM) == 0
    assert "run_in_loop" in server.text and "click" not in server.text  # our own frames below it say nothing
    waiting.close()
    blocked.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no signal tells of the end of the master")
@pytest.mark.parametrize("options", [("--workers", "2"), ("--workers", "2", "--timeout-worker-healthcheck", "0")])
@pytest.mark.parametrize("kind", ["spin", "sleep"])
def test_a_worker_whose_loop_does_not_turn_ends_with_its_master(
    serve: Serve, options: tuple[str, ...], kind: str
) -> None:
    """A sibling answers meanwhile what it has begun, for longer than that takes."""
    server = serve(*options)
    server.expect("ready: 2 workers")
    server.ask(f"/block/{kind}")
    blocked = int(server.expect(r"blocking (\d+)")[1])
    slow = server.ask("/nap/3")
    server.expect("napping")
    server.tell(signal.SIGKILL)
    assert int(slow.getresponse().read().split()[0]) != blocked
    server.end()  # which is there when nobody has its output open any more


@pytest.mark.skipif(sys.platform != "linux", reason="no signal tells of the end of the master")
def test_an_import_that_hangs_ends_with_its_master(tmp_path: Path, start_command: Start) -> None:
    (tmp_path / "served.py").write_text("import os\nos.write(1, b'importing\\n')\nwhile True: pass")
    server = start_command("served:app", "--port", "0", "--workers", "2")
    for _ in range(2):
        server.expect("importing")
    server.tell(signal.SIGKILL)
    server.end()


def test_a_busy_loop_that_turns_is_left_alone(serve: Serve) -> None:
    """Twelve requests of a quarter of a second each, one after the other: three times the limit, at full load."""
    pytest.importorskip("uvloop")  # on asyncio they would be one turn of the loop: the next test
    server = serve(*HANG)
    pids = set()
    connections = [server.ask("/busy/0.25") for _ in range(12)]
    for connection in connections:
        pids.add(connection.getresponse().read())
        connection.close()
    assert len(pids) == 1
    assert server.end(signal.SIGTERM) == 0
    assert "has not run" not in server.text


def test_a_turn_that_works_through_many_requests_is_no_hang(serve: Serve) -> None:
    """They are all ready in one turn of the loop, which takes three times the limit."""
    server = serve(*HANG, "--loop", "asyncio")  # uvloop accepts one connection in a turn
    connections = [server.ask("/busy/0.5"), *(server.ask("/busy/0.2") for _ in range(16))]
    pids = set()
    for connection in connections:
        pids.add(connection.getresponse().read())
        connection.close()
    assert len(pids) == 1
    assert server.end(signal.SIGTERM) == 0
    assert "killing" not in server.text


def test_a_worker_in_a_debugger_is_not_judged(serve: Serve) -> None:
    server = serve(*HANG, TRACED="4")
    connection = server.ask("/block/traced")
    pid = server.expect(r"blocking (\d+)")[1]
    server.expect("is held by a debugger: its event loop is not checked")
    assert connection.getresponse().read().decode().split()[0] == pid
    connection.close()
    assert server.end(signal.SIGTERM) == 0
    assert "killing" not in server.text


def test_recycling_after_requests_loses_none(serve: Serve) -> None:
    server = serve("--supervise", "--limit-max-requests", "20", "--limit-max-requests-jitter", "0")
    pids: list[str] = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    while len(set(pids)) < 4:
        assert len(pids) < 100_000
        connection.request("GET", "/")
        answer = connection.getresponse()
        pids.append(answer.read().decode().split()[0])
        assert answer.status == 200
        # http.client connects anew by itself after an answer that says `Connection: close`
    connection.close()
    server.expect(r"Maximum request limit of 20 exceeded\. Terminating process\.")
    server.expect(r"Worker 0 \[\d+\] has served \d+ requests: replacing it\.")
    assert server.end(signal.SIGTERM) == 0
    assert "ERROR" not in server.text


def test_one_process_ends_at_its_limit_of_requests(serve: Serve) -> None:
    server = serve("--limit-max-requests", "3", "--limit-max-requests-jitter", "0")
    for _ in range(3):
        server.get()
    server.expect("Maximum request limit of 3 exceeded. Terminating process.")
    assert server.end() == 0


def test_recycling_by_lifetime(serve: Serve) -> None:
    server = serve("--supervise", "--limit-worker-lifetime", "1")
    first = words(server)[0]
    server.expect(rf"Worker 0 \[{first}\] has served for 1 s: replacing it")
    server.expect("Application startup complete")
    server.expect("Finished server process")
    assert words(server)[0] != first
    assert server.end(signal.SIGTERM) == 0


LONG = ("timeout", "lifetime", "delay", "interval")


@pytest.mark.parametrize("seconds", ["2592000", "1e9", "1e300"])
@pytest.mark.parametrize("master", ["--supervise", "--no-supervise"])
def test_times_that_no_system_call_can_wait_for(serve: Serve, seconds: str, master: str) -> None:
    """All of them at once, so that nothing shorter is ever waited for; the sum of two is longer still."""
    times = [one.flag for one in options().values() if one.kind is float and any(word in one.name for word in LONG)]
    assert len(times) > 10
    arguments = [part for flag in times if flag != "--reload-delay" for part in (flag, seconds)]
    server = serve(master, "--backlog", str(2**40), *arguments)
    assert words(server)
    if master == "--supervise":
        server.tell(signal.SIGHUP)
        server.expect("reloaded: 1 worker, generation 2")
        server.tell(signal.SIGTERM)
        server.expect("accepting for .* more, then stopping")
    assert words(server)
    assert server.end(signal.SIGINT) == 0


@pytest.mark.system
def test_recycling_by_memory(serve: Serve) -> None:
    """The look at the memory comes every 10 s."""
    server = serve("--supervise", "--limit-worker-memory", "1MB")
    server.expect(r"Worker 0 \[\d+\] uses \d+ MB, more than its limit of 1 MB: replacing it")
    assert server.end(signal.SIGTERM) == 0


def test_a_reload_reads_the_environment_file_again(serve: Serve, tmp_path: Path) -> None:
    pytest.importorskip("dotenv")
    (tmp_path / "app.env").write_text("GREETING=one\nHOME=/nowhere\n")
    server = serve("--supervise", "--env-file", "app.env")
    assert words(server)[1] == "one"
    (tmp_path / "app.env").write_text("GREETING=two\n")
    server.tell(signal.SIGHUP)
    server.expect(r"reloaded: 1 worker, generation 2, \d+\.\d s")
    server.expect("Finished server process")
    assert words(server)[1] == "two"
    (tmp_path / "app.env").unlink()
    server.tell(signal.SIGHUP)
    server.expect(r"reload failed, still serving generation 2: Cannot read --env-file .*app\.env: No such file")
    assert words(server)[1] == "two"
    (tmp_path / "app.env").write_text("")
    server.tell(signal.SIGHUP)
    server.expect("reloaded: 1 worker, generation 3")
    server.expect("Finished server process")
    assert words(server)[1] == ""
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("with_file", [True, False])
def test_a_reload_of_the_command_finds_the_application_and_the_number_of_workers(
    with_file: bool, tmp_path: Path, start_python: Start
) -> None:
    """Its folder is on the path for no other reason than that the command puts it there."""
    pytest.importorskip("dotenv")
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "command.py").write_text("from uvicorn.main import main; main()")
    (tmp_path / "uvicorn.toml").write_text('env-file = "app.env"')
    (tmp_path / "app.env").write_text("WEB_CONCURRENCY=2")
    options = ("--config", "uvicorn.toml") if with_file else ("--env-file", "app.env")
    server = start_python("bin/command.py", "served:app", "--port", "0", *options)
    assert server.serves(2)
    (tmp_path / "app.env").write_text("WEB_CONCURRENCY=3")
    server.tell(signal.SIGHUP)
    server.expect("reloaded: 3 workers, generation 2")
    assert server.get()
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('http = "served:nothing"', 'Attribute "nothing" not found'),
        ("timeout-worker-healthcheck = inf", "must be a number, not inf"),
        ('ssl-certfile = "a\\u0000b"', "NUL"),
        ("[", "uvicorn.toml"),
    ],
)
def test_settings_that_cannot_serve_change_nothing(serve: Serve, tmp_path: Path, line: str, reason: str) -> None:
    """Neither what serves, nor what replaces it."""
    file = tmp_path / "uvicorn.toml"
    file.write_text("workers = 2\n")
    server = serve("--config", "uvicorn.toml")
    for _ in range(2):
        server.expect("Application startup complete")
    file.write_text(f"workers = 1\n{line}\n")
    server.tell(signal.SIGHUP)
    server.expect(f"reload failed, still serving generation 1: .*{re.escape(reason)}")
    server.tell(signal.SIGKILL, int(words(server)[0]))
    server.expect("was killed by SIGKILL from outside")
    server.expect("Application startup complete")
    file.write_text("workers = 3\n")
    server.tell(signal.SIGHUP)
    server.expect(r"reloaded: 3 workers, generation \d")
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("options", [("--supervise",), ()], ids=["master", "alone"])
def test_stop_now_has_no_word_about_itself(serve: Serve, options: tuple[str, ...]) -> None:
    server = serve(*options, "--lifespan", "on", APP="lifespan")
    connection = server.ask("/wait")
    server.expect("waiting")
    server.tell(signal.SIGTERM)
    server.expect("Shutting down")
    assert server.end(signal.SIGQUIT) == 0
    assert "Traceback" not in server.text
    connection.close()


@pytest.mark.parametrize("options", [("--supervise",), ()], ids=["master", "alone"])
def test_a_stop_with_a_delay_goes_on_accepting(serve: Serve, options: tuple[str, ...]) -> None:
    server = serve(*options, "--shutdown-delay", "600")
    server.get()
    server.tell(signal.SIGTERM)
    server.expect("ccepting for 600 s more, then stopping")
    server.get()
    assert server.end(signal.SIGINT) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.parametrize("options", [("--supervise",), ()], ids=["master", "alone"])
@pytest.mark.parametrize("path", ["/wait", "/thread"])
def test_an_application_that_never_returns_does_not_hold_up_the_stop(
    serve: Serve, options: tuple[str, ...], path: str
) -> None:
    server = serve(*options, "--timeout-graceful-shutdown", "1")
    connection = server.ask(path)
    server.expect("waiting" if path == "/wait" else "threaded")
    assert server.end(signal.SIGTERM) == 0
    connection.close()


def test_the_boot_limit_is_told_with_the_stack(serve: Serve, tmp_path: Path) -> None:
    server = serve("--supervise", "--timeout-worker-boot", "3")
    server.get()
    (tmp_path / "served.py").write_text("import time\n\n\ndef connect():\n    time.sleep(600)\n\n\nconnect()\n")
    server.tell(signal.SIGHUP)
    server.expect(rf'served\.py", line {5 if EXACT_LINES else "[0-9]+"} in connect')
    server.expect("reload failed, still serving generation 1: Worker 0 .* it was not ready within 3 s")
    server.get()
    assert server.end(signal.SIGTERM) == 0


def test_a_stop_leads_out_of_an_import_wherever_it_stands(serve: Serve, tmp_path: Path) -> None:
    """An exception is dropped in the callback of a weak reference, with a traceback, and the import would go on."""
    server = serve("--supervise")
    server.get()
    (tmp_path / "served.py").write_text(
        "import gc, time, weakref\n\n\nclass Thing: ...\n\n\n"
        "def gone(reference):\n    print('inside the callback', flush=True)\n"
        "    for _ in range(6000):\n        time.sleep(0.1)  # not once: a signal right before it would wait\n\n\n"
        "thing = Thing()\nreference = weakref.ref(thing, gone)\ndel thing\ngc.collect()\n"
    )
    server.tell(signal.SIGHUP)
    server.expect("inside the callback")
    assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in server.text and "Exception ignored" not in server.text


# -- a lifespan that ends while its application is served ------------------------------------------------------

ENDING = """
import asyncio, os

died = asyncio.Event()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await died.wait()
        if os.environ["APP"] == "failed":
            return await send({"type": "lifespan.shutdown.failed", "message": "the pool is closed"})
        if os.environ["APP"] == "raised":
            raise RuntimeError("the pool is closed")
        return
    if scope["path"] == "/die":
        died.set()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
SAID = {
    "failed": r"ERROR: +The application sent 'lifespan.shutdown.failed' while it was served: the pool is closed",
    "raised": r"ERROR: +Exception in 'lifespan' protocol while the application was served.",
    "returned": r"ERROR: +The application's lifespan returned while the application was served.",
}


@pytest.fixture
def ending(tmp_path: Path, start_command: Start) -> Serve:
    (tmp_path / "ending.py").write_text(ENDING)

    def begin(*options: str, **environment: str) -> Program:
        server = start_command(
            "ending:app", "--port", "0", "--no-access-log", *options, env={"APP": "returned", **environment}
        )
        server.listens()
        return server

    return begin


@pytest.mark.parametrize("how", SAID)
def test_a_lifespan_that_ends_without_a_master(ending: Serve, how: str) -> None:
    server = ending(APP=how)
    server.get("/die")
    server.wait_for(SAID[how])
    server.wait_for("Serving goes on without the application's lifespan. The exit status will be 1.")
    assert server.get() == str(server.process.pid)
    assert server.end(signal.SIGTERM) == 1
    assert server.text.count("ERROR") == 2


def test_a_lifespan_that_ends_under_a_master(ending: Serve) -> None:
    """The next one dies right after its start, perhaps: then it is replaced a little later."""
    server = ending("--supervise")
    first = server.get("/die")
    server.expect(SAID["returned"])
    server.expect(rf"ERROR: +Worker 0 \[{first}\] has lost the application's lifespan: replacing it( in 0\.1 s)?\.")
    server.expect(rf"Finished server process \[{first}\]")
    assert server.get() != first
    assert server.end(signal.SIGTERM) == 0


def test_a_lifespan_that_returns_right_after_the_start_is_none(tmp_path: Path, start_command: Start) -> None:
    (tmp_path / "brief.py").write_text(ENDING.replace("        await died.wait()\n", ""))
    server = start_command("brief:app", "--port", "0", "--supervise", env={"APP": "returned"})
    server.listens()
    first = server.get()
    assert server.get() == first
    assert server.end(signal.SIGTERM) == 0
    assert "ERROR" not in server.text
