"""Reloading from a developer's point of view: the command, `run()` in a program, and reloaders that programs create."""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Protocol

import pytest

import uvicorn
from programs import PACKAGE, RUNNING, Keep, Program

if sys.platform == "win32":
    pytest.skip("reloading needs fork", allow_module_level=True)

WATCHERS = ["StatReload", *(["WatchFiles"] if importlib.util.find_spec("watchfiles") else [])]

APP = """
import helper

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": helper.WORDS})
"""
OPEN_ENDED = """
import asyncio, fcntl, os, time
import helper

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        lock = os.open("lock", os.O_CREAT | os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(1.5)  # what a stream may not take away from it
        print("= shut down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/endless":
        while True:
            await send({"type": "http.response.body", "body": b"more", "more_body": True})
            await asyncio.sleep(0.05)
    if scope["path"] == "/blocked":
        await send({"type": "http.response.body", "body": b"more", "more_body": True})
        await asyncio.sleep(0.05)
        time.sleep(1000)
    if scope["path"] == "/crash":
        os._exit(7)
    await send({"type": "http.response.body", "body": helper.WORDS})
"""
PROGRAM = """
import sys
import helper
import uvicorn
from app import app as application

if __name__ == "__main__":
    uvicorn.run(*sys.argv[1:] or ["program:application"], port=0, reload=True)
    print("the program goes on", flush=True)
"""
EMBEDDED = """
import sys
import uvicorn
from uvicorn import supervisors

if __name__ == "__main__":
    config = uvicorn.Config(sys.argv[2], port=0, reload=True)
    server = uvicorn.Server(config)
    reloader = getattr(supervisors, sys.argv[1])
    reloader(config, target=server.run, sockets=[config.bind_socket()]).run()
    print("the program goes on", flush=True)
"""


def words(text: str) -> str:
    return f"WORDS = {text.encode()!r}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sources = {"app": APP, "open": OPEN_ENDED, "program": PROGRAM, "embedded": EMBEDDED, "helper": words("one")}
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


class Start(Protocol):
    def __call__(self, *arguments: str, watcher: str = WATCHERS[-1]) -> Run: ...


