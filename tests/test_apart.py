"""`run("module:app", workers=…)`: the master in an interpreter of its own. Real processes, each in its own session."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from programs import NOTHING, PACKAGE, PATIENCE, Program, Start

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

from uvicorn.launch import packing
from uvicorn.worker.loop.kinds import asyncio_loop_factory

APP = """
import os, sys
VERSION = 1

async def app(scope, receive, send):
    assert scope["type"] == "http"
    text = f"{VERSION} {sys.argv[1:]} {'caller' in sys.modules} {os.getppid()}"
    if scope["path"] == "/slow":
        await receive()
        print("slow", flush=True)
        while not os.path.exists("go"):
            await __import__("asyncio").sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""
CALLER = """
import os, sys, uvicorn
import good, logging
if __name__ == "__main__":
    {before}
    uvicorn.run("good:app", port=0, {settings})
    print("run() has returned", flush=True)
"""


class Begin(Protocol):
    """Runs CALLER, or `source`: with these settings of run(), and with `before` as its first statement."""

    def __call__(
        self,
        settings: str = "workers=2",
        *arguments: str,
        source: str = CALLER,
        before: str = "pass",
        prefix: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] = NOTHING,
    ) -> Program: ...


@pytest.fixture
def start(tmp_path: Path, start_program: Start) -> Begin:
    (tmp_path / "good.py").write_text(APP)

    def begin(
        settings: str = "workers=2", *arguments: str, source: str = CALLER, before: str = "pass", **options: Any
    ) -> Program:
        return start_program(source.format(settings=settings, before=before), *arguments, **options)

    return begin


# -- what travels ----------------------------------------------------------------------------------------------


class Shape:
    """A class that can be imported by name."""

    def make(self) -> None:
        """A bound method has no name to import it by."""


def test_plain_data_travels_as_it_is() -> None:
    plain = {"a": None, "b": [("x", b"y")], "d": {1: {"l": 1.5}}, "f": True, "s": {1}}
    assert packing.pack(plain) == (plain, [], [])
    assert packing.pack({"c": Path("/x"), "e": signal.SIGTERM}).settings == {"c": "/x", "e": 15}


def test_what_has_a_name_travels_by_it() -> None:
    named = {"loop": "uvicorn.worker.loop.kinds:asyncio_loop_factory", "http": f"{__name__}:Shape", "ws": "sys:stdout"}
    packed = packing.pack({"loop": asyncio_loop_factory, "http": Shape, "ws": sys.stdout})
    assert packed == (named, [], [])


def test_what_has_no_name_is_said() -> None:
    circle: list[object] = []
    circle.append(circle)
    nameless = {"loop": Shape().make, "http": lambda: None, "ws": object(), "headers": circle, "port": 1}
    packed = packing.pack(nameless)
    assert packed.settings == {"port": 1}
    assert [text.partition(",")[0] for text in packed.obstacles[:3]] == [
        "loop is the method Shape.make",
        "http is the function test_what_has_no_name_is_said.<locals>.<lambda>",
        "ws is an object of the class object",
    ]
    assert packed.obstacles[3] == "headers contains itself"


def test_a_frozen_program_has_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert packing.pack({}).obstacles == ["this program has no Python interpreter that could be started"]


# -- the master in an interpreter of its own -------------------------------------------------------------------


def test_a_reload_serves_new_code_although_the_caller_has_imported_it(start: Begin, tmp_path: Path) -> None:
    program = start("workers=2", "one", "two")
    master = program.serves()
    assert program.get() == f"1 ['one', 'two'] False {master}"
    assert master != program.process.pid
    assert "same code" not in program.text
    (tmp_path / "good.py").write_text(APP.replace("VERSION = 1", "VERSION = 22"))
    program.tell(signal.SIGHUP)
    program.wait_for(r"(?s)reloading(.*Finished server process){2}")
    assert program.get().startswith("22 ")
    assert program.end(signal.SIGTERM) == 0
    assert "run() has returned" in program.text


