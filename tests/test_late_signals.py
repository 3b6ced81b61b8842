"""Signals that come as soon as the pid file exists, and until the process has ended, do no harm. Real processes.

The program signals itself right behind the writing of the file, right behind its removal, and while it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from programs import PACKAGE, PATIENCE, Program, Start

SIGNALLING = """
import atexit, contextlib, os, signal
from uvicorn.process import pidfile

number = signal.Signals[os.environ["NUMBER"]]
master = os.getpid()
write = pidfile.written

def now():
    if os.getpid() == master:
        for _ in range(50):
            os.kill(master, number)

@contextlib.contextmanager
def written(path):
    if path is None:
        yield
        return
    with write(path):
        now()
        yield
    now()

pidfile.written = written
atexit.register(now)
"""

APP = "async def app(scope, receive, send):\n    pass\n"
MODES = {"one process": (), "a master": ("--supervise",)}


@pytest.fixture(autouse=True)
def served(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "sitecustomize.py").write_text(SIGNALLING)


def begin(start: Start, folder: Path, number: signal.Signals, *options: str) -> Program:
    path = os.pathsep.join([str(folder), PACKAGE])
    return start(*options, env={"PYTHONPATH": path, "NUMBER": number.name})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_what_asks_for_no_stop_stops_nobody(
    number: signal.Signals, mode: str, start_command: Start, tmp_path: Path
) -> None:
    command = ("served:app", "--port", "0", "--pid", "server.pid", *MODES[mode])
    program = begin(start_command, tmp_path, number, *command)
    program.listens()
    assert int((tmp_path / "server.pid").read_text()) == program.process.pid
    assert program.end(signal.SIGTERM) == 0
    assert not (tmp_path / "server.pid").exists() and "Traceback" not in program.text


@pytest.mark.parametrize("mode", MODES)
def test_a_stop_is_exit_code_0(mode: str, start_command: Start, tmp_path: Path) -> None:
    command = ("served:app", "--port", "0", "--pid", "server.pid", *MODES[mode])
    program = begin(start_command, tmp_path, signal.SIGTERM, *command)
    assert program.end() == 0
    assert not (tmp_path / "server.pid").exists() and "Traceback" not in program.text


def test_in_a_program_the_stop_is_raised_again(start_program: Start, tmp_path: Path) -> None:
    source = "import uvicorn\nuvicorn.run('served:app', port=0, pid='server.pid')"
    program = begin(start_program, tmp_path, signal.SIGTERM, source)
    assert program.end() == -signal.SIGTERM
    assert not (tmp_path / "server.pid").exists() and "Traceback" not in program.text


@pytest.mark.parametrize("mode", MODES)
def test_a_stop_that_is_repeated_until_the_end(mode: str, start_command: Start, tmp_path: Path) -> None:
    program = start_command("served:app", "--port", "0", "--pid", "server.pid", *MODES[mode])
    program.listens()
    for _ in range(int(PATIENCE * 1000)):
        if program.process.poll() is not None:
            break
        os.kill(program.process.pid, signal.SIGTERM)
        try:
            program.process.wait(0.001)
        except subprocess.TimeoutExpired:
            continue
    assert program.end() == 0
