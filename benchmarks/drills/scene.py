"""What every drill needs: its place in the table, a server of its own, and clients.

Owns: the register of drills, and the `Scene` in which one of them runs: a folder, an application whose imports are
counted, a server looked at only from outside (`/proc`, sockets, exit code, log) whose whole process tree ends with the
scene, also when the drill fails.
Must not: know how a server works inside. What a server cannot be asked on its command line is "no feature".
Fails by: `StartFailed`, `NoFeature`; any other exception is the drill's own fault.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import apps
from benchmarks.exchange import first_answers
from benchmarks.load import Failure, Load, Plan, Report
from benchmarks.peers import Peer, Wish
from benchmarks.processes import StartFailed, Tree, free_port

WORKERS = 4
GOOD = "from apps import drill as app\n"
TRACEBACK = "Traceback (most recent call last)"
RELOAD_TOLD = r"reloaded:|reload failed"
END_TOLD = r"Stopping parent process|Shutting down: Master|Shutting down granian"


class NoFeature(Exception):
    """The server cannot be asked for this."""


@dataclass
class Result:
    """One cell of the table, and the figures behind it for `--json`."""

    text: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drill:
    name: str
    title: str
    run: Callable[[Scene], Result]


DRILLS: dict[str, Drill] = {}


def drill(name: str, title: str) -> Callable[[Callable[[Scene], Result]], Callable[[Scene], Result]]:
    def register(run: Callable[[Scene], Result]) -> Callable[[Scene], Result]:
        DRILLS[name] = Drill(name, title, run)
        return run

    return register


def until(condition: Callable[[], object], seconds: float, step: float = 0.01) -> bool:
    """Polls from outside; whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(step)
    return True


class Scene:
    """One server in one drill: its folder, its application's code and its process tree."""

    def __init__(self, peer: Peer, folder: Path, repeat: int | None) -> None:
        self.peer = peer
        self.folder = folder
        self.repeat = repeat
        self.port = free_port()
        self.version = 0
        shutil.copy(Path(apps.__file__), folder / "apps.py")
        self.write(GOOD)

    @property
    def wish(self) -> Wish:
        """How a drill that has no other wish starts it."""
        return Wish("target:app", self.port, workers=WORKERS)

    def times(self, default: int) -> int:
        return self.repeat or default

    def write(self, code: str) -> None:
        """The application's module, a new version. Each import of it is noted; no stale bytecode survives a rewrite."""
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)
        self.version += 1
        note = (
            "import os as _os\n"
            f"_fd = _os.open({str(self.folder / 'imports')!r}, _os.O_WRONLY | _os.O_APPEND | _os.O_CREAT, 0o600)\n"
            f"_os.write(_fd, b'{self.version} %d\\n' % _os.getpid())\n_os.close(_fd)\n"
        )
        (self.folder / "target.py").write_text(note + code)

    def imports(self, version: int | None = None) -> list[int]:
        """The process of each import, of one version or of all."""
        noted = self.folder / "imports"
        pairs = [map(int, line.split()) for line in noted.read_text().splitlines()] if noted.exists() else []
        return [pid for number, pid in pairs if version in (None, number)]

    @contextmanager
    def server(self, wish: Wish | None = None, *, wrap: tuple[str, ...] = ()) -> Iterator[Tree]:
        """Starts it without waiting. With `wrap` it runs under another command."""
        command = self.peer.command(wish or self.wish)
        if command is None:
            raise NoFeature
        env = self.peer.env(self.folder)
        with Tree([*wrap, *command], cwd=self.folder, log=self.folder / "log", env=env) as tree:
            yield tree

    @contextmanager
    def fleet(self, wish: Wish | None = None, *, patience: float = 20.0) -> Iterator[tuple[Tree, set[int]]]:
        """Starts it and waits until every worker has answered."""
        wish = wish or self.wish
        with self.server(wish) as tree:
            try:
                tree.wait_until_answering(self.port, patience)
            except StartFailed as error:
                if error.code == 2:
                    raise NoFeature from error
                raise
            heard = self.ask(wish.workers, 15)
            if len(heard) < wish.workers:
                raise StartFailed(f"only {len(heard)} workers answered", None, tree.log_tail())
            yield tree, set(heard)

    def ask(self, wanted: int, seconds: float) -> dict[int, float]:
        """Who answers, and since when: until that many workers have, or for that long."""
        return asyncio.run(first_answers(self.port, wanted, seconds))

    @contextmanager
    def load(self, plan: Plan) -> Iterator[Load]:
        """Clients, running: entered once the first answer has come, and a moment later."""
        with Load(plan) as load:
            if not until(lambda: load.heard, 10):
                raise RuntimeError("the load got no answer")
            time.sleep(0.5)
            yield load

    def at_rest(self, tree: Tree, old: set[int], seconds: float) -> bool:
        """Whether in that time no worker from before is left and nothing has been booted for a second."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and tree.process.poll() is None:
            before = len(self.imports())
            time.sleep(1)
            if len(self.imports()) == before and not any(map(tree.alive, old)):
                return True
        return False


def told(tree: Tree, pattern: str) -> int:
    """How often the log says so."""
    return len(re.findall(pattern, tree.log()))


def failures_between(report: Report, begin: float, end: float) -> list[Failure]:
    return [failure for failure in report.failures if begin <= failure.at < end]


def windows(starts: list[float]) -> list[tuple[float, float]]:
    """From each event to the next one, and from the last one on."""
    return list(zip(starts, [*starts[1:], float("inf")], strict=False))


def seconds_text(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
