"""The command from a user's point of view: messages, exit codes, signals. Real processes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest
from click.testing import CliRunner

import uvicorn
from programs import PATIENCE, Program, Start
from uvicorn.main import main
from uvicorn.settings.declared import GROUPS, options

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})

not_callable = 7
"""
RAISES = "def deep():\n    return 1 / 0\n\n\ndeep()\n"
EXITS = "import os\nos._exit(9)\n"
LEAVES = "import sys\nsys.exit(0)\n"
# In short pieces: a signal that comes right before one system call of ten minutes would wait for its end.
HANGS = "import threading\nprint('importing', flush=True)\nwhile not threading.Event().wait(0.05): ...\n"
LIFESPAN_FAILS = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sources = {
        "good": APP,
        "raises": RAISES,
        "exits": EXITS,
        "no_startup": LIFESPAN_FAILS,
        "leaves": LEAVES,
        "hangs": HANGS,
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


class Run(Protocol):
    def __call__(self, *arguments: str, **environment: str) -> Program: ...


@pytest.fixture
def run(folder: Path, start_command: Start) -> Run:
    """run(*arguments, **environment) in that folder."""

    def begin(*arguments: str, **environment: str) -> Program:
        return start_command(*arguments, env=environment)

    return begin


def serves(command: Program) -> int:
    """Wait until it listens, check that it answers, and return the port."""
    port = command.listens()
    assert command.get() == "here"
    return port


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert re.fullmatch(r"Running uvicorn \d+\.\d+\.\d+ with \w+ 3\.\d+\.\d+ on \w+\n", result.output)
    assert uvicorn.__version__ in result.output
    assert result.exit_code == 0


def test_help_has_headings() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    assert all(heading in output for heading in ("Application:", "Binding:", "Workers:", "UVICORN_PORT=80"))
    headings = re.findall(r"^(\w.*):$", output, re.MULTILINE)
    assert headings == [*GROUPS, "Other", "Environment"]
    assert {declared.spec.group for declared in options().values()} == set(GROUPS)


def test_help_fits_a_terminal_of_80_columns() -> None:
    output = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    assert [line for line in output.splitlines() if len(line) > 80] == []
    assert re.search(r"^  APP +The application, as <module>:<attribute>\.$", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["good:app", "--port", "70000"], "--port must be at most 65535"),
        (["good:app", "--port", "http"], "'http' is not a valid integer"),
        (["good:app", "--limit-concurrency", "-1"], "--limit-concurrency must be at least 0, not -1."),
        (["good:app", "--http", "spdy"], "--http must be one of auto, h11, httptools, or an import string"),
        (["good:app", "--no-supervise", "--workers", "2"], "--no-supervise runs one process"),
        (["good:app", "--prot", "80"], "No such option"),
        ([], "Missing argument 'APP'"),
    ],
)
def test_usage_is_exit_code_2(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("nowhere:app", 'Could not import module "nowhere"'),
        ("good:nothing", 'Attribute "nothing" not found in module "good".'),
        ("good", 'Import string "good" must be in format "<module>:<attribute>".'),
        ("good:not_callable", "which is not callable."),
        ("raises:app", 'Could not import module "raises".'),
        ("no_startup:app", "no database"),
        ("leaves:app", "It called sys.exit(0) while imported."),
    ],
)
def test_what_cannot_start_is_exit_code_3(run: Run, app: str, sentence: str, workers: str) -> None:
    command = run(app, "--port", "0", "--workers", workers)
    assert command.end() == 3
    assert command.text.count(sentence) == 1, command.text
    if app == "raises:app":
        assert command.text.count("Traceback") == command.text.count("ZeroDivisionError: ") == 1
        first_frame = command.text.partition("Traceback")[2].splitlines()[1]
        assert "raises.py" in first_frame, "the traceback begins in the application"
    elif app != "leaves:app":
        assert "Traceback" not in command.text


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_an_import_that_hangs_can_be_stopped(run: Run, number: signal.Signals, workers: str) -> None:
    command = run("hangs:app", "--port", "0", "--workers", workers)
    command.wait_for("importing")
    assert command.end(number) == 0


def test_standard_output_may_be_closed(folder: Path) -> None:
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", code, "-m", "uvicorn", "raises:app", "--port", "0"]
    done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 3
    assert "ZeroDivisionError" in done.stderr


