"""Log files, their rotation, and the pid file, through the command: real processes, no line lost and none torn.

No test waits for time: the applications write to standard error what has happened.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Protocol

import pytest

from programs import Program, Start

if sys.platform == "win32":
    pytest.skip("there is no USR1", allow_module_level=True)

SIMPLE = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})
"""

CONFIGURES = "import logging.config\nlogging.config.dictConfig({'version': 1, 'disable_existing_loggers': False})\n"
MOVES = "import os\nos.chdir('/')\n"

WRITER = '''
"""Each worker writes COUNT long lines as fast as it can, then a line a millisecond until it hears USR2."""
import asyncio, logging, os, signal

KIND, COUNT, SIZE = os.environ["KIND"], int(os.environ["COUNT"]), int(os.environ["SIZE"])


def say(text):
    os.write(2, f"= {text} {os.getpid()}\\n".encode())


class Tell(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("Log files: reopened"):
            say("reopened")


logging.getLogger("uvicorn.error").addHandler(Tell())


def write(number):
    text = f"{os.getpid()}/{number}/" + "x" * SIZE
    if KIND == "log":
        logging.getLogger("uvicorn.error").info("%s/end", text)
    else:
        logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", text, "1.1", 200)


async def work():
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, enough.set)
    number = 0
    say("begins")
    last = False
    while not last:
        last = number >= COUNT and enough.is_set()
        write(number)
        number += 1
        if number == COUNT // 2:
            say("half")
        await asyncio.sleep(0 if number < COUNT else 0.001)
    say(f"wrote {number}")


async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    task = asyncio.create_task(work())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
'''


class Run(Protocol):
    def __call__(self, *arguments: str, code: str = "", **environment: str) -> Program: ...


@pytest.fixture
def run(tmp_path: Path, start_python: Start) -> Run:
    """run(*arguments, code="", **environment): standard output is apart, and buffered as it is for a user."""
    for name, source in {
        "simple": SIMPLE,
        "configures": CONFIGURES + SIMPLE,
        "moves": MOVES + SIMPLE,
        "writer": WRITER,
    }.items():
        (tmp_path / f"{name}.py").write_text(source)

    def start(*arguments: str, code: str = "", **environment: str) -> Program:
        command = ("-c", code) if code else ("-m", "uvicorn", *arguments, "--port", "0")
        return start_python(*command, stderr=subprocess.PIPE, env={"PYTHONUNBUFFERED": "", **environment})

    return start


# -- whole lines from many workers -----------------------------------------------------------------------------


LINES = {
    "access": re.compile(r'INFO:     1\.2\.3\.4:5 - "GET (\d+)/(\d+)/(x*) HTTP/1\.1" 200 OK'),
    "log": re.compile(r"INFO:     (\d+)/(\d+)/(x*)/end"),
}


def numbers(text: str, kind: str, size: int) -> dict[int, list[int]]:
    """What each process wrote, in order. Every line has to be whole."""
    found: dict[int, list[int]] = {}
    for line in text.splitlines():
        if kind == "log" and "/x" not in line:
            continue  # the server's own
        whole = LINES[kind].fullmatch(line)
        assert whole is not None and len(whole[3]) == size, line[:200]
        found.setdefault(int(whole[1]), []).append(int(whole[2]))
    return found


def write_and_rotate(run: Run, folder: Path, kind: str, count: int) -> None:
    """logrotate's sequence while four workers write: rename, then USR1."""
    size = 8192
    option = "--log-file" if kind == "log" else "--access-log-file"
    sizes = {"COUNT": str(count), "SIZE": str(size)}
    command = run("writer:app", "--workers", "4", "--log-level", "debug", option, "the.log", KIND=kind, **sizes)
    workers = [int(command.wait_for(r"= half (\d+)")[1]) for _ in range(4)]
    (folder / "the.log").rename(folder / "the.log.1")
    command.tell(signal.SIGUSR1)
    for _ in range(4):
        command.wait_for("= reopened")
    for worker in workers:
        os.kill(worker, signal.SIGUSR2)
    wrote: Counter[int] = Counter()
    for _ in range(4):
        found = command.wait_for(r"= wrote (\d+) (\d+)")
        wrote[int(found[2])] = int(found[1])
    assert command.end(signal.SIGTERM) == 0, command.text
    old = numbers((folder / "the.log.1").read_text(), kind, size)
    new = numbers((folder / "the.log").read_text(), kind, size)
    assert set(old) == set(new) == set(workers)
    for worker in workers:
        assert wrote[worker] >= count
        assert old[worker] + new[worker] == list(range(wrote[worker]))


@pytest.mark.parametrize("kind", ["access", "log"])
def test_rotation_loses_no_line_and_tears_none(run: Run, tmp_path: Path, kind: str) -> None:
    write_and_rotate(run, tmp_path, kind, 500)


@pytest.mark.system
@pytest.mark.parametrize("kind", ["access", "log"])
def test_rotation_at_full_size(run: Run, tmp_path: Path, kind: str) -> None:
    write_and_rotate(run, tmp_path, kind, 10_000)


