"""What other people's programs do with `Server`, `Config` and their neighbours: a test for each habit, named after it.

Each says who is known for it. The programs here are as short as theirs are long, and do the same calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import ports
import uvicorn
import uvicorn.main
from applications import App, Receive, Scope, Send, responding
from clients import connect
from servers import LoopFactory, make_server, port_of, serving
from uvicorn.config import Config
from uvicorn.errors import BindError, LifespanError, StartupError
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import HANDLED_SIGNALS, Server, ServerState

HANDLERS = (signal.SIGINT, signal.SIGTERM)


app = responding(b"ok")


async def other_app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"other"})


def make_config(application: App | str = app, **settings: Any) -> Config:
    return Config(application, **{"port": 0, "log_config": None, **settings})


def get(port: int) -> bytes:
    """The body, fetched by a blocking client."""
    return ports.fetch(("127.0.0.1", port))


async def fetch(port: int) -> bytes:
    return await asyncio.to_thread(get, port)


def poll_started(server: Server) -> None:
    """As everybody does it: there is no event to wait for."""
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def until_started(server: Server) -> None:
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


@contextlib.contextmanager
def in_thread(server: Server, **arguments: list[socket.socket]) -> Iterator[Server]:
    thread = threading.Thread(target=server.run, kwargs=arguments)
    thread.start()
    try:
        poll_started(server)
        yield server
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@contextlib.asynccontextmanager
async def in_task(server: Server, serve: Callable[[], Coroutine[object, object, None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(serve())
    try:
        await until_started(server)
        yield
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 30)


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that reach the program around the server."""
    got: list[int] = []
    before = {number: signal.signal(number, lambda sig, _: got.append(sig)) for number in HANDLERS}
    yield got
    for number, handler in before.items():
        signal.signal(number, handler)


# -- started, should_exit --------------------------------------------------------------------------------------


def test_gradio_polls_started_and_sets_should_exit_from_another_thread() -> None:
    server = Server(config=make_config())
    with in_thread(server):
        assert get(port_of(server)) == b"ok"
    assert server.started, "a program that leaves with 3 unless it was started looks at this afterwards"


def test_another_thread_then_another_loop_with_the_same_object() -> None:
    server = Server(make_config())
    for loop in ("asyncio", "auto", "none"):
        server.config.loop, server.should_exit = loop, False
        server.started = False
        with in_thread(server):
            assert get(port_of(server)) == b"ok"


def test_should_exit_before_it_serves(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(make_config())
    server.should_exit = True
    server.run()
    assert not server.started and server.failure is None


async def test_ray_serves_in_its_own_loop_object() -> None:
    server = Server(make_config(loop=asyncio.get_running_loop()))
    async with in_task(server, server.serve):
        assert await fetch(port_of(server)) == b"ok"


def test_run_cannot_use_a_loop_object(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    try:
        server = Server(make_config(loop=loop))
        with pytest.raises(SystemExit):
            server.run()
        assert (
            not server.started and "To serve in a loop that exists already, await server.serve() in it" in caplog.text
        )
    finally:
        loop.close()


async def test_a_notebook_is_shown_what_to_await() -> None:
    """A loop runs there; and no coroutine is left that was never awaited."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Never called."""

    shown = r"await uvicorn\.Server\(uvicorn\.Config\(app\)\)\.serve\(\)"
    with pytest.raises(RuntimeError, match=shown):
        uvicorn.run(app, port=0, log_config=None)
    with pytest.raises(RuntimeError, match=shown):
        Server(Config(app, port=0, log_config=None)).run()


async def test_ports_are_found_in_servers_after_port_0() -> None:
    server = Server(make_config())
    async with in_task(server, server.serve):
        (sock,) = server.servers[0].sockets
        assert sock.getsockname()[1] > 0 and server.servers[0].is_serving()


async def test_liveness_workers_look_at_tasks_and_connections() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go.wait()
        await app(scope, receive, send)

    server = Server(make_config(waits, lifespan="off"))
    assert isinstance(server.server_state, ServerState) and server.server_state.total_requests == 0
    async with in_task(server, server.serve), connect(port_of(server)) as client:
        client.ask("/")
        await begun.wait()
        state = server.server_state
        (connection,) = state.connections
        assert callable(connection.shutdown) and len(state.tasks) == 1 and state.total_requests == 1
        assert [name for name, _ in state.default_headers] == [b"date", b"server"]
        go.set()
        await client.answer()
        assert not state.tasks


# -- signals ---------------------------------------------------------------------------------------------------


async def test_gradio_sets_install_signal_handlers_on_the_object(heard: list[int]) -> None:
    server = Server(make_config())
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]  # as they do
    async with in_task(server, server.serve):
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM] and not server.should_exit


