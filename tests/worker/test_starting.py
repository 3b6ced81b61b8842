"""How a server that cannot start leaves, for the program that made it: as the package of the same name does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from applications import App, Receive, Scope, Send
from programs import Start
from uvicorn.config import Config
from uvicorn.errors import StartupError
from uvicorn.lifespan.on import LifespanOn
from uvicorn.process import channel
from uvicorn.process.channel import Failed
from uvicorn.supervisor import wording
from uvicorn.worker.server import Server


async def sound(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise ValueError("the database is away")


async def says_failed(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is gone"})


async def exits(scope: Scope, receive: Receive, send: Send) -> None:
    raise SystemExit(7)


CASES: dict[str, tuple[App | str, dict[str, Any], str]] = {
    "import": ("no_such_module:app", {}, "there is no module"),
    "attribute": ("os:no_such_attribute", {}, "not found in module"),
    "lifespan raises": (raises, {"lifespan": "on"}, "Application startup failed. Exiting."),
    "lifespan failed": (says_failed, {}, "Application startup failed. Exiting."),
    "lifespan exits": (exits, {}, "Application startup failed. Exiting."),
    "address": (sound, {"port": "taken"}, "the port is in use"),
    "name": (sound, {"host": "no such name"}, "Cannot resolve --host"),
    "path": (sound, {"uds": "/proc/none"}, "Cannot listen on --uds"),
    "TLS": (sound, {"ssl_certfile": "/proc/none", "ssl_keyfile": "/proc/none"}, "Cannot read --ssl-certfile"),
    "parser": (sound, {"http": "no_such_module:http"}, "there is no module"),
    "loop": (sound, {"loop": "no_such_module:loop"}, "there is no module"),
}


async def by_hand(server: Server) -> None:
    """The way of programs that call the parts themselves."""
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()


WAYS: dict[str, Callable[[Server], object]] = {
    "run": lambda server: server.run(),
    "serve": lambda server: asyncio.run(server.serve()),
    "by hand": lambda server: asyncio.run(by_hand(server)),
}


Make = Callable[[str], Server]


@pytest.fixture
def make() -> Iterator[Make]:
    """make(case) → the server that cannot start."""
    with contextlib.ExitStack() as stack:

        def server_of(name: str) -> Server:
            app, settings, _ = CASES[name]
            if settings.get("port") == "taken":
                taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                settings = {"port": taken.getsockname()[1]}
            return Server(Config(app, **{"port": 0, "log_config": None, **settings}))

        yield server_of


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_a_start_that_fails_is_exit_code_3(name: str, way: str, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    if name == "loop" and way != "run":
        return  # somebody else has made the loop
    server = make(name)
    with pytest.raises(SystemExit) as left:
        WAYS[way](server)
    assert left.value.code == 3 and type(left.value.code) is int
    assert not server.started
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert sum(CASES[name][2] in text for text in told) == 1, told


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"loop"}))
async def test_the_block_raises_the_failure_itself(name: str, make: Make) -> None:
    server = make(name)
    with pytest.raises(StartupError) as raised:
        async with server.running():
            raise AssertionError("it cannot be entered")
    assert raised.value is server.failure
    assert CASES[name][2] in str(raised.value)


def test_what_the_application_opened_is_closed_when_the_port_is_taken(make: Make) -> None:
    events = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for phase in ("startup", "shutdown"):
            events.append((await receive())["type"])
            await send({"type": f"lifespan.{phase}.complete"})

    server = make("address")
    server.config.app = app
    with pytest.raises(SystemExit):
        server.run()
    assert events == ["lifespan.startup", "lifespan.shutdown"]
    assert server._pulse._handle is None


# -- a lifespan that fails -------------------------------------------------------------------------------------


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("alone", [False, True], ids=["server", "lifespan alone"])
@pytest.mark.parametrize("app", [raises, says_failed])
def test_a_failed_lifespan_is_two_records(app: App, alone: bool, caplog: pytest.LogCaptureFixture) -> None:
    config = Config(app, lifespan="on", log_config=None, port=0)
    if alone:
        lifespan = LifespanOn(config)
        asyncio.run(lifespan.startup())
        assert lifespan.should_exit
    else:
        with pytest.raises(SystemExit):
            Server(config).run()
    first, second = errors(caplog)
    assert second.getMessage() == "Application startup failed. Exiting." and second.exc_info is None
    if app is raises:
        assert first.getMessage() == "Exception in 'lifespan' protocol\n"
        assert first.exc_info is not None and isinstance(first.exc_info[1], ValueError)
        assert first.exc_info[2] is not None and first.exc_info[2].tb_frame.f_code is raises.__code__
    else:
        assert first.getMessage() == "the database is gone"


async def test_a_failed_shutdown_is_two_records(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still in use"})

    lifespan = LifespanOn(Config(app, log_config=None))
    await lifespan.startup()
    await lifespan.shutdown()
    assert [record.getMessage() for record in errors(caplog)] == [
        "still in use",
        "Application shutdown failed. Exiting.",
    ]


async def test_under_a_master_it_is_told_and_not_logged(
    master: channel.Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    link = channel.current
    assert link is not None
    server = Server(Config(raises, lifespan="on", log_config=None, port=0))
    with pytest.raises(StartupError):
        async with server.running():
            raise AssertionError("it cannot be entered")
    (told,) = master.receive()
    assert isinstance(told, Failed) and told.exit_code == 3
    assert errors(caplog) == [] and link.failed


def test_the_master_says_it_in_two_records() -> None:
    words, sentence = "Traceback (most recent call last):\nValueError: x", wording.STARTUP_FAILED
    assert wording.records(f"{words}\n{sentence}") == [words, sentence]
    assert wording.records(words) == [words]
    assert wording.records(sentence) == [sentence]


def test_a_server_that_a_worker_makes_itself_is_told_once(start_program: Start, tmp_path: Path) -> None:
    """Its SystemExit leaves the worker behind a message that was sent already."""
    program = start_program(
        "import uvicorn\n"
        "from uvicorn.supervisors import Multiprocess\n"
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    raise ValueError('the database is away')\n"
        "config = uvicorn.Config(app, port=0, workers=2, lifespan='on')\n"
        "def target(sockets):\n"
        "    uvicorn.Server(config).run(sockets)\n"
        "Multiprocess(config, target, [config.bind_socket()]).run()\n"
    )
    assert program.end() == 3
    assert program.text.count("ValueError: the database is away") == 1, program.text
    assert "SystemExit" not in program.text
