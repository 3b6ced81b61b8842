"""As a container runs it: PID 1, a read-only root, a user that nobody knows, no home, no terminal, no standard input.

Made with unshare(1) and setpriv(1), where the system lets us. The one capability that is left to the process lets it
read the interpreter, wherever that is.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import uvicorn

PATIENCE = 60.0

APP = """
import os, tempfile, time

async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = f"{os.getpid()} {os.getuid()} {os.environ.get('HOME')}"
    if scope["path"] == "/orphan":
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            if (orphan := os.fork()):
                os.write(writer, str(orphan).encode())
            os._exit(0)
        os.waitpid(child, 0)
        path = f"/proc/{os.read(reader, 20).decode()}"
        while os.path.exists(path):
            time.sleep(0.01)
        body = "reaped"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})
"""

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
SETTLE = """
mount -o remount,bind,ro / && ! touch "$1/written" 2>/dev/null || exit 99
exec <&-
cd "$1" && shift
exec setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search -- \
    env -i PATH=/usr/bin:/bin PYTHONPATH="$PYTHONPATH" "$@"
"""


class Container:
    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [*NAMESPACES, "sh", "-c", SETTLE, "sh", str(folder), sys.executable, *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(uvicorn.__file__).parents[1])},
            start_new_session=True,
        )
        self.text = ""

    def wait_for(self, words: str) -> re.Match[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if found := re.search(words, line):
                return found
        raise AssertionError(f"{words!r} never came, but:\n{self.text}")

    @property
    def init(self) -> int:
        """Its PID 1, as we see it."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def end(self) -> int:
        os.kill(self.init, signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.text += rest
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()  # --kill-child: and with it its PID 1, and whatever that has
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Container]]:
    for tool in ("unshare", "setpriv", "mount"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    (tmp_path / "good.py").write_text(APP)
    probe = [*NAMESPACES, "sh", "-c", SETTLE, "sh", str(tmp_path), "true"]
    if (tried := subprocess.run(probe, capture_output=True, text=True)).returncode:
        pytest.skip(f"no container can be made here: {tried.stderr.strip()}")
    made: list[Container] = []

    def start(*arguments: str) -> Container:
        made.append(Container(tmp_path, "-m", "uvicorn", "good:app", "--port", "0", *arguments))
        return made[-1]

    yield start
    for one in made:
        one.close()


def get(port: int, path: str = "/") -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", path)
    body = connection.getresponse().read().decode()
    connection.close()
    return body


@pytest.mark.parametrize("workers", ["1", "2", "auto"])
def test_it_works_and_is_silent(run: Callable[..., Container], workers: str) -> None:
    container = run("--workers", workers)
    container.wait_for(r"Started parent process \[1\]")
    port = int(container.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1])
    pid, uid, home = get(port).split()
    assert (uid, home) == ("54321", "None") and int(pid) > 1
    assert get(port, "/orphan") == "reaped"
    assert container.end() == 0
    assert [line for line in container.text.splitlines() if not line.startswith("INFO: ")] == []


def test_what_cannot_start_ends_the_container(run: Callable[..., Container]) -> None:
    container = run("--fd", "77")
    container.process.wait(PATIENCE)
    assert container.process.returncode == 3