async def test_fixtures_replace_install_signal_handlers_on_the_class(
    heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn.Server, "install_signal_handlers", lambda *_: None, raising=False)
    server = Server(make_config())
    async with in_task(server, server.serve):
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM] and not server.should_exit


async def test_ray_overrides_install_signal_handlers_and_it_is_called(heard: list[int]) -> None:
    class Ray(Server):
        called = 0

        def install_signal_handlers(self) -> None:
            self.called += 1

    server = Ray(make_config())
    async with in_task(server, server.serve):
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT] and server.called == 1


async def test_an_override_of_install_signal_handlers_may_extend_it(heard: list[int]) -> None:
    class Extends(Server):
        def install_signal_handlers(self) -> None:
            super().install_signal_handlers()

    server = Extends(make_config())
    async with in_task(server, server.serve):
        signal.raise_signal(signal.SIGTERM)
        assert server.should_exit and heard == []


async def test_vllm_overrides_capture_signals(heard: list[int]) -> None:
    class Vllm(Server):
        entered = 0

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            self.entered += 1
            yield

    server = Vllm(make_config())
    async with in_task(server, server.serve):
        signal.raise_signal(signal.SIGTERM)
        assert server.entered == 1 and heard == [signal.SIGTERM] and not server.should_exit


def patch_handle_exit(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What sse-starlette does when it is imported."""
    seen: list[int] = []
    original = sys.modules["uvicorn.main"].Server.handle_exit

    def handle_exit(*args: Any, **kwargs: Any) -> None:  # as it does
        seen.append(args[1])
        original(*args, **kwargs)

    monkeypatch.setattr(sys.modules["uvicorn.main"].Server, "handle_exit", handle_exit)
    return seen


async def test_sse_starlette_patches_handle_exit(heard: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = patch_handle_exit(monkeypatch)
    server = Server(make_config())
    async with in_task(server, server.serve):
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM] and server.should_exit


async def test_sse_starlette_patches_handle_exit_while_it_serves(
    heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application imports it: the handler is in place by then."""
    server = Server(make_config())
    async with in_task(server, server.serve):
        seen = patch_handle_exit(monkeypatch)
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM] and server.should_exit


async def test_sse_starlette_finds_the_server_through_the_handler(heard: list[int]) -> None:
    server = Server(make_config())
    async with in_task(server, server.serve):
        found = signal.getsignal(signal.SIGTERM).__self__  # type: ignore[union-attr]  # that is the habit
        assert (found, found.should_exit) == (server, False)
        signal.raise_signal(signal.SIGTERM)
        assert found.should_exit is True
    assert heard == [signal.SIGTERM]


async def test_signals_come_back_once_although_it_serves_twice(heard: list[int]) -> None:
    server = Server(make_config())
    assert HANDLED_SIGNALS == HANDLERS
    async with in_task(server, server.serve):
        signal.raise_signal(signal.SIGTERM)
    server.should_exit = False
    async with in_task(server, server.serve):
        pass
    assert heard == [signal.SIGTERM]


def test_handle_exit_called_by_the_program(heard: list[int]) -> None:
    """From another thread, and before the application is loaded: it only sets flags."""
    server = Server(make_config())
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit and not server.force_exit
    server.handle_exit(sig=signal.SIGINT, frame=None)
    assert server.force_exit


def test_handle_exit_as_a_programs_own_handler(heard: list[int]) -> None:
    """What comes with a frame is a signal, and a copy of it comes at once."""
    server = Server(make_config())
    signal.signal(signal.SIGINT, server.handle_exit)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert server.should_exit and not server.force_exit
    server.handle_exit(signal.SIGTERM, None)
    assert not server.force_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.force_exit


async def test_test_harnesses_call_serve_with_an_underscore(heard: list[int]) -> None:
    server = Server(make_config())
    async with in_task(server, server._serve):
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM] and not server.should_exit
        assert await fetch(port_of(server)) == b"ok"


# -- subclasses ------------------------------------------------------------------------------------------------


def test_freqtrade_overrides_run() -> None:
    class UvicornServer(Server):
        def run(self, sockets: list[socket.socket] | None = None) -> None:
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(self.serve(sockets=sockets))
            finally:
                loop.close()

        def install_signal_handlers(self) -> None:
            pass

        @contextlib.contextmanager
        def run_in_thread(self) -> Iterator[None]:
            self.thread = threading.Thread(target=self.run)
            self.thread.start()
            poll_started(self)
            yield
            self.should_exit = True
            self.thread.join(30)

    server = UvicornServer(make_config())
    with server.run_in_thread():
        assert get(port_of(server)) == b"ok"
    assert not server.thread.is_alive()