class Run(Program):
    """One run in a folder whose files are edited."""

    def started(self) -> None:
        self.wait_for("Application startup complete")
        assert re.search(RUNNING, self.text), self.text

    def stream(self, path: str) -> http.client.HTTPConnection:
        """A response that has begun and does not end."""
        asked = self.ask(path)
        assert asked.getresponse().read(4) == b"more"
        return asked

    def edit(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture
def start(folder: Path, keep_program: Keep) -> Start:
    """start(*arguments, watcher=…): the other watcher is hidden."""
    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['watchfiles'] = None\n")

    def begin(*arguments: str, watcher: str = WATCHERS[-1]) -> Run:
        path = [str(hidden), PACKAGE] if watcher == "StatReload" else [PACKAGE]
        return keep_program(Run(folder, *arguments, env={"PYTHONPATH": os.pathsep.join(path)}))

    return begin


def command(app: str, *more: str) -> list[str]:
    return ["-m", "uvicorn", app, "--reload", "--port", "0", *more]


@pytest.mark.parametrize("watcher", WATCHERS)
def test_an_edit_is_served_and_no_failure_is_final(start: Start, watcher: str) -> None:
    run = start(*command("app:app"), watcher=watcher)
    run.wait_for(rf"Will watch for changes in these directories: \['{run.folder.resolve()}'\]")
    run.wait_for(rf"Started reloader process \[{run.process.pid}\] using {watcher}")
    run.started()
    assert run.get() == "one"
    run.edit("helper.py", words("two"))  # as long as before, and perhaps in the same second
    run.wait_for(rf"WARNING: +{watcher} detected changes in 'helper.py'. Reloading...")
    run.started()
    assert run.get() == "two"
    run.edit("helper.py", "WORDS = (\n")
    run.wait_for("SyntaxError: '\\(' was never closed")
    run.wait_for("Nothing is served until a file changes")
    waiting = run.ask()  # its connection waits in the queue until somebody has mended it
    run.edit("helper.py", words("mended"))
    assert waiting.getresponse().read() == b"mended"
    waiting.close()
    assert run.end(signal.SIGINT) == 0
    assert f"Stopping reloader process [{run.process.pid}]" in run.text
    assert run.text.count("SyntaxError") == 1


def test_a_first_start_that_fails_is_not_final(start: Start, folder: Path) -> None:
    (folder / "helper.py").write_text("import nowhere\n")
    run = start(*command("app:app"))
    run.wait_for("No module named 'nowhere'")
    run.wait_for("Nothing is served")
    run.edit("helper.py", words("now"))
    run.started()
    assert run.get() == "now"
    run.edit("helper.py", "import nowhere\n")
    run.wait_for("Nothing is served")
    assert run.end(signal.SIGTERM) == 0


def test_the_old_one_stops_first_and_no_stream_holds_it_up(start: Start) -> None:
    """The lifespan takes a lock, so two applications cannot run at the same time."""
    run = start(*command("open:app"))
    run.started()
    stream = run.stream("/endless")
    run.edit("helper.py", words("two"))
    run.wait_for("= shut down")
    run.started()
    assert run.get() == "two"
    stream.close()
    again = run.stream("/endless")
    assert run.end(signal.SIGINT) == 0
    again.close()
    assert "Killing" not in run.text and run.text.count("= shut down") == 2


def test_a_blocked_loop_is_replaced_when_a_file_changes(start: Start) -> None:
    run = start(*command("open:app"))
    run.started()
    blocked = run.stream("/blocked")
    run.edit("helper.py", words("two"))
    run.wait_for("Killing worker 0 .*: it was told to leave, and its event loop does not run")
    run.started()
    assert run.get() == "two"
    blocked.close()
    assert run.end(signal.SIGINT) == 0


def test_a_second_interrupt_does_not_wait_for_a_blocked_loop(start: Start) -> None:
    run = start(*command("open:app"))
    run.started()
    blocked = run.stream("/blocked")
    run.tell(signal.SIGINT)
    run.wait_for("Received SIGINT: stopping")
    run.insist()
    assert run.end() == 0
    blocked.close()
    assert "stopping now" in run.text and "Killing" not in run.text


def test_a_crash_is_followed_by_another_worker(start: Start) -> None:
    run = start(*command("open:app"))
    run.started()
    with pytest.raises((http.client.HTTPException, OSError)):
        run.get("/crash")
    run.wait_for("exited with status 7; replacing it")
    run.started()
    assert run.get() == "one"
    assert run.end(signal.SIGINT) == 0


def test_the_watcher_leaves_with_the_master_and_is_replaced_without(start: Start) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("its process id is looked up in /proc")
    run = start(*command("app:app"))
    run.started()
    worker = int(re.findall(r"Started server process \[(\d+)\]", run.text)[0])
    (watcher,) = (pid for pid in children(run.process.pid) if pid != worker)
    os.kill(watcher, signal.SIGKILL)
    run.wait_for("The process that watches files was killed by SIGKILL")
    run.edit("helper.py", words("two"))
    run.started()
    assert run.get() == "two"
    run.end(signal.SIGKILL)  # the worker and the watcher hold its output: it ends when both have left


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def test_patterns_of_the_command_line(start: Start, folder: Path) -> None:
    (folder / "pages").mkdir()
    run = start(*command("app:app", "--reload-include", "pages/*.html", "--reload-exclude", "app.py", "--workers", "3"))
    run.wait_for('"workers" flag is ignored when reloading is enabled.')
    run.started()
    run.edit("app.py", APP + "# does not count\n")
    run.edit("pages/index.html", "counts")
    assert run.wait_for("detected changes in (.*)\\. Reloading")[1] == "'pages/index.html'"
    run.started()
    assert run.get() == "one"
    assert run.end(signal.SIGINT) == 0


def test_run_in_a_program_imports_everything_anew(start: Start) -> None:
    """The program has imported the old helper; the new one on the disk is served."""
    run = start("program.py")
    run.started()
    assert run.get() == "one"
    run.edit("helper.py", words("two"))
    run.wait_for("detected changes in 'helper.py'")
    run.started()
    assert run.get() == "two"
    assert run.end(signal.SIGTERM) == 0
    assert run.text.rstrip().endswith("the program goes on")


def test_the_reloader_of_a_program_that_is_gone_leaves(start: Start) -> None:
    run = start("program.py")
    run.started()
    run.end(signal.SIGKILL)
    assert "Stopping reloader process" in run.text


def test_an_interrupt_at_the_terminal_of_a_program(start: Start) -> None:
    run = start("program.py")
    run.started()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end() == 0, run.text
    assert "stopping now" not in run.text and "Traceback" not in run.text
    assert run.text.rstrip().endswith("the program goes on")


EVERY_WAY = {
    "command": ["-m", "uvicorn", "open:app", "--reload", "--port", "0"],
    "run": ["program.py", "open:app"],
    "ChangeReload": ["embedded.py", "ChangeReload", "open:app"],
    "StatReload": ["embedded.py", "StatReload", "open:app"],
}


@pytest.mark.parametrize("way", EVERY_WAY)
def test_an_interrupt_and_a_change_leave_the_application_its_shutdown(start: Start, way: str) -> None:
    """Ctrl-C reaches every process, and a launcher passes it on once more."""
    run = start(*EVERY_WAY[way])
    run.started()
    stream = run.stream("/endless")
    run.edit("helper.py", words("two"))
    run.wait_for("= shut down")
    run.started()
    stream.close()
    os.killpg(run.process.pid, signal.SIGINT)
    run.tell(signal.SIGINT)
    assert run.end() == 0, run.text
    assert run.text.count("= shut down") == 2
    assert "KeyboardInterrupt" not in run.text and "Killing" not in run.text


@pytest.mark.parametrize("way", EVERY_WAY)
def test_an_interrupt_while_it_is_being_imported_says_nothing(start: Start, folder: Path, way: str) -> None:
    os.mkfifo(folder / "gate")
    gate = os.open(folder / "gate", os.O_RDWR)
    hangs = "\nif __name__ == 'open':\n    print('importing', flush=True)\n    open('gate').read()\n"
    (folder / "open.py").write_text(OPEN_ENDED + hangs)
    run = start(*EVERY_WAY[way])
    run.wait_for("importing")
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end() == 0, run.text
    os.close(gate)
    assert "KeyboardInterrupt" not in run.text


def test_an_object_cannot_be_reloaded(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        """Never called."""

    with pytest.raises(SystemExit) as left:
        uvicorn.run(app, reload=True, log_config=None)
    assert left.value.code == 2
    assert "You must pass the application as an import string to enable 'reload' or 'workers'." in caplog.text


@pytest.mark.parametrize("reloader", ["ChangeReload", "StatReload"])
def test_a_reloader_that_a_program_makes(start: Start, reloader: str) -> None:
    run = start("embedded.py", reloader, "app:app")
    run.started()
    assert run.get() == "one"
    run.edit("helper.py", words("two"))
    run.wait_for("detected changes in 'helper.py'. Reloading...")
    run.started()
    assert run.get() == "two"
    assert run.end(signal.SIGINT) == 0
    assert run.text.rstrip().endswith("the program goes on")


def test_a_reloader_of_somebodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass defines `should_restart`; the loop, its hooks and its end are ours."""
    from uvicorn.supervisors import BaseReload

    calls: list[str] = []

    class Own(BaseReload):
        reloader_name = "Own"

        def startup(self) -> None:
            calls.append("startup")

        def restart(self) -> None:
            calls.append("restart")

        def shutdown(self) -> None:
            calls.append("shutdown")

        def should_restart(self) -> list[Path] | None:
            self.pause()
            if len(calls) == 3:
                self.should_exit.set()
            return [Path("a.py")]

    config = uvicorn.Config("app:app", reload=True, reload_delay=0.0, log_config=None)
    with socket.socket() as sock:
        Own(config, target=print, sockets=[sock]).run()
    assert calls == ["startup", "restart", "restart", "shutdown"]


def test_the_doors() -> None:
    from uvicorn.supervisors.basereload import BaseReload
    from uvicorn.supervisors.statreload import StatReload
    from uvicorn.supervisors.watchfilesreload import WatchFilesReload

    assert issubclass(StatReload, BaseReload) and issubclass(WatchFilesReload, BaseReload)
