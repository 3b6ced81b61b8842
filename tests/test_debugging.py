"""A debugger or `input()` in a worker, used at a real terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import IO

import pytest

from programs import LIFESPAN, Begin, Keep, Program, eventually
from uvicorn.supervisor.inspection import reads_terminal

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

import fcntl
import pty
import termios

SYSTEM_CALLS = Path("/proc/self/syscall")
ON_LINUX = pytest.mark.skipif(not SYSTEM_CALLS.exists(), reason="only Linux tells who reads a terminal")

APP = """
import asyncio, os, pdb, signal
VERSION = "one"

def debug():
    breakpoint()

def mourn():
    try:
        1 / 0
    except ZeroDivisionError as exc:
        pdb.post_mortem(exc.__traceback__)

def ask():
    print("hello", input("name? "), flush=True)

def two():
    print(f"= {os.getpid()} {signal.SIGRTMIN + 0}", flush=True)
    signal.getsignal(signal.SIGINT).__self__.heartbeat.pass_interrupt()
    try:
        input("now? ")
    except BaseException as exc:
        print(f"= input: {exc!r}", flush=True)

async def app(scope, receive, send):
    global VERSION
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["path"] == "/handler":
        VERSION = signal.getsignal(signal.SIGINT).__module__
    what = {"/debug": debug, "/mourn": mourn, "/ask": ask, "/thread": debug, "/two": two}.get(scope["path"])
    if scope["path"] == "/thread":
        await asyncio.to_thread(what)
    elif what is not None:
        what()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": VERSION.encode()})