class HttpxServer(Server):
    """The server of httpx's own tests: a URL of its own, and restarts that another thread asks for."""

    @property
    def url(self) -> str:
        return f"{'https' if self.config.is_ssl else 'http'}://{self.config.host}:{port_of(self)}/"

    def install_signal_handlers(self) -> None:
        pass

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self.restart_requested = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        await asyncio.wait(
            {self.loop.create_task(super().serve(sockets=sockets)), self.loop.create_task(self.watch_restarts())}
        )

    def restart(self) -> None:
        self.started = False
        self.loop.call_soon_threadsafe(self.restart_requested.set)
        poll_started(self)

    async def watch_restarts(self) -> None:
        while not self.should_exit:
            try:
                await asyncio.wait_for(self.restart_requested.wait(), timeout=0.1)
            except asyncio.TimeoutError:
                continue
            self.restart_requested.clear()
            await self.shutdown()
            await self.startup()


def test_httpx_restarts_its_test_server_on_the_same_object() -> None:
    server = HttpxServer(config=make_config(lifespan="off", loop="asyncio"))
    with in_thread(server):
        for _ in range(3):
            assert get(int(server.url.rsplit(":", 1)[1].rstrip("/"))) == b"ok"
            server.restart()
        assert get(port_of(server)) == b"ok"
    assert server.server_state.total_requests == 4


async def test_nicegui_overrides_shutdown_and_reads_class_attributes() -> None:
    class CustomConfig(Config):
        storage_secret: str | None = None
        method_queue: object = None

    class NiceGui(Server):
        stopped = False

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self.stopped = True
            await super().shutdown(sockets)

    config = CustomConfig(app, port=0, log_config=None)
    config.storage_secret = "s"
    server = NiceGui(config)
    async with in_task(server, server.serve):
        assert await fetch(port_of(server)) == b"ok" and not server.stopped
    assert server.stopped


async def test_on_tick_is_overridden_and_called() -> None:
    class Ticks(Server):
        counters: list[int] = []  # noqa: RUF012  # of the one server of this test

        async def on_tick(self, counter: int) -> bool:
            self.counters.append(counter)
            return await super().on_tick(counter) or counter == 3

    server = Ticks(make_config())
    await server.serve()
    assert server.counters == [0, 1, 2, 3] and server.failure is None


async def test_on_tick_by_itself_keeps_the_default_headers() -> None:
    server = Server(make_config(server_header=False))
    assert await server.on_tick(0) is False
    assert [name for name, _ in server.server_state.default_headers] == [b"date"]
    server.should_exit = True
    assert await server.on_tick(1) is True


async def test_gunicorns_worker_is_called_back_every_timeout_notify_seconds(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[float] = []
    called = asyncio.Event()
    starting, go_on = asyncio.Event(), asyncio.Event()

    async def callback() -> None:
        calls.append(server.last_notified)
        called.set()
        if len(calls) == 2:
            raise OSError("the temporary file is gone")

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        starting.set()
        await go_on.wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def come(count: int) -> None:
        while len(calls) < count:
            called.clear()
            await called.wait()

    server = Server(make_config(slow, callback_notify=callback, timeout_notify=30))
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]  # as programs do
    task = asyncio.create_task(server.serve())
    await starting.wait()
    await come(1)  # also while the application starts
    server.last_notified -= 31
    await come(2)
    go_on.set()
    server.last_notified = time.time() + 3600  # the clock was set back
    await come(3)
    assert calls[0] > 0 and "callback_notify raised" in caplog.text and "temporary file" in caplog.text
    server.should_exit = True
    await task
    assert len(calls) == 3


async def test_a_term_below_a_program_that_is_called_back_leads_out_of_no_import() -> None:
    """gunicorn's arbiter sends it again until the worker has left, also to one that still imports."""

    async def callback() -> None:
        raise NotImplementedError

    server = Server(make_config(callback_notify=callback))
    for _ in range(3):
        server._hear_signal(signal.SIGTERM, None)
    assert server.should_exit and not server.force_exit


