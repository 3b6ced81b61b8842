"""Systems without fork, and without what only Linux has, simulated in real processes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from programs import LIFESPAN, Program, Start
from uvicorn.launch import portable

APP = """
import helper

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": b"more", "more_body": True})
        await __import__("asyncio").sleep(0.05)
    await send({"type": "http.response.body", "body": helper.WORDS})
"""
CALLER = """
import app, uvicorn
uvicorn.run("app:app", port=0, reload=True)
print("run() has returned", flush=True)
"""


def write(folder: Path, words: str) -> None:
    (folder / "helper.py").write_text(words)


@pytest.fixture
def start(tmp_path: Path, start_python: Start) -> Start:
    (tmp_path / "app.py").write_text(LIFESPAN + APP)
    (tmp_path / "caller.py").write_text(CALLER)
    write(tmp_path, "WORDS = b'one'\n")
    return start_python


COMMAND = ("-m", "uvicorn", "app:app", "--reload", "--port", "0")


@pytest.mark.parametrize("arguments", [COMMAND, ("caller.py",)], ids=["command", "run"])
def test_reload_without_fork(start: Start, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    program: Program = start(*arguments, env={portable.SWITCH: "1"})
    program.wait_for(r"Started reloader process")
    program.wait_for("Application startup complete")
    assert program.get() == "one"
    stream = program.ask("/endless")
    assert stream.getresponse().read(4) == b"more"
    write(tmp_path, "WORDS = b'two'\n")
    program.wait_for("detected changes in 'helper.py'. Reloading...")
    program.wait_for("= shut down")
    program.wait_for("Application startup complete")
    assert program.get() == "two"
    stream.close()
    write(tmp_path, "WORDS = (\n")
    program.wait_for("SyntaxError")
    program.wait_for("The server exited with status 3. It starts again when a file changes")
    waiting = program.ask()
    write(tmp_path, "WORDS = b'mended'\n")
    assert waiting.getresponse().read() == b"mended"
    os.killpg(program.process.pid, signal.SIGINT)
    assert program.end() == 0, program.text
    assert program.text.count("= shut down") == 3
    assert "KeyboardInterrupt" not in program.text and "Killing" not in program.text


def test_what_cannot_travel_is_a_sentence(start: Start, tmp_path: Path) -> None:
    source = "import uvicorn\nuvicorn.run('app:app', port=0, reload=True, loop=lambda: None)\n"
    (tmp_path / "caller.py").write_text(source)
    program: Program = start("caller.py", env={portable.SWITCH: "1"})
    assert program.end() == 1
    assert "--reload starts a new interpreter on this system, but loop is the function <lambda>" in program.text


WITHOUT_UNIX = """
import asyncio, os, select, signal, socket, sys, time

unix, pair = socket.AF_UNIX, socket.socketpair
socket.socketpair = lambda *_: pair(unix)  # Windows makes one of two TCP sockets

for name in ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "uvloop"):
    sys.modules[name] = None
for module, names in {
    os: "fork register_at_fork getuid geteuid getpgrp getsid tcgetpgrp pidfd_open memfd_create sched_getaffinity"
    " waitid WIFSIGNALED WTERMSIG set_blocking",
    signal: "SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGCHLD SIGTTIN SIGTTOU SIGWINCH SIGKILL SIGRTMIN SIGRTMAX pthread_sigmask"
    " valid_signals",
    socket: "AF_UNIX SO_PEERCRED SCM_RIGHTS SO_REUSEPORT",
    select: "poll epoll",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

class Proactor(asyncio.SelectorEventLoop):
    def refuse(self, *_):
        raise NotImplementedError
    add_signal_handler = remove_signal_handler = refuse

import uvicorn
from app import app

def loop():
    made = Proactor()
    made.add_reader = made.remove_reader = made.refuse
    return made
"""


@pytest.mark.skipif(sys.platform != "linux", reason="simulated on Linux")
def test_import_and_serve_without_what_windows_lacks(start: Start, tmp_path: Path) -> None:
    source = WITHOUT_UNIX + 'uvicorn.run(app, port=0, loop=loop)\nprint("run() has returned", flush=True)\n'
    (tmp_path / "caller.py").write_text(source)
    program: Program = start("caller.py")
    program.wait_for("Uvicorn running")
    assert program.get() == "one"
    assert program.end(signal.SIGINT) == 0, program.text
    assert "run() has returned" in program.text and "Traceback" not in program.text


WITHOUT_LINUX = """
import builtins, os, select, signal, socket, sys
for module, names in {
    os: "memfd_create sched_getaffinity pidfd_open eventfd splice",
    signal: "SIGRTMIN SIGRTMAX pidfd_send_signal",
    socket: "SO_PEERCRED SO_PASSCRED SCM_CREDENTIALS TCP_DEFER_ACCEPT",
    select: "epoll",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
sys.modules["prctl"] = None
opened, linked, listed = builtins.open, os.readlink, os.listdir

def hidden(function):
    def call(path, *args, **kws):
        if str(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return function(path, *args, **kws)
    return call

builtins.open, os.readlink, os.listdir = map(hidden, (opened, linked, listed))
sys.argv = ["uvicorn", *sys.argv[1:]]
import runpy
runpy.run_module("uvicorn", run_name="__main__")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="simulated on Linux")
def test_a_master_without_what_only_linux_has(start: Start, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        LIFESPAN + APP.replace("    while", "    if scope['path'] == '/hang': __import__('time').sleep(600)\n    while")
    )
    (tmp_path / "caller.py").write_text(WITHOUT_LINUX)
    arguments = ("app:app", "--port", "0", "--workers", "2", "--timeout-worker-healthcheck", "1")
    program: Program = start("caller.py", *arguments)
    program.serves()
    assert program.get() == "one"
    hanging = program.ask("/hang")
    program.expect("killing it")
    program.expect("Application startup complete")
    hanging.close()
    write(tmp_path, "WORDS = b'two'\n")
    program.tell(signal.SIGHUP)
    # Until the old workers have finished, they answer as well.
    program.wait_for(r"(?s)reloading(?=.*reloaded: 2 workers)(.*Finished server process){2}")
    assert program.get() == "two"
    assert program.end(signal.SIGTERM) == 0, program.text
