"""`Server` inside somebody else's program: threads, loops, sockets, signals, restarts."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest

from applications import App, Receive, Scope, Send, responding
from clients import connect
from ports import exchange
from servers import LoopFactory, make_server, serving
from uvicorn.config import Config, LoopFactoryType
from uvicorn.errors import BindError, ExitCode
from uvicorn.net.sockets import bind_unix
from uvicorn.process import interrupts
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.loop.pulse import INTERVAL
from uvicorn.worker.server import SWEEP_SECONDS, Server

app = responding(b"ok")


class Lifespan:
    """An application that takes part, and keeps what happened."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        while True:
            kind = (await receive())["type"]
            self.events.append(kind)
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return


def get(port: int) -> bytes:
    """The answer to a request by a blocking client."""
    return exchange(("127.0.0.1", port))


# -- in a thread -----------------------------------------------------------------------------------------------


class ThreadServer(Server):
    """Tells the thread that started it when it serves."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.over = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.over.set()


@contextmanager
def in_a_thread(server: ThreadServer, sockets: list[socket.socket] | None = None) -> Iterator[ThreadServer]:
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets})
    thread.start()
    try:
        assert server.over.wait(30)
        yield server
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "auto", "none"])
def test_run_in_a_thread(loop: LoopFactoryType) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = ThreadServer(Config(app, port=0, loop=loop, log_config=None))
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with in_a_thread(server):
        assert server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        assert get(port).endswith(b"ok")
        assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert server.started and server.servers == [] and server.exit_code == 0
    with pytest.raises(ConnectionRefusedError):
        get(port)


def test_run_with_a_loop_factory_of_the_programs_own() -> None:
    server = ThreadServer(Config(app, port=0, loop="asyncio:new_event_loop", log_config=None))
    with in_a_thread(server):
        assert get(server.servers[0].sockets[0].getsockname()[1]).endswith(b"ok")


def test_run_with_sockets(listener: socket.socket) -> None:
    server = ThreadServer(Config(app, log_config=None))
    with in_a_thread(server, [listener]):
        assert get(listener.getsockname()[1]).endswith(b"ok")


def test_run_cancels_what_the_application_left_behind() -> None:
    cancelled = threading.Event()

    async def leaves_a_task(scope: Scope, receive: Receive, send: Send) -> None:
        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        scope["state"]["task"] = asyncio.ensure_future(forever())
        await asyncio.sleep(0)
        await app(scope, receive, send)

    server = ThreadServer(Config(leaves_a_task, port=0, lifespan="off", log_config=None))
    with in_a_thread(server):
        assert get(server.servers[0].sockets[0].getsockname()[1]).endswith(b"ok")
    assert cancelled.is_set()


# -- in a loop -------------------------------------------------------------------------------------------------


async def test_serve_in_somebodys_loop(loop_factory: LoopFactory) -> None:
    ready = asyncio.Event()

    class Ready(Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

    server = Ready(Config(app, port=0, log_config=None))
    task = asyncio.create_task(server.serve())
    await ready.wait()
    async with connect(server.servers[0].sockets[0].getsockname()[1]) as client:
        assert (await client.get()).body == b"ok"
    server.should_exit = True
    await task
    assert server.server_state.connections == set() and server.server_state.total_requests == 1


async def test_startup_main_loop_and_shutdown_by_hand(loop_factory: LoopFactory) -> None:
    application = Lifespan()
    server = make_server(application)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    assert server.started and application.events == ["lifespan.startup"]
    loop = asyncio.create_task(server.main_loop())
    async with connect(server) as client:
        assert (await client.get()).body == b"ok"
    server.should_exit = True
    await loop
    await server.shutdown()
    assert server.servers == [] and application.events == ["lifespan.startup", "lifespan.shutdown"]


async def test_startup_again_on_the_same_object(loop_factory: LoopFactory) -> None:
    application = Lifespan()
    server = make_server(application)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    for count in (1, 2, 3):
        await server.startup()
        assert server.started and server.failure is None
        async with connect(server) as client:
            assert (await client.get()).body == b"ok"
        await server.shutdown()
        assert application.events == ["lifespan.startup", "lifespan.shutdown"] * count


async def test_a_restart_while_the_main_loop_runs(loop_factory: LoopFactory) -> None:
    """What httpx's own test server does."""
    application = Lifespan()
    async with serving(application) as server:
        for _ in range(3):
            await server.shutdown()
            await server.startup()
            async with connect(server) as client:
                assert (await client.get()).body == b"ok"
    assert application.events == ["lifespan.startup", "lifespan.shutdown"] * 4


async def test_a_shutdown_beside_the_main_loop(loop_factory: LoopFactory) -> None:
    async with serving(app, lifespan="off") as server:
        await server.shutdown()
        assert server.servers == []
        for _ in range(10):
            await asyncio.sleep(0)  # the main loop looks around once more, and must still see `should_exit` later


