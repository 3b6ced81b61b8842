"""Processes that a program supervises by itself, and what it may replace in a reloader."""

from __future__ import annotations

import importlib.util
import multiprocessing.context
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from applications import Receive, Scope, Send
from programs import Start
from uvicorn import _subprocess
from uvicorn.config import Config
from uvicorn.launch import spawned
from uvicorn.launch.replaced import warn_of_replaced_methods
from uvicorn.supervisors.basereload import BaseReload, _display_path, get_subprocess
from uvicorn.supervisors.multiprocess import Process
from uvicorn.supervisors.statreload import StatReload
from uvicorn.worker.server import Server

needs_watchfiles = pytest.mark.skipif(importlib.util.find_spec("watchfiles") is None, reason="watchfiles is not here")


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def target(sockets: list[socket.socket]) -> None: ...


def config(**options: Any) -> Config:
    return Config(app, log_config=None, **options)


# -- a process, asked in this one ------------------------------------------------------------------------------


@pytest.fixture
def answering() -> Iterator[Process]:
    process = Process(config(), sockets=[])
    thread = threading.Thread(target=process.always_pong, daemon=True)
    thread.start()
    yield process
    process.parent_conn.close()
    thread.join(10)
    assert not thread.is_alive()
    process.child_conn.close()


def test_it_answers_whether_its_server_has_started(answering: Process) -> None:
    assert answering.ping() and not answering.is_ready()
    answering.server.started = True
    assert answering.ping() and answering.is_ready()


def test_a_late_answer_is_not_the_next_ones() -> None:
    process = Process(config(), [])
    assert not process.ping(0)
    process.pong()
    process.server.started = True
    thread = threading.Thread(target=process.pong)
    thread.start()
    assert process.is_ready()
    thread.join()


def test_an_answer_may_be_waited_for_as_long_as_one_likes() -> None:
    process = Process(config(), [])
    process.child_conn.send(True)
    with mock.patch.object(process.parent_conn, "send", side_effect=lambda _: process.child_conn.send(True)):
        assert process.ping(2592000)
    process.parent_conn.close()
    process.child_conn.close()


def test_who_is_not_there_does_not_live() -> None:
    process = Process(config(), [])
    assert not process.is_alive(0) and not process.wait_until_ready(0.1)
    assert (process.pid, process.exitcode) == (None, None)
    process.parent_conn.close()
    process.child_conn.close()
    assert not process.ping(1)


def test_waiting_ends_when_the_program_leaves() -> None:
    stop = threading.Event()
    stop.set()
    process = Process(config(), [])
    with mock.patch.object(process.process, "is_alive", return_value=True), mock.patch.object(process, "is_ready"):
        assert process.wait_until_ready(60)
        assert not process.wait_until_ready(60, stop)


def test_older_programs_pass_a_target() -> None:
    for process in (Process(config(), target, []), Process(config(), target=target, sockets=[])):
        assert process.real_target is target
    assert Process(config(), []).real_target is None


def test_a_server_goes_to_the_process_by_pickle() -> None:
    server = pickle.loads(pickle.dumps(Server(config())))
    assert server.config.app is app and server.server_state.context is not None
    assert server.server_state.context.run(len, "abc") == 3


# -- real processes --------------------------------------------------------------------------------------------

PROGRAM = """
import os, signal, uvicorn
from uvicorn._subprocess import get_subprocess
from uvicorn.supervisors.multiprocess import Process

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{__name__} {os.getppid()}".encode()})

def instead(sockets=None):
    print("instead", len(sockets), flush=True)

"""


@pytest.mark.parametrize("loads", ["config.load()", ""])
def test_a_process_serves_the_sockets_that_it_is_given(start_program: Start, loads: str) -> None:
    program = start_program(
        PROGRAM
        + f"""
if __name__ == "__main__":
    config = uvicorn.Config(app, port=0)
    {loads}
    sock = config.bind_socket()
    process = Process(config, [sock])
    process.start()
    assert process.wait_until_ready(60) and process.is_alive(60)
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    print("ready", flush=True)
    process.join()
    print("left", process.exitcode, process.is_alive(), flush=True)
"""
    )
    program.wait_for("^ready")
    assert program.get() == f"__mp_main__ {program.process.pid}"
    assert program.end(signal.SIGTERM) == 0
    assert "left -15 False" in program.text


def test_what_a_program_has_the_process_do_instead(start_program: Start) -> None:
    program = start_program(
        PROGRAM
        + """
if __name__ == "__main__":
    config = uvicorn.Config(app)
    prepared = Process(config, [])
    prepared.server.run = instead
    for process in (prepared, Process(config, instead, []), get_subprocess(config, instead, [])):
        process.start()
        process.join()
        print("left", process.exitcode, flush=True)
"""
    )
    assert program.end() == 0
    assert program.text.count("instead 0") == 3 and program.text.count("left 0") == 3


# -- what the master makes of it -------------------------------------------------------------------------------


def test_a_replaced_question_is_told_and_not_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_replaced_methods(config())
    assert not caplog.records and not spawned.replaced()
    monkeypatch.setattr(Process, "is_alive", partialmethod(Process.is_alive, timeout=60))
    warn_of_replaced_methods(config(timeout_worker_healthcheck=7))
    (line,) = caplog.messages
    assert "Process.is_alive was replaced" in line and "timeout_worker_healthcheck (7 s)" in line