"""


class AtTerminal(Program):
    """The command in a terminal of its own; all processes write to that terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.terminal, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        try:
            super().__init__(
                folder,
                *arguments,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                env={"TERM": "dumb", "PYTHON_COLORS": "0"},
            )
        finally:
            self._theirs = theirs  # open, so that the settings can be looked at when all others have left
        self._open = [os.fdopen(self.terminal, "rb", 0)]
        self._reader = self._open[0]

    def _read(self, pipe: IO[bytes]) -> None:
        super()._read(pipe)
        self.unmatched = [line.replace("\r", "") for line in self.unmatched]

    def prompts(self, words: bytes) -> None:
        """Wait for a prompt, which a log line of another process may have completed, and until a worker reads the
        answer: `input()` does not notice a signal that comes in between before the next key."""
        text = words.decode()
        self.until(lambda: words in self._begun or any(text in line for line in self.unmatched), text)
        if SYSTEM_CALLS.exists():
            workers = re.findall(r"Started server process \[(\d+)\]", self.text)
            folders = [Path(f"/proc/{worker}/task") for worker in workers]
            eventually(lambda: any(reads_terminal(int(one.name)) for folder in folders for one in folder.glob("*")))

    def types(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def leaves(self) -> int:
        """Wait for its end and return the exit code: the terminal stays open, so no end of file comes."""
        code = self.process.wait(60)
        os.write(self._theirs, b"the end\n")
        self.wait_for("the end")
        return code

    def close(self) -> None:
        super().close()
        os.close(self._theirs)
        self._reader.close()


@pytest.fixture
def start(keep_program: Keep, tmp_path: Path) -> Begin[AtTerminal]:
    (tmp_path / "app.py").write_text(LIFESPAN + APP)
    command = ("-m", "uvicorn", "app:app", "--port", "0", "--no-use-colors")
    return lambda *arguments: keep_program(AtTerminal(tmp_path, *command, *arguments))


def change(program: AtTerminal) -> None:
    (program.folder / "app.py").write_text(LIFESPAN + APP.replace('"one"', '"two"'))


@pytest.mark.parametrize(
    ("path", "prompt", "answer"),
    [
        ("/debug", b"(Pdb) ", "c\n"),
        ("/thread", b"(Pdb) ", "c\n"),
        ("/mourn", b"(Pdb) ", "q\n"),
        pytest.param("/ask", b"name? ", "you\n", marks=ON_LINUX),
    ],
)
def test_a_change_waits_until_the_worker_is_let_go(
    start: Begin[AtTerminal], path: str, prompt: bytes, answer: str
) -> None:
    program = start("--reload")
    program.wait_for("Application startup complete")
    client = program.ask(path)
    program.prompts(prompt)
    change(program)
    program.wait_for("is held by a debugger: the change waits until the debugger lets it go on")
    program.types(answer)
    assert client.getresponse().read() == b"one"
    program.wait_for("= shut down")
    program.wait_for("Application startup complete")
    assert program.get() == "two"
    program.types("\x03")
    assert program.leaves() == 0
    assert "Killing" not in program.text and program.text.count("= shut down") == 2


def test_an_interrupt_is_the_debuggers_first(start: Begin[AtTerminal]) -> None:
    program = start("--reload")
    program.wait_for("Application startup complete")
    client = program.ask("/debug")
    program.prompts(b"(Pdb) ")
    program.types("\x03")
    program.wait_for("--KeyboardInterrupt--")
    program.prompts(b"(Pdb) ")
    program.types("p 6 * 7\n")
    program.wait_for("^42")
    program.types("c\n")
    assert client.getresponse().read() == b"one"
    for _ in range(10_000):  # pdb takes the signal when it continues, and a tick takes it back
        if program.get("/handler") != "pdb":
            break
    program.types("\x03")
    program.wait_for("= shut down")
    assert program.leaves() == 0


@ON_LINUX
@pytest.mark.parametrize("name", ["report", "lifeline", "SIGTERM", "SIGQUIT", "SIGUSR1"])
def test_a_signal_that_comes_with_an_interrupt_does_not_replace_it(start: Begin[AtTerminal], name: str) -> None:
    """CPython's `input()` runs the other handler while KeyboardInterrupt is set."""
    program = start("--reload")
    program.wait_for("Application startup complete")
    client = program.ask("/two")
    worker, first = map(int, program.wait_for(r"= (\d+) (\d+)").groups())
    program.prompts(b"now? ")
    number = {"report": first + 10, "lifeline": first + 11}.get(name) or signal.Signals[name]
    os.kill(worker, signal.SIGSTOP)
    eventually(lambda: "\nState:\tT" in Path(f"/proc/{worker}/status").read_text(), "it is stopped")
    os.kill(worker, signal.SIGINT)
    os.kill(worker, number)
    os.kill(worker, signal.SIGCONT)
    program.wait_for(r"= input: KeyboardInterrupt\(\)")
    client.close()
    program.tell(signal.SIGTERM)
    assert program.leaves() == 0


@pytest.mark.parametrize("path", ["/debug", "/thread"])
def test_a_second_interrupt_ends_everything_and_the_terminal_is_as_before(start: Begin[AtTerminal], path: str) -> None:
    program = start("--reload")
    program.wait_for("Application startup complete")
    client = program.ask(path)
    program.prompts(b"(Pdb) ")
    program.types("\x03")
    program.wait_for("press Ctrl-C again to stop everything")
    program.insist()
    program.wait_for("stopping now")
    assert program.leaves() == 0
    client.close()
    assert termios.tcgetattr(program.terminal)[:4] == program.before[:4]


@pytest.mark.parametrize(("path", "prompt"), [("/debug", b"(Pdb) "), pytest.param("/ask", b"name? ", marks=ON_LINUX)])
def test_a_term_ends_a_held_worker_at_its_deadline(start: Begin[AtTerminal], path: str, prompt: bytes) -> None:
    program = start("--reload", "--timeout-graceful-shutdown", "3")
    program.wait_for("Application startup complete")
    client = program.ask(path)
    program.prompts(prompt)
    program.tell(signal.SIGTERM)
    program.wait_for("Killing worker 0 .*: it did not exit in time")
    assert program.leaves() == 5
    client.close()
    assert termios.tcgetattr(program.terminal)[:4] == program.before[:4]


@pytest.mark.parametrize(
    ("path", "prompt", "answer"),
    [("/mourn", b"(Pdb) ", "q\n"), pytest.param("/ask", b"name? ", "you\n", marks=ON_LINUX)],
)
def test_with_workers_it_is_no_hang_either(start: Begin[AtTerminal], path: str, prompt: bytes, answer: str) -> None:
    program = start("--workers", "2", "--timeout-worker-healthcheck", "1")
    program.serves()
    client = program.ask(path)
    program.prompts(prompt)
    program.wait_for("is held by a debugger: its event loop is not checked")
    program.types(answer)
    assert client.getresponse().read() == b"one"
    program.tell(signal.SIGTERM)
    assert program.leaves() == 0
    assert "killing" not in program.text