def test_a_reload_reads_the_environment_file_that_the_caller_has_read(start: Begin, tmp_path: Path) -> None:
    pytest.importorskip("dotenv")
    (tmp_path / "app.env").write_text("WEB_CONCURRENCY=2")
    program = start("env_file='app.env'")
    program.serves()
    (tmp_path / "app.env").write_text("WEB_CONCURRENCY=3")
    program.tell(signal.SIGHUP)
    program.wait_for("reloaded: 3 workers, generation 2")
    assert program.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_signals_are_passed_on_and_so_is_the_exit_code(start: Begin, number: signal.Signals) -> None:
    program = start("supervise=True")
    program.serves(1)
    assert program.end(number) == 0
    assert "run() has returned" in program.text and "Traceback" not in program.text
    assert program.text.count(f"Received {number.name}") == 1


@pytest.mark.parametrize("number", [signal.SIGTTIN, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTOU, signal.SIGUSR1])
def test_the_other_signals_reach_the_master_too(start: Begin, number: signal.Signals) -> None:
    program = start("workers=2")
    program.serves()
    program.tell(number)
    if number is signal.SIGTTIN:
        program.wait_for("Application startup complete")
    elif number is signal.SIGTTOU:
        program.wait_for("Finished server process")
    elif number is not signal.SIGWINCH:
        program.wait_for(number.name)
    assert program.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_stops_once(start: Begin, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, and a service manager that ends everybody: what is in flight is finished."""
    program = start("workers=1, supervise=True")
    program.serves(1)
    client = program.ask("/slow")
    program.wait_for("slow")
    os.killpg(program.process.pid, number)
    program.wait_for("Shutting down")
    (tmp_path / "go").touch()
    assert client.getresponse().read().startswith(b"1 ")
    client.close()
    assert program.end() == 0
    assert program.text.count(f"Received {number.name}") == 1


def test_a_second_signal_is_a_second_one(start: Begin) -> None:
    program = start("workers=1, supervise=True")
    program.serves(1)
    client = program.ask("/slow")
    program.wait_for("slow")
    program.tell(signal.SIGINT)
    program.wait_for("Shutting down")
    program.insist()
    assert program.end() == 0
    assert "Received SIGINT: stopping now" in program.text
    client.close()


def test_a_signal_before_the_master_is_there(start: Begin, tmp_path: Path) -> None:
    """It is kept until somebody handles it. The interpreter is held up by what it imports at its start."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif '-c' in sys.orig_argv:\n    gate = open('gate')\n"
        "    print('starting', flush=True)\n    gate.read()\n"
    )
    os.mkfifo(tmp_path / "gate")
    gate = os.open(tmp_path / "gate", os.O_RDWR)  # both ends, so that no open has to wait for the other one
    path = os.pathsep.join((str(tmp_path), PACKAGE))
    program = start("workers=2", env={"PYTHONPATH": path})
    program.wait_for("starting")
    os.killpg(program.process.pid, signal.SIGINT)
    os.close(gate)
    assert program.end() == 0
    assert "KeyboardInterrupt" not in program.text and "run() has returned" in program.text


def test_when_the_caller_is_killed_the_master_ends(start: Begin) -> None:
    program = start("workers=2")
    program.serves()
    program.process.kill()
    program.wait_for("The process that started this master is gone: stopping.")
    assert program.end() == -signal.SIGKILL  # read to the end: nobody holds the pipe any more
    assert program.text.count("Finished server process") == 2
    with pytest.raises(ConnectionRefusedError):
        program.get()


def test_a_master_that_is_killed_is_told(start: Begin) -> None:
    program = start("workers=1, supervise=True")
    master = program.serves(1)
    os.kill(master, signal.SIGKILL)
    assert program.end() == 128 + signal.SIGKILL
    assert f"The master [{master}] was killed by SIGKILL." in program.text


def test_an_application_that_cannot_start_is_exit_code_3(start: Begin, tmp_path: Path) -> None:
    source = "import uvicorn\nuvicorn.run('nowhere:app', port=0, workers=2)\n"
    program = start(source=source)
    assert program.end() == 3
    assert program.text.count('Could not import module "nowhere"') == 1


