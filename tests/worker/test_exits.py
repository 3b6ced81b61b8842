"""SystemExit and KeyboardInterrupt in an application: it has failed, the server goes on. Ctrl-C is the program's."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from programs import Program, Start
from uvicorn.worker.loop.tasks import from_signal

ASGI = """
import asyncio, sys

async def task(code):
    await asyncio.sleep(0)
    sys.exit(code)

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/task":  # as middleware has it
        await asyncio.create_task(task(5))
    if scope["path"] == "/left":
        left = asyncio.create_task(task(6))
        await asyncio.wait({left})
        print("left behind:", repr(left.exception()), flush=True)
    if scope["path"] == "/callback":
        asyncio.get_running_loop().call_soon(sys.exit, 7)
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})
"""

WSGI = """
import sys

def app(environ, start_response):
    if environ["PATH_INFO"] == "/exit":
        sys.exit(5)
    if environ["PATH_INFO"] == "/interrupt":
        raise KeyboardInterrupt
    start_response("200 OK", [])
    return [b"served"]
"""


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


def status(server: Program, path: str) -> int:
    answer = server.ask(path).getresponse()
    answer.read()
    return int(answer.status)


def test_tasks_and_callbacks_of_an_application_do_not_end_the_server(
    start_command: Start, tmp_path: Path, loop: str
) -> None:
    (tmp_path / "exits.py").write_text(ASGI)
    server = start_command("exits:app", "--port", "0", "--loop", loop, "--no-access-log")
    server.listens()
    assert status(server, "/task") == 500
    server.expect("SystemExit: 5")
    assert server.get("/left") == "served"
    server.expect(r"left behind: SystemExit\(6\)")
    assert server.get("/callback") == "served"
    server.expect("Exception in a callback of the application")
    server.expect("SystemExit: 7")
    assert server.get() == "served"
    assert server.end(signal.SIGTERM) == 0
    assert server.text.count("SystemExit: 5") == server.text.count("SystemExit: 7") == 1


def test_wsgi(start_command: Start, tmp_path: Path, loop: str) -> None:
    (tmp_path / "exits.py").write_text(WSGI)
    server = start_command("exits:app", "--port", "0", "--loop", loop, "--interface", "wsgi", "--no-access-log")
    server.listens()
    for path, fault in (("/exit", "SystemExit: 5"), ("/interrupt", "KeyboardInterrupt")):
        assert status(server, path) == 500
        server.expect(fault)
        assert server.get() == "served"
    assert server.end(signal.SIGTERM) == 0
    assert server.text.count("Exception in ASGI application") == 2


PROGRAM = """
import asyncio, signal, sys
import uvicorn

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/late":
        await asyncio.sleep(0)
    signal.raise_signal(signal.SIGINT)

server = uvicorn.Server(uvicorn.Config(app, port=0, loop=sys.argv[1], lifespan="off"))
server.install_signal_handlers = lambda: None
try:
    server.run()
except KeyboardInterrupt:
    print("the program hears it", flush=True)
"""


@pytest.mark.parametrize("path", ["/", "/late"])
def test_ctrl_c_is_for_a_program_that_kept_pythons_handler(start_program: Start, loop: str, path: str) -> None:
    program = start_program(PROGRAM, loop)
    program.listens()
    program.ask(path)
    program.wait_for("the program hears it")
    assert program.end() == 0


Handler = Callable[[int, FrameType | None], object] | signal.Handlers
Install = Callable[[Handler], object]


@pytest.fixture
def handler() -> Iterator[Install]:
    """handler(one): the handler of SIGINT for this test."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda one: signal.signal(signal.SIGINT, one)
    signal.signal(signal.SIGINT, before)


def caught(cause: Callable[[], object]) -> BaseException:
    try:
        cause()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def interrupts(*_: object) -> None:
    raise KeyboardInterrupt


def press() -> None:
    signal.raise_signal(signal.SIGINT)


class Hearing:
    def hear(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "one", [signal.default_int_handler, interrupts, functools.partial(interrupts, 1), Hearing().hear]
)
def test_what_a_handler_raises_is_known(handler: Install, one: Handler) -> None:
    handler(one)
    assert from_signal(caught(press))


def test_what_an_application_raises_is_no_ctrl_c(handler: Install) -> None:
    def other() -> None:
        raise KeyboardInterrupt

    handlers: list[Handler] = [signal.default_int_handler, interrupts, signal.SIG_DFL, signal.SIG_IGN]
    for one in handlers:
        handler(one)
        assert not from_signal(caught(other))
    assert not from_signal(SystemExit()) and not from_signal(None)


def test_a_thread_hears_no_signal(handler: Install) -> None:
    handler(signal.default_int_handler)
    exc, found = caught(press), []
    thread = threading.Thread(target=lambda: found.append(from_signal(exc)))
    thread.start()
    thread.join()
    assert found == [False]