def test_lines_on_a_pipe_are_whole(run: Run) -> None:
    """Batches of several writers would mix above 4096 bytes."""
    command = run("writer:app", "--workers", "4", KIND="access", COUNT="1000", SIZE="700")
    for worker in [int(command.wait_for(r"= half (\d+)")[1]) for _ in range(4)]:
        os.kill(worker, signal.SIGUSR2)
    wrote = {int(found[2]): int(found[1]) for _ in range(4) if (found := command.wait_for(r"= wrote (\d+) (\d+)"))}
    assert command.end(signal.SIGTERM) == 0
    assert numbers(command.out.decode(), "access", 700) == {pid: list(range(count)) for pid, count in wrote.items()}


# -- one process and many, until the end -----------------------------------------------------------------------


PROCESSES = pytest.mark.parametrize("processes", [(), ("--workers", "2")], ids=["alone", "master"])


@PROCESSES
@pytest.mark.parametrize("module", ["simple", "configures"])
@pytest.mark.parametrize("to_file", [True, False])
def test_no_line_is_lost_at_a_stop(
    run: Run, tmp_path: Path, processes: tuple[str, ...], module: str, to_file: bool
) -> None:
    command = run(f"{module}:app", *processes, *(["--access-log-file", "a.log"] if to_file else []))
    for number in range(50):
        assert command.get(f"/{number}") == "here"
    assert command.end(signal.SIGTERM) == 0, command.text
    text = (tmp_path / "a.log").read_text() if to_file else command.out.decode()
    assert Counter(re.findall(r'"GET /(\d+) HTTP/1.1" 200 OK\n', text)) == Counter(str(n) for n in range(50))


@PROCESSES
def test_usr1_after_a_move(run: Run, tmp_path: Path, processes: tuple[str, ...]) -> None:
    """Relative paths mean the folder of the start, wherever the application has gone since."""
    command = run("moves:app", *processes, "--access-log-file", "a.log")
    assert command.get("/old") == "here"
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    command.tell(signal.SIGUSR1)
    command.wait_for(rf"(Log files|Received SIGUSR1): reopened {tmp_path}/a\.log\.")
    assert (tmp_path / "a.log").exists()
    assert command.end(signal.SIGTERM) == 0
    assert '"GET /old HTTP/1.1" 200 OK' in (tmp_path / "a.log.1").read_text()


@PROCESSES
def test_usr1_without_a_file_is_a_sentence(run: Run, processes: tuple[str, ...]) -> None:
    command = run("simple:app", *processes)
    assert command.get() == "here"
    command.tell(signal.SIGUSR1)
    command.wait_for(r"there is no open log file to reopen\.")
    assert command.get() == "here"
    assert command.end(signal.SIGTERM) == 0


def test_a_log_file_that_cannot_be_opened_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    command = run("simple:app", "--log-file", "missing/x.log")
    assert command.end() == 2
    assert f"Cannot open --log-file {tmp_path}/missing/x.log: there is no directory {tmp_path}/missing." in command.text


def test_a_program_rotates_as_well(run: Run, tmp_path: Path) -> None:
    code = "import simple, uvicorn\nuvicorn.run(simple.app, '127.0.0.1', 0, access_log_file='a.log', pid='p')"
    command = run(code=code)
    assert command.get() == "here"
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    command.tell(signal.SIGUSR1)
    command.wait_for("Log files: reopened")
    assert (tmp_path / "p").read_text() == f"{command.process.pid}\n"
    assert command.end(signal.SIGTERM) == -signal.SIGTERM  # raised again, for the program
    assert not (tmp_path / "p").exists()
    assert '"GET / HTTP/1.1" 200 OK' in (tmp_path / "a.log.1").read_text()


# -- the pid file ----------------------------------------------------------------------------------------------


@PROCESSES
def test_the_pid_file(run: Run, tmp_path: Path, processes: tuple[str, ...]) -> None:
    path = tmp_path / "p"
    path.write_text("garbage")
    command = run("moves:app", *processes, "--pid", "p")
    assert command.get() == "here"
    assert path.read_text() == f"{command.process.pid}\n"
    second = run("simple:app", *processes, "--pid", "p")
    assert second.end() == 3
    assert f"Cannot write --pid {path}: process {command.process.pid} has it." in second.text
    assert path.read_text() == f"{command.process.pid}\n"
    assert command.end(signal.SIGTERM) == 0
    assert not path.exists()


def test_a_worker_that_dies_leaves_the_masters_file(run: Run, tmp_path: Path) -> None:
    command = run("simple:app", "--workers", "2", "--pid", "p")
    for _ in range(2):  # one that has not started yet would be replaced without a word
        command.wait_for("Application startup complete")
    worker = int(re.findall(r"Started server process \[(\d+)\]", command.text)[0])
    os.kill(worker, signal.SIGTERM)
    command.wait_for(rf"Worker \d \[{worker}\] ")
    command.wait_for("Started server process")
    assert (tmp_path / "p").read_text() == f"{command.process.pid}\n"
    assert command.end(signal.SIGTERM) == 0
    assert not (tmp_path / "p").exists()


@PROCESSES
def test_an_application_that_cannot_start_leaves_no_file(run: Run, tmp_path: Path, processes: tuple[str, ...]) -> None:
    command = run("missing:app", *processes, "--pid", "p")
    assert command.end() == 3
    assert not (tmp_path / "p").exists()
