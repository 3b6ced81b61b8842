"""Whose end is noticed, and whose exit status is left to others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from programs import PATIENCE
from uvicorn.process import reaping

if sys.platform == "win32":
    pytest.skip("there is no fork", allow_module_level=True)


class Child:
    """Ends with a code when it is told to."""

    def __init__(self, code: int) -> None:
        reader, self._writer = os.pipe()
        self.end, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._writer)
            os.read(reader, 1)
            os._exit(code)
        os.close(reader)
        os.close(writer)

    def leave(self) -> None:
        """It is a zombie afterwards, or is about to be one."""
        os.write(self._writer, b"x")
        os.read(self.end, 1)

    def close(self) -> None:
        for fd in (self._writer, self.end):
            os.close(fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def children() -> Iterator[list[Child]]:
    made = [Child(code) for code in (1, 2, 3)]
    yield made
    for child in made:
        child.close()


@pytest.fixture(params=["waitid", "without"], autouse=True)
def _with_and_without_waitid(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.delattr(os, "waitid", raising=False)


def reaped(pids: list[int], count: int) -> dict[int, int]:
    """The exit codes of so many of them."""
    found: dict[int, int] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline
        found |= reaping.reap([pid for pid in pids if pid not in found])
    return {pid: os.waitstatus_to_exitcode(status) for pid, status in found.items()}


def test_who_lives_is_not_reaped(children: list[Child]) -> None:
    assert reaping.reap([child.pid for child in children]) == {}
    assert reaping.reap_one(children[0].pid) is None


def test_who_has_ended_is_reaped_once(children: list[Child]) -> None:
    pids = [child.pid for child in children]
    children[2].leave()
    children[0].leave()
    assert reaped(pids, 2) == {pids[0]: 1, pids[2]: 3}
    assert reaping.reap([pids[1]]) == {}


def test_the_exit_status_of_somebody_elses_child_is_left_alone(children: list[Child]) -> None:
    other = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"], stdout=subprocess.PIPE)
    with other:
        assert other.stdout is not None
        other.stdout.read()
        children[1].leave()
        assert reaped([child.pid for child in children], 1) == {children[1].pid: 2}
        children[0].leave()
        assert reaped([children[0].pid, children[2].pid], 1) == {children[0].pid: 1}
    assert other.returncode == 7


def test_who_was_reaped_by_somebody_else_has_left_somehow(children: list[Child]) -> None:
    for child in children:
        child.leave()
        os.waitpid(child.pid, 0)
    assert reaping.reap_one(children[0].pid) == 0
    assert reaping.reap([child.pid for child in children]) == {child.pid: 0 for child in children}