# -- get_subprocess --------------------------------------------------------------------------------------------


def test_a_subprocess_is_one_of_multiprocessing() -> None:
    process = get_subprocess(config(), target, [])
    assert isinstance(process, multiprocessing.context.SpawnProcess) and process.pid is None


def test_what_a_subprocess_does_first() -> None:
    settings, called, logged = config(), mock.Mock(), mock.Mock()
    with mock.patch.object(settings, "configure_logging", logged):
        _subprocess.subprocess_started(settings, called, [], None)
    called.assert_called_once_with(sockets=[])
    logged.assert_called_once_with()


# -- reloaders -------------------------------------------------------------------------------------------------


def test_a_path_as_the_log_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _display_path(tmp_path / "app" / "main.py") == repr(os.path.join("app", "main.py"))
    assert _display_path(Path("/foo/bar.py")) == "'/foo/bar.py'"


def test_a_restart_makes_its_process_by_what_there_is_then() -> None:
    reloader = BaseReload(config(), target, [])
    seen: list[tuple[bool, tuple[object, ...]]] = []

    def made(*given: object) -> mock.Mock:
        seen.append((reloader.is_restarting, given))
        return mock.Mock(**{"is_alive.return_value": False})

    with mock.patch.object(_subprocess, "get_subprocess", made):
        reloader.startup()
        reloader.restart()
        reloader.shutdown()
    given: tuple[object, ...] = (reloader.config, target, [])
    assert seen == [(False, given), (True, given)] and not reloader.is_restarting


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("main.py", "config.yaml", ".venv/lib.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reloading(**options: Any) -> Config:
    return Config("main:app", reload=True, reload_delay=0, log_config=None, **options)


def changes_of(reloader: BaseReload, path: Path) -> set[Path]:
    """The changes that it finds while this file is written repeatedly; empty if it finds none in 20 looks."""
    while reloader.should_restart():
        pass  # what is younger than the reloader
    for text in map(str, range(20)):
        path.write_text(text)
        found = reloader.should_restart()
        if found:
            return set(found)
    return set()


def test_the_files_that_are_looked_at(folder: Path) -> None:
    assert list(StatReload(reloading(), target, []).iter_py_files()) == [folder / "main.py"]
    assert set(StatReload(reloading(reload_includes=["*.yaml"]), target, []).iter_py_files()) == {
        folder / "main.py",
        folder / "config.yaml",
    }


def test_files_that_a_program_adds_are_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = StatReload.iter_py_files
    yaml = folder / "config.yaml"
    assert changes_of(StatReload(reloading(), target, []), yaml) == set()

    def more(self: StatReload) -> Iterator[Path]:
        yield from plain(self)
        yield yaml

    monkeypatch.setattr(StatReload, "iter_py_files", more)
    reloader = StatReload(reloading(), target, [])
    assert changes_of(reloader, yaml) == {yaml}
    assert changes_of(reloader, folder / "main.py") == {folder / "main.py"}


def test_files_that_a_subclass_leaves_out_are_not(folder: Path) -> None:
    class Few(StatReload):
        def iter_py_files(self) -> Iterator[Path]:
            return (path for path in super().iter_py_files() if path.name != "main.py")

    assert changes_of(Few(reloading(), target, []), folder / "main.py") == set()


def test_a_filter_by_the_settings(folder: Path) -> None:
    from uvicorn.supervisors.watchfilesreload import FileFilter

    fits = FileFilter(reloading(reload_includes=["*.yaml"], reload_excludes=["config.*"]))
    assert fits(folder / "main.py") and fits(folder / "other.yaml")
    assert not fits(folder / "config.yaml") and not fits(folder / ".venv" / "lib.py")
    assert fits(Path("/.elsewhere/main.py")) and not fits(Path("/elsewhere/.main.py"))  # who watches there means it
    assert "*.yaml" in fits.includes and "config.*" in fits.excludes and fits.exclude_dirs == []


@needs_watchfiles
def test_a_program_may_bring_its_own_watcher_and_filter(folder: Path) -> None:
    from uvicorn.supervisors.watchfilesreload import WatchFilesReload

    class Own(WatchFilesReload):
        def __init__(self, config: Config) -> None:
            BaseReload.__init__(self, config, target, [])
            self.watch_filter = lambda path: path.suffix == ".yaml"
            self.watcher = iter([set(), {(1, "/there/main.py")}, {(1, "/there/b.yaml"), (2, "/there/a.yaml")}])

    reloader = Own(reloading())
    assert reloader.should_restart() is None and reloader.should_restart() is None
    assert reloader.should_restart() == [Path("/there/a.yaml"), Path("/there/b.yaml")]
    assert reloader.should_restart() is None


@needs_watchfiles
@pytest.mark.skipif(sys.platform == "win32", reason="slow to tell")
def test_the_package_tells_of_what_counts(folder: Path) -> None:
    from uvicorn.supervisors.watchfilesreload import WatchFilesReload

    reloader = WatchFilesReload(reloading(), target, [])
    assert reloader.reload_dirs == [folder]
    assert changes_of(reloader, folder / "main.py") == {folder / "main.py"}
    reloader.should_exit.set()