async def test_limit_max_requests_ends_a_server_without_a_master(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(make_config(limit_max_requests=2, limit_max_requests_jitter=0))
    task = asyncio.create_task(server.serve())
    await until_started(server)
    for _ in range(2):
        assert await fetch(port_of(server)) == b"ok"
    await asyncio.wait_for(task, 30)
    assert "Maximum request limit of 2 exceeded" in caplog.text


def test_limit_max_requests_has_jitter_and_can_be_set() -> None:
    drawn = {Server(make_config(limit_max_requests=100, limit_max_requests_jitter=50)).limit_max_requests or 0}
    for _ in range(50):
        drawn.add(Server(make_config(limit_max_requests=100, limit_max_requests_jitter=50)).limit_max_requests or 0)
    assert len(drawn) > 1 and min(drawn) >= 100 and max(drawn) <= 150
    server = Server(make_config(limit_max_requests=1000))
    assert server.limit_max_requests is not None and 1000 <= server.limit_max_requests <= 1100
    assert server.limit_max_requests == server.limit_max_requests
    assert Server(make_config()).limit_max_requests is Server(make_config(limit_max_requests=0)).limit_max_requests
    server.limit_max_requests = 7
    assert server.limit_max_requests == 7


# -- by hand ---------------------------------------------------------------------------------------------------


async def test_streamlit_drives_startup_main_loop_and_shutdown(listener: socket.socket) -> None:
    config = make_config()
    server = Server(config)
    sock = listener.dup()
    if not config.loaded:
        config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[sock])
    assert server.started
    loop = asyncio.create_task(server.main_loop())
    assert await fetch(listener.getsockname()[1]) == b"ok"
    server.should_exit = True
    await loop
    await server.shutdown(sockets=[sock])


def test_bentoml_runs_with_sockets(listener: socket.socket) -> None:
    server = Server(make_config())
    with in_thread(server, sockets=[listener.dup()]):
        assert get(listener.getsockname()[1]) == b"ok"


async def test_vllm_serves_with_the_socket_that_it_bound() -> None:
    config = make_config()
    config.h11_max_header_count = 256  # type: ignore[attr-defined]  # attributes of their own
    sock = config.bind_socket()
    server = Server(config)
    async with in_task(server, lambda: server.serve(sockets=[sock])):
        assert await fetch(sock.getsockname()[1]) == b"ok"


