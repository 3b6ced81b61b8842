"""Closing a terminal stops the server in it, as SIGTERM does; without a terminal, SIGHUP reloads. Real terminals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("its terminals have no signals", allow_module_level=True)

from programs import LIFESPAN, Begin, Keep, Program, Start
from uvicorn.process.terminal import GRACE, Terminal

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})
"""

EMULATOR = """
import os, pty, select, sys

out = os.dup(1)
pid, terminal = pty.fork()
if pid == 0:
    os.dup2(out, 9, inheritable=True)
    os.execvp(sys.argv[1], sys.argv[1:])
os.close(out)
typed = True
while typed:
    ready = select.select([0, terminal], [], [])[0]
    try:
        shown = os.read(terminal, 4096) if terminal in ready else b"x"
    except OSError:
        break
    if 0 in ready:
        typed = os.read(0, 4096)
        os.write(terminal, typed)
os.close(terminal)
os.waitpid(pid, 0)
"""
"""A terminal: what is typed comes by standard input, its end closes the window. Its first program leads the session."""

PROGRAM = """
import uvicorn

if __name__ == "__main__":
    uvicorn.run("app:app", port=0, supervise=True)
"""

KINDS = pytest.mark.parametrize("arguments", [(), ("--supervise",), ("--reload",)], ids=["alone", "master", "reload"])
ORDERS = {(): "SIGHUP: there is no master", ("--supervise",): "reloading, generation 2", ("--reload",): "reloading"}


class Window(Program):
    """A program in a terminal of its own, which `shut` closes."""

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def shut(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def is_shut(self) -> None:
        """The terminal is closed, and what ran in it ends."""
        self.shut()
        self.end()
        assert "The terminal is gone: stopping" in self.text and "= shut down" in self.text


@pytest.fixture
def open_window(keep_program: Keep, tmp_path: Path) -> Begin[Window]:
    (tmp_path / "app.py").write_text(LIFESPAN + APP)
    (tmp_path / "program.py").write_text(PROGRAM)
    return lambda *command: keep_program(Window(tmp_path, "-c", EMULATOR, *command, stdin=subprocess.PIPE))


def server(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", *arguments]


def shell() -> list[str]:
    return [shutil.which("bash") or pytest.skip("there is no bash"), "--norc", "--noprofile", "-i"]


@KINDS
def test_a_server_that_is_all_there_is_in_a_window(open_window: Begin[Window], arguments: tuple[str, ...]) -> None:
    window = open_window("sh", "-c", 'exec "$@" >&9 2>&1', "sh", *server(*arguments))
    assert window.get() == "answered"
    window.is_shut()


@pytest.mark.parametrize("end", ["", " &"], ids=["foreground", "background"])
@KINDS
def test_a_server_that_was_started_in_a_shell(open_window: Begin[Window], arguments: tuple[str, ...], end: str) -> None:
    window = open_window(*shell())
    window.type(f"{' '.join(server(*arguments))} >&9 2>&1{end}")
    assert window.get() == "answered"
    window.is_shut()


def test_a_program_whose_master_is_another_interpreter(open_window: Begin[Window]) -> None:
    window = open_window(*shell())
    window.type(f"{sys.executable} program.py >&9 2>&1")
    assert window.get() == "answered"
    window.is_shut()


@KINDS
@pytest.mark.parametrize("line", ["{} & disown", "nohup {} &", "setsid {}"], ids=["disown", "nohup", "setsid"])
def test_a_server_that_outlives_its_terminal_obeys(
    open_window: Begin[Window], arguments: tuple[str, ...], line: str
) -> None:
    window = open_window(*shell())
    window.type(line.replace("{}", f"{' '.join(server(*arguments))} >&9 2>&1"))
    window.wait_for("Uvicorn running")
    pid = int(re.findall(r"Started (?:parent|reloader|server) process \[(\d+)\]", window.text)[0])
    try:
        assert window.get() == "answered"
        window.shut()
        window.process.wait()
        time.sleep(GRACE * 2)  # nobody told it of the end
        assert window.get() == "answered"
        os.kill(pid, signal.SIGHUP)
        window.expect(ORDERS[arguments])
        assert "The terminal is gone" not in window.text
        assert window.get() == "answered"
    finally:
        os.kill(pid, signal.SIGTERM)
    window.end()


def test_such_a_program_below_nohup_outlives_its_terminal(open_window: Begin[Window]) -> None:
    window = open_window(*shell())
    window.type(f"nohup {sys.executable} program.py >&9 2>&1 &")
    master = int(window.wait_for(r"Started parent process \[(\d+)\]")[1])
    try:
        assert window.get() == "answered"
        window.shut()  # the shell tells everybody
        window.expect("reloading, generation 2")
        assert window.get() == "answered"
    finally:
        os.kill(master, signal.SIGTERM)
    window.end()
    assert "The terminal is gone" not in window.text


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR2", "SIGTTIN", "SIGTTOU"])
def test_what_is_meant_for_a_master_is_explained(start_command: Start, tmp_path: Path, name: str) -> None:
    (tmp_path / "app.py").write_text(LIFESPAN + APP)
    alone = start_command("app:app", "--port", "0")
    assert alone.get() == "answered"
    alone.tell(getattr(signal, name))
    alone.expect(f"{name}: there is no master to")
    assert alone.get() == "answered"
    assert alone.end(signal.SIGTERM) == 0


def test_a_process_without_a_terminal_has_none() -> None:
    """Pure but for the clock, which is an argument: when the signal is an order again."""
    reader, writer = os.openpty()
    terminal = Terminal(os.dup(writer))  # not ours, so that it counts as gone
    try:
        assert terminal.hung_up(100.0)
        assert terminal.hung_up(100.0 + GRACE * 0.9)
        assert not terminal.hung_up(100.0 + GRACE * 1.1)
    finally:
        terminal.close()
        os.close(reader)
        os.close(writer)