def test_an_application_that_exits_while_it_is_imported(run: Run) -> None:
    command = run("exits:app", "--port", "0", "--workers", "2")
    assert command.end() == 3
    assert command.text.count("exited with status 9 before it was ready") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use(run: Run, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = run("good:app", "--port", str(port), "--workers", workers)
        assert command.end() == 3
    assert f"Cannot listen on 127.0.0.1:{port}: the port is in use." in command.text
    assert len(command.text.splitlines()) == 1


def test_a_path_that_is_no_socket(run: Run, folder: Path) -> None:
    command = run("good:app", "--uds", str(folder / "good.py"))
    assert command.end() == 3
    assert "the file exists and is not a socket" in command.text
    assert (folder / "good.py").read_text() == APP
    command = run("good:app", "--uds", str(folder / "no" / "folder"))
    assert command.end() == 3
    assert "No such file or directory" in command.text


def test_settings_from_the_environment(run: Run) -> None:
    command = run(UVICORN_APP="good:app", UVICORN_PORT="0", UVICORN_WORKERS="2", UVICORN_ACCESS_LOG="false")
    serves(command)
    assert command.end(signal.SIGTERM) == 0
    assert "Started parent process" in command.text
    assert "GET /" not in command.text


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_asked_to_stop_is_exit_code_0(run: Run, number: signal.Signals, workers: str) -> None:
    command = run("good:app", "--port", "0", "--workers", workers)
    port = serves(command)
    while command.text.count("Application startup complete") < int(workers):
        command.wait_for("Application startup complete")  # one that still imports may print what cut its import off
    assert command.end(number) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert "Traceback" not in command.text


def test_hup_without_a_master_is_explained(run: Run) -> None:
    command = run("good:app", "--port", "0")
    serves(command)
    command.tell(signal.SIGHUP)
    command.wait_for("there is no master to reload")
    assert command.end(signal.SIGTERM) == 0


def test_the_lines_that_tools_wait_for(run: Run) -> None:
    command = run("good:app", "--port", "0")
    serves(command)
    pid = command.process.pid
    assert command.end(signal.SIGTERM) == 0
    lines = [
        f"uvicorn {uvicorn.__version__} with ",
        f"Started server process [{pid}]",
        "Waiting for application startup.",
        "Application startup complete.",
        "Uvicorn running on http://127.0.0.1:",
        '"GET / HTTP/1.1" 200 OK',
        "Shutting down",
        f"Finished server process [{pid}]",
    ]
    places = [command.text.index(line) for line in lines]
    assert places == sorted(places)


INTRODUCED = rf"uvicorn {re.escape(uvicorn.__version__)} with \w+ \S+, loop asyncio, HTTP h11, WebSockets none$"
PARTS = ("--loop", "asyncio", "--http", "h11", "--ws", "none")


def test_the_master_says_once_what_serves_and_when_all_do(run: Run) -> None:
    command = run("good:app", "--port", "0", "--workers", "3", *PARTS)
    command.wait_for(INTRODUCED)
    command.wait_for("Uvicorn running on")
    command.wait_for("ready: 3 workers$")
    assert command.text.count("Started server process") == 3
    command.tell(signal.SIGHUP)
    command.wait_for("reloaded: 3 workers")
    assert command.end(signal.SIGTERM) == 0
    assert len(re.findall(INTRODUCED, command.text, re.MULTILINE)) == command.text.count("ready: ") == 1


def test_what_serves_is_said_by_run_and_under_reload_and_by_no_embedded_server(
    folder: Path, start_python: Start
) -> None:
    for how in ("uvicorn.run('good:app', reload=True, **given)", "uvicorn.run('good:app', **given)"):
        given = "given = dict(port=0, loop='asyncio', http='h11', ws='none')"
        program = start_python("-c", f"import uvicorn; {given}; {how}")
        program.wait_for(INTRODUCED)
        serves(program)
        program.end(signal.SIGTERM)
        assert program.text.count(" with ") == 1
    program = start_python("-c", "import uvicorn; uvicorn.Server(uvicorn.Config('good:app', port=0)).run()")
    serves(program)
    program.end(signal.SIGTERM)
    assert " with " not in program.text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket_comes_and_goes(run: Run, folder: Path, workers: str) -> None:
    path = folder / "app.sock"
    command = run("good:app", "--uds", str(path), "--workers", workers)
    command.wait_for("Uvicorn running on unix:")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
    second = run("good:app", "--uds", str(path))
    assert second.end() == 3
    assert "a live server is using it" in second.text
    assert command.end(signal.SIGTERM) == 0
    assert not path.exists()


def test_an_inherited_descriptor(folder: Path, start_python: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        code = f"import sys; from uvicorn.main import main; main(['good:app', '--fd', '{sock.fileno()}'])"
        program = start_python("-c", code, pass_fds=[sock.fileno()])
        assert serves(program) == sock.getsockname()[1]
        assert program.end(signal.SIGTERM) == 0


def test_an_application_object_under_a_master(folder: Path, start_python: Start) -> None:
    program = start_python("-c", "import good, uvicorn; uvicorn.run(good.app, '127.0.0.1', 0, workers=2)")
    serves(program)
    assert "starts new workers with the same code" in program.text
    assert program.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("arguments", [(), ("--workers", "2"), ("--reload",)], ids=["alone", "workers", "reload"])
def test_a_module_may_run_a_loop_of_its_own_while_it_is_imported(
    run: Run, folder: Path, arguments: tuple[str, ...]
) -> None:
    source = "import asyncio\nasync def value(): return b'made'\nmade = asyncio.run(value())\n"
    (folder / "runs.py").write_text(
        source
        + """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": made})
"""
    )
    server = run("runs:app", "--port", "0", "--lifespan", "off", *arguments)
    assert server.get() == "made"


@pytest.mark.parametrize("way", ["main(arguments, standalone_mode=False)", "main.callback(app=arguments[0], port=0)"])
def test_a_program_that_calls_the_command_goes_on_after_the_stop(folder: Path, start_program: Start, way: str) -> None:
    """The program has a thread that still has work to do."""
    source = f"""
import threading
from uvicorn.main import main
from uvicorn.settings.declared import GROUPS, options

done = threading.Event()
own = threading.Thread(target=done.wait)
own.start()
arguments = ["good:app", "--port", "0"]
try:
    print("returned", {way}, flush=True)
finally:
    done.set()
"""
    program = start_program(source)
    program.listens()
    assert program.end(signal.SIGINT) == 0
    program.expect("returned None")
