"""What the system tests of WebSockets share: a server in a process of its own, and what a script installs."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import uvicorn

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"

Started = contextlib.AbstractContextManager[int]


@contextlib.contextmanager
def _started(folder: Path, app: str, *options: str, path: str = "") -> Iterator[int]:
    search = os.pathsep.join(filter(None, [str(Path(uvicorn.__file__).parents[1]), path]))
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", app, "--port", "0", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            found = re.search(r"running on http://127\.0\.0\.1:(\d+)", line)
            if found:
                break
        else:
            pytest.fail(f"the server did not start:\n{said}")
        drained = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        try:
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(30)
            drained.wait(10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


@pytest.fixture(scope="session")
def started() -> Callable[..., Started]:
    """`with started(folder, "module:app", *options, path="…") as port:`"""
    return _started


@pytest.fixture(scope="session")
def installed() -> Callable[..., str]:
    """`installed("install-x")` runs that script and returns what it printed; the test is skipped where it cannot."""

    def run(script: str, *arguments: str) -> str:
        done = subprocess.run([SCRIPTS / script, *arguments], capture_output=True, text=True, timeout=900)
        if done.returncode:
            pytest.skip(done.stderr.strip().splitlines()[-1])
        return done.stdout.strip()

    return run
