"""Real processes: starting them, reading what they and their children write, sending requests and signals, ending them.

Tests wait for output, never for time, and for at most `PATIENCE` seconds. No process of a program's session outlives
its test, whether the test passes or fails. The folder of this module is on the tests' path (`pythonpath` in
setup.cfg). The checkout is not: it would hide the package that is tested.
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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import pytest

import uvicorn
from uvicorn.process.interrupts import AGAIN_SECONDS

PATIENCE = 60.0
"""Seconds after which a test that waits is ended: a net, no test is meant to come near it."""

PACKAGE = str(Path(uvicorn.__file__).parents[1])
"""The folder that the tested package is in."""

SHARED = str(Path(__file__).parent)

RUNNING = r"Uvicorn running on https?://127\.0\.0\.1:(\d+) \(Press CTRL\+C to quit\)"

NOTHING: Mapping[str, str] = {}

LIFESPAN = """
async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("= shut down", flush=True)
    await send({"type": "lifespan.shutdown.complete"})

"""
"""Source of a lifespan for programs: its shutdown writes a line."""

T = TypeVar("T")


def run_code(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this source in a new interpreter, which imports the tested package and whatever this process can import."""
    path = [PACKAGE, *(one for one in sys.path if one not in ("", SHARED))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)


def printed_by(code: str, *arguments: str) -> str:
    """Run this source in a new interpreter and return its standard output; fail unless it exits with 0."""
    done = run_code(code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def eventually(holds: Callable[[], T], what: str = "") -> T:
    """Poll `holds` until it returns something true, and return that: for states that no output announces."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)
    return found


class Program:
    """`python …arguments` in a session of its own, and every line that it and its children write.

    `env` is added to the environment, `prefix` is a command in front; the other options are those of Popen. `text` is
    standard output and standard error; with `stderr=subprocess.PIPE` it is standard error, and `out` the other.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str] = NOTHING,
        prefix: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.STDOUT,
        pass_fds: Collection[int] = (),
        preexec_fn: Callable[[], object] | None = None,
    ) -> None:
        self.folder = folder
        self.text, self.out = "", b""
        self.unmatched: list[str] = []
        self._begun = b""  # a line that has no end yet
        self._asked: list[http.client.HTTPConnection] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("UVICORN_", "NOTIFY_SOCKET"))}
        ours = {"PYTHONPATH": PACKAGE, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, *arguments],
            cwd=folder,
            env={**kept, **ours, **env},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            preexec_fn=preexec_fn,
            start_new_session=True,
        )
        self._open: list[IO[bytes]] = [pipe for pipe in (self.process.stdout, self.process.stderr) if pipe is not None]

    # -- what it writes ----------------------------------------------------------------------------------------

    def wait_for(self, words: str) -> re.Match[str]:
        """Wait for a match below the line of the last one. Lines above it are not looked at again."""
        found = self._wait(lambda: re.search(words, "".join(self.unmatched), re.MULTILINE), words)
        del self.unmatched[: found.string.count("\n", 0, found.end() - 1) + 1]
        return found

    def expect(self, words: str) -> re.Match[str]:
        """Wait for a line that has not matched before, in any order: several processes write at the same time."""

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
        """Read output until `holds` returns something true, and return that; stop when all processes have ended."""
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
        """The port it listens on, once it has said so."""
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
        """Send a request; the caller reads the response."""
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

    def tell(self, number: int, pid: int | None = None) -> None:
        """Send a signal to the program, or to one of its processes."""
        if pid is None:
            self.process.send_signal(number)
        else:
            os.kill(pid, number)

    def insist(self) -> None:
        """Send SIGINT so long after the first one that it counts as a second Ctrl-C."""
        time.sleep(AGAIN_SECONDS)
        self.tell(signal.SIGINT)

    def end(self, number: int | None = None) -> int:
        """Wait until all its processes have ended, after this signal if one is given, and return the exit code."""
        if number is not None:
            self.tell(number)
        self.until(lambda: False)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Kill the processes that are left in its session, and close pipes and connections."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says the second of a group that has only zombies
            pass
        self.process.wait(PATIENCE)
        for thing in (*self._asked, self.process.stdin, self.process.stdout, self.process.stderr):
            if thing is not None:
                thing.close()


P = TypeVar("P", bound=Program)
P_co = TypeVar("P_co", bound=Program, covariant=True)


class Start(Protocol):
    """Starts a `Program` that ends with the test: in the test's folder, or in `folder`; with the options of Program."""

    def __call__(
        self,
        *arguments: str,
        folder: Path | None = None,
        env: Mapping[str, str] = NOTHING,
        prefix: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.STDOUT,
        pass_fds: Collection[int] = (),
    ) -> Program: ...


class Keep(Protocol):
    """Ends a program, of whatever class, with the test."""

    def __call__(self, program: P) -> P: ...


class Begin(Protocol[P_co]):
    """Starts what a fixture has prepared, with further arguments."""

    def __call__(self, *arguments: str) -> P_co: ...


@pytest.fixture
def keep_program() -> Iterator[Keep]:
    with contextlib.ExitStack() as stack:

        def keep(program: P) -> P:
            stack.callback(program.close)
            return program

        yield keep


@pytest.fixture
def start_python(keep_program: Keep, tmp_path: Path) -> Start:
    """start_python(*arguments): `python …arguments`."""

    def begin(*arguments: str, folder: Path | None = None, **options: Any) -> Program:
        return keep_program(Program(folder or tmp_path, *arguments, **options))

    return begin


@pytest.fixture
def start_command(start_python: Start) -> Start:
    """start_command(*arguments): `python -m uvicorn …arguments`."""

    def begin(*arguments: str, **options: Any) -> Program:
        return start_python("-m", "uvicorn", *arguments, **options)

    return begin


@pytest.fixture
def start_program(start_python: Start, tmp_path: Path) -> Start:
    """start_program(source, *arguments): somebody's program, saved as caller.py."""

    def begin(*arguments: str, **options: Any) -> Program:
        source, *more = arguments
        (tmp_path / "caller.py").write_text(source)
        return start_python("caller.py", *more, **options)

    return begin