def test_a_port_in_use_is_exit_code_3(start: Begin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = start(source=f"import uvicorn\nuvicorn.run('good:app', port={port}, workers=2)\n")
        assert program.end() == 3
    assert program.text.count("the port is in use") == 1


def test_a_descriptor_is_passed_on(start: Begin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        fd = sock.fileno()
        program = start(f"workers=2, fd={fd}", pass_fds=[fd])
        program.serves()
        assert program.port == sock.getsockname()[1]
        assert program.get().startswith("1 ")
        assert program.end(signal.SIGTERM) == 0


def test_the_path_and_the_warning_options_travel(start: Begin, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "good.py").rename(tmp_path / "elsewhere" / "good.py")
    source = (
        "import sys, uvicorn\nsys.path.insert(0, 'elsewhere')\nsys.warnoptions.append('error::UserWarning')\n"
        "uvicorn.run('good:app', port=0, workers=2)\n"
    )
    program = start(source=source)
    master = program.serves()
    assert program.get().startswith("1 ")
    arguments = Path(f"/proc/{master}/environ")
    assert not arguments.exists() or b"NOTIFY_SOCKET" not in arguments.read_bytes()
    assert program.end(signal.SIGTERM) == 0


def test_a_guard_does_not_matter(start: Begin) -> None:
    source = APP.replace("{", "{{").replace("}", "}}") + (
        "\nimport uvicorn\nuvicorn.run('caller:app', port=0, workers=2)\nprint('run() has returned', flush=True)\n"
    )
    program = start(source=source)
    program.serves()
    assert program.get().startswith("1 ")
    assert "uvicorn.run() has no effect while the application is imported" in program.text
    assert program.end(signal.SIGTERM) == 0


def test_a_guard_does_not_matter_to_the_command(tmp_path: Path, start: Begin) -> None:
    source = APP.replace("{", "{{").replace("}", "}}") + "\nimport uvicorn\nuvicorn.run('caller:app', port=0)\n"
    source += "print('imported', flush=True)\n"
    program = start(
        source="import runpy, sys\nsys.argv = ['uvicorn', 'served:app', '--port', '0']\n"
        "runpy.run_module('uvicorn', run_name='__main__')\n"
    )
    (tmp_path / "served.py").write_text(source.format())
    program.listens()
    assert program.get().startswith("1 ")
    assert program.end(signal.SIGTERM) == 0


SHAPES = """
import logging, os, threading
os.write(1, f"shapes imported in {os.getpid()}\\n".encode())
threading.Thread(target=print).start()

class Formatter(logging.Formatter):
    def format(self, record):
        return f"{os.getpid()} says " + record.getMessage()
"""
WITH_SHAPES = "import shapes, uvicorn.config, copy; config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG); "


@pytest.mark.parametrize("settings", ["workers=2", "reload=True"])
@pytest.mark.parametrize("formatter", ["shapes.Formatter", "'shapes.Formatter'"])
def test_a_class_in_the_log_configuration_travels_by_name(
    start: Begin, tmp_path: Path, settings: str, formatter: str
) -> None:
    """Fresh code is served, and the master has imported neither the application nor what formats its lines."""
    (tmp_path / "shapes.py").write_text(SHAPES)
    before = WITH_SHAPES + f"config['formatters']['default'] = {{'()': {formatter}}}"
    program = start(f"{settings}, log_config=config", before=before)
    master = int(program.expect(r"Started \w+ process \[(\d+)\]")[1])
    worker = int(program.wait_for(r"(\d+) says Application startup complete")[1])
    assert program.get().startswith("1 ")
    (tmp_path / "good.py").write_text(APP.replace("VERSION = 1", "VERSION = 22"))
    if "workers" in settings:
        program.tell(signal.SIGHUP)
        program.wait_for(r"(?s)reloading(.*Finished server process){2}")
    else:
        program.wait_for(rf"{worker} says Finished server process")
        program.wait_for("Application startup complete")
    assert program.get().startswith("22 ")
    assert program.end(signal.SIGTERM) == 0
    imported = {int(pid) for pid in re.findall(r"shapes imported in (\d+)", program.text)}
    assert {worker, program.process.pid} <= imported and master not in imported


def test_a_class_of_the_program_itself_travels(start: Begin) -> None:
    """The program has no `__main__` guard, so its module is imported under its own name."""
    source = """
import logging, os, uvicorn.config

class Formatter(logging.Formatter):
    def format(self, record):
        return f"{os.getpid()} says " + record.getMessage()

config = {**uvicorn.config.LOGGING_CONFIG, "formatters": {"default": {"()": Formatter}, "access": {"()": Formatter}}}
uvicorn.run("good:app", port=0, workers=2, log_config=config)
"""
    program = start(source=source.replace("{", "{{").replace("}", "}}"))
    assert program.wait_for(r"(\d+) says Application startup complete")[1] != str(program.process.pid)
    assert program.get().startswith("1 ")
    assert program.end(signal.SIGTERM) == 0
    assert "uvicorn.run() has no effect while the application is imported" in program.text


def test_what_has_no_name_is_left_out_of_the_log_configuration(start: Begin, tmp_path: Path) -> None:
    before = "import uvicorn.config; config = dict(uvicorn.config.LOGGING_CONFIG, formatters={"
    before += "'default': {'()': lambda: logging.Formatter('mine %(message)s')}, 'access': {}})"
    program = start("reload=True, log_config=config", before=before)
    program.wait_for("log_config: formatter 'default' has the function <lambda>, which cannot be imported by name")
    program.wait_for("INFO:     Application startup complete")
    assert program.get().startswith("1 ")
    (tmp_path / "good.py").write_text(APP.replace("VERSION = 1", "VERSION = 22"))
    program.wait_for("Finished server process")
    program.wait_for("Application startup complete")
    assert program.get().startswith("22 ")
    assert program.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("settings", ["workers=2", "reload=True"])
def test_what_has_no_name_and_no_default_is_forked_with_fresh_code(start: Begin, tmp_path: Path, settings: str) -> None:
    program = start(f"{settings}, loop=lambda: __import__('asyncio').new_event_loop()")
    program.wait_for("forked from this program and import the application again, because loop is the function <lambda>")
    assert int(program.wait_for(r"Started \w+ process \[(\d+)\]")[1]) == program.process.pid
    program.wait_for("Application startup complete")
    assert program.get().startswith("1 ")
    (tmp_path / "good.py").write_text(APP.replace("VERSION = 1", "VERSION = 22"))
    if "workers" in settings:
        program.tell(signal.SIGHUP)
        program.wait_for(r"(?s)reloading(.*Finished server process){2}")  # until then the old ones answer as well
    else:
        program.wait_for("Finished server process")
        program.wait_for("Application startup complete")
    assert program.get().startswith("22 ")
    assert program.end(signal.SIGTERM) == 0


def test_a_changed_default_log_configuration_travels(start: Begin) -> None:
    before = "import uvicorn.config; uvicorn.config.LOGGING_CONFIG['formatters']['default']['fmt'] = '>%(message)s'"
    program = start("workers=2", before=before)
    program.serves()
    assert program.end(signal.SIGTERM) == 0
    assert ">Received SIGTERM" in program.text


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_the_service_manager_hears_the_process_that_it_knows(start: Begin, tmp_path: Path) -> None:
    credentials = 12  # three ints: pid, user, group
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        manager.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_PASSCRED", 16), 1)
        program = start("workers=2", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        said: list[str] = []
        while not any("READY=1" in text for text in said):
            data, about, _, _ = manager.recvmsg(65536, socket.CMSG_SPACE(credentials))
            said.append(data.decode())
            assert int.from_bytes(about[0][2][:4], sys.byteorder) == program.process.pid
        program.serves()
        assert program.end(signal.SIGTERM) == 0
        manager.setblocking(False)
        while "STOPPING=1" not in said[-1]:
            said.append(manager.recv(65536).decode())


ORPHAN = """
import os, time
reader, writer = os.pipe()
if os.fork() == 0:
    orphan = os.fork()
    if orphan:
        os.write(writer, str(orphan).encode())
    os._exit(0)
os.wait()
path = "/proc/" + os.read(reader, 20).decode()
while os.path.exists(path):
    time.sleep(0.01)
print("the orphan was reaped", flush=True)
os.kill(1, 15)
"""


def test_a_caller_that_is_pid_1_reaps_orphans(start: Begin, tmp_path: Path) -> None:
    """In a PID namespace of its own, where the system lets us make one."""
    wrap = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if not shutil.which("unshare") or subprocess.run([*wrap, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespace can be made here")
    (tmp_path / "good.py").write_text(APP + ORPHAN)
    program = start(source="import uvicorn\nuvicorn.run('good:app', port=0)\n", prefix=wrap)
    program.wait_for("the orphan was reaped")
    assert program.end() == 0