async def test_startup_again_after_a_failure(
    loop_factory: LoopFactory, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(app, port=listener.getsockname()[1], lifespan="off")
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    with pytest.raises(SystemExit):
        await server.startup()
    assert (server.started, type(server.failure)) == (False, BindError)
    server.config.port, server.should_exit = 0, False
    await server.startup()
    assert server.started
    await server.shutdown()


async def test_serve_with_sockets_closes_them(loop_factory: LoopFactory, listener: socket.socket) -> None:
    async with serving(app, [listener]) as server, connect(server) as client:
        assert server.port == listener.getsockname()[1]
        assert (await client.get()).body == b"ok"
    assert listener.fileno() == -1


async def test_bind_socket_then_serve(loop_factory: LoopFactory) -> None:
    sock = Config(app, port=0, log_config=None).bind_socket()
    port = sock.getsockname()[1]
    async with serving(app, [sock]), connect(port) as client:
        assert (await client.get()).body == b"ok"


async def test_a_bound_socket_that_does_not_listen_yet(loop_factory: LoopFactory) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    async with serving(app, [sock]) as server, connect(server) as client:
        assert (await client.get()).body == b"ok"


async def test_two_sockets(loop_factory: LoopFactory) -> None:
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [sock.getsockname()[1] for sock in socks]
    async with serving(app, socks):
        for port in ports:
            async with connect(port) as client:
                assert (await client.get()).body == b"ok"


async def test_a_port_in_use(
    loop_factory: LoopFactory, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    application = Lifespan()
    port = listener.getsockname()[1]
    async with serving(application, port=port) as server:
        assert not server.started and isinstance(server.failure, BindError)
        assert server.exit_code is ExitCode.STARTUP
    assert f"Cannot listen on 127.0.0.1:{port}: the port is in use." in caplog.text
    assert application.events == ["lifespan.startup", "lifespan.shutdown"]


async def test_a_module_that_is_not_there(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    async with serving("there_is_no_such_module:app") as server:
        assert not server.started and server.exit_code is ExitCode.STARTUP
    assert 'Could not import module "there_is_no_such_module"' in caplog.text


async def test_a_unix_socket(loop_factory: LoopFactory, tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    seen: list[Scope] = []
    async with serving(recorder(seen), uds=path, lifespan="off") as server:
        assert server.servers[0].sockets[0].getsockname() == path
        for _ in range(2):
            async with connect(path) as client:
                assert (await client.get()).body == b"ok"
    assert (seen[0]["client"], seen[0]["server"]) == (None, (path, None))
    assert not Path(path).exists()


async def test_a_unix_socket_is_removed_although_the_application_changed_the_folder(
    loop_factory: LoopFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving(app, uds="x.sock"), connect("x.sock") as client:
        assert (await client.get()).body == b"ok"
        monkeypatch.chdir("/")
    assert not (tmp_path / "x.sock").exists()


async def test_a_unix_socket_that_was_passed_in_stays(loop_factory: LoopFactory, tmp_path: Path) -> None:
    held = bind_unix(str(tmp_path / "x.sock"), 10)
    try:
        async with serving(app, [held.sock.dup()]), connect(str(tmp_path / "x.sock")) as client:
            assert (await client.get()).body == b"ok"
        assert (tmp_path / "x.sock").exists()
    finally:
        held.close()


async def test_a_file_descriptor(loop_factory: LoopFactory, listener: socket.socket) -> None:
    async with serving(app, fd=listener.fileno()) as server, connect(server) as client:
        assert server.port == listener.getsockname()[1]
        assert (await client.get()).body == b"ok"
    assert listener.fileno() != -1  # it is still its owner's


def recorder(seen: list[Scope]) -> App:
    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await app(scope, receive, send)

    return recording


async def test_date_and_server_are_those_of_the_moment() -> None:
    server = make_server(app, lifespan="off")
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    names = [name for name, _ in server.server_state.default_headers]
    assert names == [b"date", b"server"]
    await server.shutdown()


async def test_a_foreign_protocol_class(loop_factory: LoopFactory) -> None:
    """`http=` may be any asyncio protocol; drain reaches it through `shutdown()` alone."""

    class Foreign(asyncio.Protocol):
        made: list[asyncio.Protocol] = []  # noqa: RUF012  # of the one server that this test starts

        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            self.state = server_state
            self.made.append(self)

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)
            self.state.connections.add(self)
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")

        def connection_lost(self, exc: Exception | None) -> None:
            self.state.connections.discard(self)

        def shutdown(self) -> None:
            self.transport.close()

    async with serving(app, http=Foreign) as server, connect(server) as client:
        assert (await client.answer()).body == b"hi"
        server.should_exit = True
        assert await client.ended() == b""
    assert len(Foreign.made) == 1


async def test_on_tick_can_end_it() -> None:
    server = make_server(app, lifespan="off")
    counters: list[int] = []

    async def on_tick(counter: int) -> bool:
        counters.append(counter)
        return counter == 2

    server.on_tick = on_tick  # type: ignore[method-assign]  # as programs do
    await server.serve()
    assert counters == [0, 1, 2] and server.failure is None


# -- signals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that come back to the program around the server."""
    got: list[int] = []
    before = {
        number: signal.signal(number, lambda sig, _: got.append(sig)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield got
    for number, handler in before.items():
        signal.signal(number, handler)


class SignalsItself(Server):
    """Receives these signals once it serves."""

    send: tuple[signal.Signals, ...] = ()
    handlers: list[Any]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        for number in self.send:
            os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_and_is_raised_again(
    loop_factory: LoopFactory, heard: list[int], number: signal.Signals
) -> None:
    server = SignalsItself(Config(app, port=0, log_config=None))
    server.send = (number,)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    await server.serve()
    assert heard == [number]
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


async def test_the_last_signal_is_raised_first(loop_factory: LoopFactory, heard: list[int]) -> None:
    server = SignalsItself(Config(app, port=0, log_config=None))
    server.config.load()
    with server.capture_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("seed", range(50))
def test_only_an_interrupt_a_second_after_the_first_is_urgent(
    heard: list[int], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance, now = random.Random(seed), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    server = Server(Config(app, port=0, log_config=None))
    server.config.load()
    heard_at: list[float] = []
    with server.capture_signals():
        for number in chance.choices((signal.SIGTERM, signal.SIGINT), k=8):
            now += chance.choice([0.0, 0.01, 0.25, 0.5, 3.0])
            signal.raise_signal(number)
            heard_at += [now] if number == signal.SIGINT else []
            urgent = bool(heard_at) and heard_at[-1] - heard_at[0] >= 1
            assert server.should_exit and server.force_exit == urgent


async def test_an_interrupt_of_an_earlier_run_is_none_of_the_next(
    heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SignalsItself(Config(app, port=0, log_config=None, lifespan="off"))
    server.send = (signal.SIGINT,)
    await server.serve()
    monkeypatch.setattr(interrupts, "AGAIN_SECONDS", 1e-9)  # as if the runs were a second apart
    server.should_exit = False
    await server.serve()
    assert heard == [signal.SIGINT] * 2 and not server.force_exit


def test_a_second_signal_ends_an_import_that_does_not(heard: list[int]) -> None:
    """No loop runs yet that could look at a flag."""
    server = Server(Config(app, port=0, log_config=None))
    with pytest.raises(KeyboardInterrupt), server.capture_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


async def test_a_command_does_not_raise_again(heard: list[int]) -> None:
    server = SignalsItself(Config(app, port=0, log_config=None))
    server.send = (signal.SIGTERM,)
    server.reraise_signals = False
    await server.serve()
    assert heard == []


async def test_install_signal_handlers_is_honoured(loop_factory: LoopFactory, heard: list[int]) -> None:
    ours = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = SignalsItself(Config(app, port=0, log_config=None))
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]  # as programs do
    server.send = (signal.SIGTERM,)
    task = asyncio.create_task(server.serve())
    while not heard:
        await asyncio.sleep(0)
    assert server.handlers == ours and not server.should_exit
    server.should_exit = True
    await task
    assert heard == [signal.SIGTERM]


async def test_a_subclass_may_take_the_handler(heard: list[int]) -> None:
    """sse-starlette does: it finds the server through the handler, and replaces `handle_exit` on the class."""
    calls: list[int] = []

    class Watched(SignalsItself):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            calls.append(sig)
            super().handle_exit(sig, frame)

    server = Watched(Config(app, port=0, log_config=None))
    server.send = (signal.SIGTERM,)
    await server.serve()
    assert calls == [signal.SIGTERM]
    assert all(handler.__self__ is server for handler in server.handlers)


async def test_the_lines_name_every_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, loop_factory: LoopFactory
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serving(app, uds=str(tmp_path / "x.sock")):
        pass
    assert f"Uvicorn running on unix:{tmp_path}/x.sock (Press CTRL+C to quit)" in caplog.text


async def test_nobody_is_judged_slow_right_after_the_loop_stood_still() -> None:
    """What came meanwhile has not been read yet."""
    swept: list[float] = []

    class Held:
        def sweep(self, now: float, keep_alive: float) -> None:
            swept.append(now)

        def shutdown(self) -> None: ...

    sweep_ticks = round(SWEEP_SECONDS / INTERVAL)
    server = make_server("x:y")
    server.server_state.connections.add(Held())
    for _ in range(sweep_ticks + 1):
        server._pulse.tick()
    assert len(swept) == 1
    for _ in range(sweep_ticks - 2):
        server._pulse.tick()
    server._pulse.now -= 100
    for _ in range(sweep_ticks):  # the next one would have been a sweep
        assert len(swept) == 1
        server._pulse.tick()
    assert len(swept) == 2
