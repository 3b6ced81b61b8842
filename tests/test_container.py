"""As in a container: PID 1, a read-only root, an unknown user, no home, no terminal, no standard input.

Made with unshare(1) and setpriv(1), where the system lets us. The one capability that is left to the process lets it
read the interpreter, wherever that is.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from programs import Begin, Program, Start

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


@pytest.fixture
def run(tmp_path: Path, start_command: Start) -> Begin[Program]:
    for tool in ("unshare", "setpriv", "mount"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    (tmp_path / "good.py").write_text(APP)
    enter = (*NAMESPACES, "sh", "-c", SETTLE, "sh", str(tmp_path))
    if (tried := subprocess.run([*enter, "true"], capture_output=True, text=True)).returncode:
        pytest.skip(f"no container can be made here: {tried.stderr.strip()}")
    return lambda *arguments: start_command("good:app", "--port", "0", *arguments, prefix=enter)


def init(container: Program) -> int:
    """The pid, outside the container, of its PID 1."""
    pid = container.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.parametrize("workers", ["1", "2", "auto"])
def test_it_works_and_is_silent(run: Begin[Program], workers: str) -> None:
    container = run("--workers", workers)
    container.wait_for(r"Started parent process \[1\]")
    container.listens()
    pid, uid, home = container.get().split()
    assert (uid, home) == ("54321", "None") and int(pid) > 1
    assert container.get("/orphan") == "reaped"
    container.tell(signal.SIGTERM, init(container))
    assert container.end() == 0
    assert [line for line in container.text.splitlines() if not line.startswith("INFO: ")] == []


def test_what_cannot_start_ends_the_container(run: Begin[Program]) -> None:
    assert run("--fd", "77").end() == 3