async def test_ray_drives_the_lifespan_alone() -> None:
    events = []

    async def takes_part(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["db"] = 1
        for _ in range(2):
            kind = (await receive())["type"]
            events.append(kind)
            await send({"type": f"{kind}.complete"})

    lifespan = LifespanOn(Config(takes_part, lifespan="on", log_config=None))
    said: list[str] = []

    class Logger:
        def info(self, message: str, *args: object) -> None:
            said.append(message)

    lifespan.logger = Logger()  # type: ignore[assignment]  # as they do
    await lifespan.startup()
    assert not lifespan.should_exit and lifespan.state == {"db": 1}
    await lifespan.shutdown()
    assert events == ["lifespan.startup", "lifespan.shutdown"] and "Application startup complete." in said


async def test_ray_sees_a_lifespan_that_fails() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("no database")

    lifespan = LifespanOn(Config(fails, lifespan="on", log_config=None))
    await lifespan.startup()
    assert lifespan.should_exit


# -- the application and the protocol --------------------------------------------------------------------------


async def test_loaded_app_is_changed_under_way() -> None:
    server = Server(make_config())
    async with in_task(server, server.serve), connect(port_of(server)) as kept:
        assert (await kept.get()).body == b"ok"
        server.config.loaded_app = other_app
        assert await fetch(port_of(server)) == b"other"  # new connections have the new one
        assert (await kept.get()).body == b"ok"


async def test_new_relic_injects_loaded_app_as_a_property(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped: list[str] = []

    def setter(self: Any, value: App) -> None:
        async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
            wrapped.append(scope["type"])
            await value(scope, receive, send)

        self._loaded_app = wrapper

    monkeypatch.setattr(Config, "loaded_app", property(lambda self: self._loaded_app, setter), raising=False)
    server = Server(make_config())
    async with in_task(server, server.serve):
        assert await fetch(port_of(server)) == b"ok"
    assert wrapped == ["lifespan", "http"]


async def test_xinference_gives_a_protocol_class_of_its_own() -> None:
    made: list[tuple[object, ...]] = []

    class Own(asyncio.Protocol):
        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            made.append((config, server_state, app_state, _loop))

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown")
            self.transport.close()

    server = Server(make_config(http=Own))
    async with in_task(server, server.serve):
        assert await fetch(port_of(server)) == b"own"
    assert made == [(server.config, server.server_state, server.lifespan.state, asyncio.get_running_loop())]


# -- the better way --------------------------------------------------------------------------------------------


async def test_running_serves_for_as_long_as_the_block(loop_factory: LoopFactory, heard: list[int]) -> None:
    server = Server(make_config())
    for _ in range(2):
        async with server.running() as same:
            assert same is server and server.started
            assert server.url == server.urls[0] == f"http://127.0.0.1:{port_of(server)}"
            async with connect(port_of(server)) as idle:
                assert (await idle.get()).body == b"ok"
            signal.raise_signal(signal.SIGTERM)
        assert server.urls == []
        with pytest.raises(RuntimeError, match="does not accept"):
            server.url  # noqa: B018
    assert heard == [signal.SIGTERM] * 2


async def test_running_says_why_it_cannot_start(listener: socket.socket) -> None:
    with pytest.raises(BindError, match="the port is in use"):
        async with Server(make_config(port=listener.getsockname()[1])).running():
            pass
    with pytest.raises(StartupError, match="Could not import"):
        async with Server(make_config("there_is_no_such_module:app")).running():
            pass

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("no database")

    with pytest.raises(LifespanError) as caught:
        async with Server(make_config(fails, lifespan="on")).running():
            pass
    assert str(caught.value.__cause__) == "no database"


async def test_running_finishes_what_is_in_flight() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go.wait()
        await app(scope, receive, send)

    async with contextlib.AsyncExitStack() as outer:
        async with Server(make_config(waits, lifespan="off")).running() as server:
            client = await outer.enter_async_context(connect(port_of(server)))
            client.ask("/")
            await begun.wait()
            asyncio.get_running_loop().call_soon(go.set)
        assert (await client.answer()).body == b"ok"


async def test_running_raises_what_ended_it_and_what_the_block_raises() -> None:
    class Breaks(Server):
        async def on_tick(self, counter: int) -> bool:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with Breaks(make_config()).running():
            pass
    server = Server(make_config())
    with pytest.raises(KeyError):
        async with server.running():
            raise KeyError
    assert server.urls == []


async def test_running_that_is_cancelled_stops(heard: list[int]) -> None:
    begun = asyncio.Event()
    server = Server(make_config())

    async def program() -> None:
        async with server.running():
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(program())
    await begun.wait()
    port = port_of(server)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionRefusedError):
        get(port)


async def test_running_that_is_cancelled_while_it_starts_lets_go() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    server = Server(make_config(slow))

    async def program() -> None:
        async with server.running():
            raise AssertionError("it cannot have started")

    task = asyncio.create_task(program())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended.wait()
    assert not server.started and server._pulse._handle is None


async def test_urls_are_for_clients(tmp_path: Path) -> None:
    async with Server(make_config(host="0.0.0.0")).running() as server:
        assert server.url == f"http://127.0.0.1:{port_of(server)}"
    async with Server(Config(app, uds=str(tmp_path / "x"), log_config=None)).running() as server:
        assert server.urls == [f"unix:{tmp_path}/x"]
    try:
        six = socket.create_server(("::", 0), family=socket.AF_INET6)
    except OSError:
        return  # a machine without IPv6
    async with Server(make_config()).running([six]) as server:
        assert server.url == f"http://[::1]:{port_of(server)}"


def test_the_process_id_is_that_of_the_program(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "uvicorn.error")
    server = Server(make_config())
    with in_thread(server):
        pass
    assert f"Finished server process [{os.getpid()}]" in caplog.text


# -- what people look for in a log or an answer ----------------------------------------------------------------


async def test_at_trace_level_connections_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(5, logger="uvicorn.error")
    async with serving(app, lifespan="off", log_level="trace") as server, connect(server) as client:
        assert (await client.get()).body == b"ok"
    lines = [record.getMessage() for record in caplog.records if " - HTTP connection" in record.getMessage()]
    assert [line.rpartition(" - ")[2] for line in lines] == ["HTTP connection made", "HTTP connection lost"]
    assert lines[0].startswith("127.0.0.1:")


async def test_a_server_that_is_stopped_between_two_ticks_says_that_its_limit_was_reached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_server(app, lifespan="off", limit_max_requests=1, limit_max_requests_jitter=0)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    async with connect(server) as client:
        assert (await client.get()).body == b"ok"
    await server.shutdown()
    assert "Maximum request limit of 1 exceeded. Terminating process." in caplog.text


async def test_the_body_of_a_400_has_the_sentence_that_monitors_know() -> None:
    async with serving(app, lifespan="off") as server, connect(server) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.answer()).body == b"Invalid HTTP request received. No Host"
