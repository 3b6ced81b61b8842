"""Real processes of the tests: what they and their children write, how they are asked, signalled and ended.

Nothing here waits for time, only for output, and for at most `PATIENCE`. Nobody in a program's session outlives its
test, passed or failed. The folder of this module is on the tests' path (`pythonpath` in setup.cfg). The checkout is
not: it would hide the package that is tested.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import pytest

import uvicorn
from uvicorn.process.interrupts import AGAIN_SECONDS

PATIENCE = 60.0
"""Seconds after which a test that waits is ended: a net, no test is meant to come near it."""

PACKAGE = str(Path(uvicorn.__file__).parents[1])
"""The folder that the tested package is in."""

RUNNING = r"Uvicorn running on https?://127\.0\.0\.1:(\d+) \(Press CTRL\+C to quit\)"

T = TypeVar("T")


class Program:
    """`python …arguments` in a session of its own, and every line that it and its children write.

    `env` is added to the environment, `prefix` is a command in front; the other options are those of Popen. `text` is
    standard output and standard error; with `stderr=subprocess.PIPE` it is standard error, and `out` the other.
    """

    def __init__(self, folder: Path, *arguments: str, **options: Any) -> None:
        self.folder = folder
        self.text, self.out = "", b""
        self.unmatched: list[str] = []
        self._begun = b""  # a line that has no end yet
        self._asked: list[http.client.HTTPConnection] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("UVICORN_", "NOTIFY_SOCKET"))}
        ours = {"PYTHONPATH": PACKAGE, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(
            [*options.pop("prefix", ()), sys.executable, *arguments],
            cwd=folder,
            env={**kept, **ours, **options.pop("env", {})},
            start_new_session=True,
            **{**pipes, **options},
        )
        self._open = [pipe for pipe in (self.process.stdout, self.process.stderr) if pipe is not None]

    # -- what it writes ----------------------------------------------------------------------------------------

    def wait_for(self, words: str) -> re.Match[str]:
        """In order: a match after the line of the last one. What comes before it is done with."""
        found = self._wait(lambda: re.search(words, "".join(self.unmatched), re.MULTILINE), words)
        del self.unmatched[: found.string.count("\n", 0, found.end() - 1) + 1]
        return found

    def expect(self, words: str) -> re.Match[str]:
        """In any order: a line that has not matched before, since processes end and begin at the same time."""

        def find() -> re.Match[str] | None:
            for index, line in enumerate(self.unmatched):
                if found := re.search(words, line):
                    del self.unmatched[index]
                    return found
            return None

        return self._wait(find, words)

    def _wait(self, find: Callable[[], re.Match[str] | None], words: str) -> re.Match[str]:
        found = self.until(find, words)
        assert found is not None, f"{words!r} never came, but:\n{self.text}"
        return found

    def until(self, holds: Callable[[], T], what: str = "its end") -> T:
        """Read until that is true; what it was when everybody had left, if it never was."""
        deadline = time.monotonic() + PATIENCE
        while not (found := holds()) and self._open:
            left = deadline - time.monotonic()
            ready = select.select(self._open, [], [], left)[0] if left > 0 else []
            begun = self._begun.decode(errors="replace")
            assert ready, f"{what!r} did not come within {PATIENCE:g} s, but:\n{self.text}{begun}"
            for pipe in ready:
                self._read(pipe)
        return found

    def _read(self, pipe: IO[bytes]) -> None:
        data = os.read(pipe.fileno(), 65536)
        if not data:
            self._open.remove(pipe)
        if pipe is self.process.stdout and self.process.stderr is not None:
            self.out += data
            return
        whole, newline, self._begun = (self._begun + data).rpartition(b"\n")
        if not data:
            whole, self._begun = self._begun, b""
        text = (whole + newline).decode()
        self.text += text
        self.unmatched += io.StringIO(text, newline="\n")

    # -- a server ----------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """Where it listens, wherever among its lines it says so."""
        found = self.until(lambda: re.search(RUNNING, self.text), RUNNING)
        assert found is not None, f"it never listened, but:\n{self.text}"
        return int(found[1])

    def listens(self) -> int:
        """The port, once it says where it listens: behind the lines of one worker, and somewhere among the others."""
        return int(self.expect(RUNNING)[1])

    def serves(self, workers: int = 2) -> int:
        """The master's pid, once all workers serve."""
        pid = int(self.expect(r"Started parent process \[(\d+)\]")[1])
        self.listens()
        for _ in range(workers):
            self.expect("Application startup complete")
        self.expect(rf"ready: {workers} workers?$")  # the master's word, which may come behind theirs
        return pid

    def ask(self, path: str = "/") -> http.client.HTTPConnection:
        """A request that has been sent, its answer not read yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        self._asked.append(connection)
        connection.request("GET", path)
        return connection

    def get(self, path: str = "/") -> str:
        """The body of the answer."""
        with contextlib.closing(self.ask(path)) as connection:
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 200, body
            return body

    # -- its end -----------------------------------------------------------------------------------------------

    def tell(self, number: signal.Signals, pid: int | None = None) -> None:
        """To the program, or to a process of its own."""
        if pid is None:
            self.process.send_signal(number)
        else:
            os.kill(pid, number)

    def insist(self) -> None:
        """A Ctrl-C of somebody who has waited since the first one."""
        time.sleep(AGAIN_SECONDS)
        self.tell(signal.SIGINT)

    def end(self, number: signal.Signals | None = None) -> int:
        """The exit code, once everybody has left: after a signal, or by itself."""
        if number is not None:
            self.tell(number)
        self.until(lambda: False)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Whoever is left in the session is killed, and what a test has left open is closed."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says the second of a group that has only zombies
            pass
        self.process.wait(PATIENCE)
        for thing in (*self._asked, self.process.stdin, self.process.stdout, self.process.stderr):
            if thing is not None:
                thing.close()


Start = Callable[..., Any]
"""What makes a `Program`, or one of a subclass."""


@pytest.fixture
def start_python(tmp_path: Path) -> Iterator[Start]:
    """start_python(*arguments, **options of Program): in the test's folder, or in `folder`; `kind` is a subclass."""
    with contextlib.ExitStack() as stack:

        def begin(*arguments: Any, folder: Path = tmp_path, kind: type[Program] = Program, **options: Any) -> Program:
            return stack.enter_context(contextlib.closing(kind(folder, *arguments, **options)))

        yield begin


@pytest.fixture
def start_command(start_python: Start) -> Start:
    """start_command(*arguments, **options): `python -m uvicorn …arguments`."""
    return lambda *arguments, **options: start_python("-m", "uvicorn", *arguments, **options)


@pytest.fixture
def start_program(start_python: Start, tmp_path: Path) -> Start:
    """start_program(source, *arguments, **options): somebody's program, saved as caller.py."""

    def begin(source: str, *arguments: str, **options: Any) -> Any:
        (tmp_path / "caller.py").write_text(source)
        return start_python("caller.py", *arguments, **options)

    return begin
