"""How a server leaves: the timetable, and over real sockets what happens to whoever is connected, in every loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from applications import App as Application
from applications import Receive, Scope, Send
from clients import connect
from servers import LoopFactory, WatchedServer, make_server, serving
from uvicorn.net.sockets import Listener, bind_unix
from uvicorn.process import channel
from uvicorn.process.channel import Drain, Drained, Failed, Ready
from uvicorn.process.drainmode import DrainMode
from uvicorn.process.page import Phase
from uvicorn.worker.drain import IDLE_GRACE, MOMENT, NOTICE, RESERVE, timetable
from uvicorn.worker.server import Server

RETIRE, STOP, INTERRUPT, CUT = DrainMode

START = {"type": "http.response.start", "status": 200, "headers": []}
SOON = 15.0
"""Seconds: far less than the drain's deadline, far more than a loaded machine needs."""


# -- the timetable ---------------------------------------------------------------------------------------------


def test_a_retirement() -> None:
    times = timetable(Drain(RETIRE, 125.0), 100.0)
    assert times.deadline == 125.0
    assert times.end == 125.0 - RESERVE
    assert times.disconnect_at == times.idle_until == times.end - NOTICE


def test_a_stop_closes_idle_connections_after_a_grace() -> None:
    times = timetable(Drain(STOP, 125.0), 100.0)
    assert (times.idle_until, times.end) == (100.0 + IDLE_GRACE, 120.0)


def test_an_interrupt_closes_them_at_once() -> None:
    assert timetable(Drain(INTERRUPT, 125.0), 100.0).idle_until == 100.0


def test_a_cut_leaves_the_time_to_the_lifespan() -> None:
    times = timetable(Drain(CUT, 105.0), 100.0)
    assert (times.idle_until, times.disconnect_at, times.end) == (100.0, 100.0, 100.0 + MOMENT)
    assert times.deadline == 105.0


@pytest.mark.parametrize("mode", DrainMode)
@pytest.mark.parametrize("total", [-5.0, 0.0, 0.001, 0.5, 1.0, 5.0, 10.0, 25.0, 30.0, 3600.0])
def test_whatever_the_time_its_parts_are_in_order(mode: DrainMode, total: float) -> None:
    start = 1000.0
    times = timetable(Drain(mode, start + total), start)
    assert start <= times.idle_until <= times.disconnect_at <= times.end
    assert times.end <= max(start, times.deadline)
    if total > 0 and mode is not CUT:
        assert times.deadline - times.end == pytest.approx(min(RESERVE, total / 5))


def test_no_time_at_all() -> None:
    times = timetable(Drain(STOP, 100.0), 100.0)
    assert (times.idle_until, times.disconnect_at, times.end) == (100.0, 100.0, 100.0)


# -- over sockets ----------------------------------------------------------------------------------------------


class App:
    """Answers at once, but `/wait` when the test says so, and `/forever` never."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.heard: list[str] = []
        self.cancelled = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.set()
        if scope["path"] == "/wait":
            await self.go.wait()
        elif scope["path"] == "/listen":
            await receive()
            self.heard.append((await receive())["type"])
        elif scope["path"] == "/forever":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        await send(dict(START))
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"ok", "more_body": True})
            await self.go.wait()
        await send({"type": "http.response.body", "body": b"ok"})


async def started(
    app: Application, sockets: list[socket.socket] | None = None, known: Collection[Listener] = (), /, **settings: Any
) -> WatchedServer:
    server = make_server(app, lifespan="off", **settings)
    server._known_listeners = known
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets)
    assert server.started
    return server


def stop(server: Server, mode: DrainMode) -> asyncio.Task[None]:
    """Begin to leave as a server without a master does."""
    assert mode is not RETIRE
    if mode is STOP:
        server.handle_exit(signal.SIGTERM, None)
    return asyncio.ensure_future(server.shutdown())


@contextlib.contextmanager
def crowd(address: str | tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    """Blocking clients; the kernel connects them while the loop stands still."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    socks = [socket.socket(family) for _ in range(count)]
    try:
        for sock in socks:
            sock.settimeout(SOON)
            sock.connect(address)
        yield socks
    finally:
        for sock in socks:
            sock.close()


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def whole_answer(sock: socket.socket) -> bytes:
    data = b""
    try:
        while part := sock.recv(65536):
            data += part
    except ConnectionResetError:
        return b"reset after " + data
    return data


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("family", ["tcp", "unix"])
async def test_whoever_is_connected_at_a_stop_is_served(
    loop_factory: LoopFactory, turns: int, family: str, tmp_path: Path
) -> None:
    """In the kernel's queue, accepted but not yet a connection, or a connection: 50 of 50, whenever the stop comes."""
    where = {"uds": str(tmp_path / "x.sock")} if family == "unix" else {}
    server = await started(App(), **where)
    with crowd(server.servers[0].sockets[0].getsockname(), 50) as clients:
        for client in clients:
            client.sendall(REQUEST)
        for _ in range(turns):
            await asyncio.sleep(0)
        await stop(server, STOP)
        answers = [whole_answer(client) for client in clients]
    assert [answer for answer in answers if not (answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok"))] == []


async def test_after_a_stop_clients_are_refused(loop_factory: LoopFactory) -> None:
    app = App()
    server = await started(app)
    address = ("127.0.0.1", server.port)
    with crowd(address, 1) as (client,):
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await app.begun.wait()
        task = stop(server, STOP)
        while server.servers:
            await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError), crowd(address, 1):
            pass
        app.go.set()
        await task
        assert whole_answer(client).endswith(b"ok")


@pytest.mark.parametrize("how", ["--fd", "a master's listener"])
async def test_a_descriptor_that_was_given_keeps_its_queue(
    loop_factory: LoopFactory, listener: socket.socket, how: str
) -> None:
    if how == "--fd":
        server = await started(App(), fd=listener.fileno())
    else:
        sock = listener.dup()
        server = await started(App(), [sock], [Listener(sock, inherited=True)])
    with crowd(listener.getsockname(), 1) as (client,):
        server.handle_exit(signal.SIGTERM, None)
        await server.shutdown()  # in this very turn of the loop: nothing is accepted before it begins
        listener.settimeout(SOON)
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"for the next one")
            assert accepted.recv(64) == b"for the next one"


@pytest.mark.parametrize("mode", [STOP, INTERRUPT])
async def test_a_request_in_flight_finishes(loop_factory: LoopFactory, mode: DrainMode) -> None:
    app = App()
    server = await started(app)
    async with connect(server) as client:
        client.ask("/wait")
        await app.begun.wait()
        task = stop(server, mode)
        while server.servers:
            await asyncio.sleep(0)
        assert not task.done()
        app.go.set()
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
        assert await client.ended() == b""
    await task


async def test_a_stop_closes_idle_connections_soon(loop_factory: LoopFactory) -> None:
    server = await started(App())
    async with connect(server) as idle, connect(server) as fresh:
        await idle.get()
        begun = time.monotonic()
        task = stop(server, STOP)
        assert await idle.ended() == b"" and await fresh.ended() == b""
        assert IDLE_GRACE - 0.2 < time.monotonic() - begun < SOON
    await task


async def test_a_stop_serves_what_comes_on_idle_connections_meanwhile(loop_factory: LoopFactory) -> None:
    server = await started(App())
    async with connect(server) as client:
        await client.get()
        task = stop(server, STOP)
        while not server.server_state.draining:
            await asyncio.sleep(0)
        answer = await client.get()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
    await task


async def test_an_interrupt_closes_idle_connections_at_once(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.worker.drain.IDLE_GRACE", 3600.0)
    server = await started(App(), timeout_graceful_shutdown=3600)
    async with connect(server) as client:
        await client.get()
        task = stop(server, INTERRUPT)
        assert await client.ended() == b""
        await asyncio.wait_for(task, SOON)


async def test_an_endless_application_is_cancelled_at_the_end(
    loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    server = await started(app, timeout_graceful_shutdown=0.5)
    async with connect(server) as client:
        client.ask("/forever")
        await app.begun.wait()
        await stop(server, STOP)
        assert app.cancelled == 1
        with contextlib.suppress(ConnectionResetError):
            await client.ended()
    assert "Cancel 1 running task(s), timeout graceful shutdown exceeded" in caplog.messages
    assert '- "GET /forever HTTP/1.1"' in caplog.text
    assert (server.server_state.connections, server.server_state.tasks, server.server_state.in_flight) == (
        set(),
        set(),
        0,
    )


async def test_what_is_cancelled_is_named_also_behind_its_response(
    loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"accepted"})
        await asyncio.Event().wait()

    server = await started(app, timeout_graceful_shutdown=0.1)
    async with connect(server) as client, connect(server) as other:
        for one, path in ((client, "/first"), (other, "/second?a=b")):
            one.ask(path)
            await one.answer()
        await stop(server, STOP)
    (named,) = [message for message in caplog.messages if message.startswith("They serve:\n")]
    lines = sorted(line.partition(" - ")[2] for line in named.splitlines()[1:])
    assert lines == ['"GET /first HTTP/1.1"', '"GET /second?a=b HTTP/1.1"']


async def test_no_time_means_at_once(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    app = App()
    server = await started(app, timeout_graceful_shutdown=0)
    async with connect(server) as client, connect(server) as idle:
        await idle.get()
        app.begun.clear()
        client.ask("/forever")
        await app.begun.wait()
        await asyncio.wait_for(stop(server, STOP), SOON)
        assert app.cancelled == 1
        for left in (client, idle):
            with contextlib.suppress(ConnectionResetError):
                await left.ended()


async def test_force_exit_waits_for_nobody(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    app = App()
    server = await started(app)
    async with connect(server) as client:
        client.ask("/forever")
        await app.begun.wait()
        task = stop(server, STOP)
        server.force_exit = True
        await asyncio.wait_for(task, SOON)
        assert app.cancelled == 1
        with contextlib.suppress(ConnectionResetError):
            await client.ended()


async def test_streams_hear_a_disconnect_shortly_before_the_end(loop_factory: LoopFactory) -> None:
    app = App()
    server = await started(app, timeout_graceful_shutdown=1)
    async with connect(server) as client:
        client.ask("/listen")
        await app.begun.wait()
        task = stop(server, STOP)
        assert (await client.answer()).body == b"ok"
        assert app.heard == ["http.disconnect"]
    await task


async def test_a_lifespan_that_does_not_end_is_left(
    loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()

    server = make_server(app, timeout_graceful_shutdown=0.2)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    await asyncio.wait_for(server.shutdown(), SOON)
    assert "Application shutdown not complete in time. Exiting." in caplog.text


async def test_a_second_stop_ends_a_lifespans_shutdown(
    loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    leaving = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        leaving.set()
        await asyncio.Event().wait()

    server = make_server(app)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    server.handle_exit(signal.SIGTERM, None)
    task = asyncio.ensure_future(server.shutdown())
    await leaving.wait()
    server.handle_exit(signal.SIGINT, None)
    await asyncio.wait_for(task, SOON)
    assert "Application shutdown not complete in time. Exiting." in caplog.text


async def test_a_serve_that_is_cancelled_lets_go(loop_factory: LoopFactory) -> None:
    server = make_server(App(), lifespan="off")
    task = asyncio.ensure_future(server.serve())
    await server.startup_over.wait()
    port = server.port
    task.cancel()
    await asyncio.wait({task})
    assert server.urls == []
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError), crowd(("127.0.0.1", port), 1):
        pass


# -- under a master --------------------------------------------------------------------------------------------


async def said(master: channel.Endpoint) -> channel.Message:
    """The next message of the worker."""
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(master.fileno(), arrived.set)
    try:
        while True:
            if messages := master.receive():
                (message,) = messages
                return message
            arrived.clear()
            await arrived.wait()
    finally:
        loop.remove_reader(master.fileno())


def order(mode: DrainMode, seconds: float = 60.0) -> Drain:
    return Drain(mode, time.monotonic() + seconds)


@pytest.mark.parametrize("mode", [RETIRE, STOP])
async def test_whoever_was_not_told_of_the_end_may_ask_again(
    loop_factory: LoopFactory, master: channel.Endpoint, mode: DrainMode
) -> None:
    app = App()
    async with serving(app, lifespan="off") as server:
        assert isinstance(await said(master), Ready)
        async with connect(server) as client:
            client.ask("/stream")
            assert "connection" not in (await client.head())[1]
            assert await client.chunk() == b"ok"
            master.send(order(mode))
            while not server.server_state.draining:
                await asyncio.sleep(0)
            app.go.set()
            assert [await client.chunk(), await client.chunk()] == [b"ok", b""]
            assert (await client.get()).headers["connection"] == "close"


async def test_a_worker_that_leaves_unasked_says_so(loop_factory: LoopFactory, master: channel.Endpoint) -> None:
    app = App()
    async with serving(app, lifespan="off") as server:
        assert isinstance(await said(master), Ready)
        with crowd(("127.0.0.1", server.port), 1) as (client,):
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await app.begun.wait()
            server.handle_exit(signal.SIGTERM, None)
            assert isinstance(await said(master), Drained)
            app.go.set()


async def test_a_startup_ends_with_the_master(loop_factory: LoopFactory, master: channel.Endpoint) -> None:
    begun = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    server = make_server(app, lifespan="on")
    task = asyncio.ensure_future(server.serve())
    await begun.wait()
    master.close()
    await asyncio.wait_for(task, SOON)
    assert not server.started and server.failure is None


async def test_ready_is_said_when_it_accepts(loop_factory: LoopFactory, master: channel.Endpoint) -> None:
    async with serving(App(), lifespan="off") as server:
        assert isinstance(await said(master), Ready)
        async with connect(server) as client:
            assert (await client.get()).status == 200
        master.send(order(STOP))
        assert isinstance(await said(master), Drained)


async def test_a_failure_is_left_for_the_master_to_tell(
    loop_factory: LoopFactory, master: channel.Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving("there_is_no_such_module:app") as server:
        assert server.failure is not None
    (told,) = master.receive()
    assert isinstance(told, Failed) and told.exit_code == 3
    assert "there_is_no_such_module" in told.cause and caplog.text == ""


async def test_it_beats_while_it_serves_and_drains(loop_factory: LoopFactory, master: channel.Endpoint) -> None:
    assert channel.current is not None
    heartbeat, app = channel.current.heartbeat, App()
    async with serving(app, lifespan="off") as server, connect(server) as client:
        client.ask("/wait")
        await app.begun.wait()
        for phase in (Phase.SERVING, Phase.DRAINING):
            first = heartbeat.read().at
            while (beat := heartbeat.read()).at == first or beat.phase is not phase:
                await server._pulse.beat()
            assert beat.in_flight == 1
            if phase is Phase.SERVING:
                master.send(order(RETIRE))
        app.go.set()
        assert (await client.answer()).body == b"ok"


async def test_a_retiring_worker_leaves_the_queue_to_its_siblings(
    loop_factory: LoopFactory, master: channel.Endpoint, listener: socket.socket
) -> None:
    """Two servers share a listening socket; nobody who connects while one retires is lost."""
    app = App()
    async with serving(app, [listener.dup()], lifespan="off") as retiring:
        with crowd(listener.getsockname(), 1) as (in_flight,), contextlib.ExitStack() as stack:
            in_flight.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await app.begun.wait()
            assert isinstance(await said(master), Ready)
            master.send(order(RETIRE))
            while retiring.servers:
                await asyncio.sleep(0)
            clients = stack.enter_context(crowd(listener.getsockname(), 50))
            for client in clients:
                client.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            for _ in range(20):
                await asyncio.sleep(0)
            assert retiring.server_state.total_requests == 1
            async with serving(App(), [listener.dup()], lifespan="off"):  # without a master: the sibling's is another
                loop = asyncio.get_running_loop()
                answers = [await loop.run_in_executor(None, whole_answer, client) for client in clients]
            assert [answer for answer in answers if not answer.endswith(b"ok")] == []
            app.go.set()
            assert (await loop.run_in_executor(None, whole_answer, in_flight)).endswith(b"ok")
    assert master.receive() == []  # Drained is said by who emptied the queue


async def test_what_waits_in_the_queue_is_left_there(
    loop_factory: LoopFactory, master: channel.Endpoint, listener: socket.socket
) -> None:
    async with serving(App(), [listener.dup()], lifespan="off") as server:
        listener.setblocking(False)
        with crowd(listener.getsockname(), 50):
            master.send(order(RETIRE))
            await server.shutdown()
            taken = [listener.accept()[0] for _ in range(50 - server.server_state.total_requests)]
            for sock in taken:
                sock.close()
    assert len(taken) == 50


@pytest.mark.parametrize("turns", range(6))
async def test_whoever_connects_around_a_retirement_is_served_by_one_of_two(
    loop_factory: LoopFactory, master: channel.Endpoint, listener: socket.socket, turns: int
) -> None:
    async with serving(App(), [listener.dup()], lifespan="off") as first:
        assert isinstance(await said(master), Ready)
        async with serving(App(), [listener.dup()], lifespan="off"):
            with crowd(listener.getsockname(), 50) as clients:
                for client in clients:
                    client.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                master.send(order(RETIRE))
                for _ in range(turns):
                    await asyncio.sleep(0)
                loop = asyncio.get_running_loop()
                answers = [await loop.run_in_executor(None, whole_answer, client) for client in clients]
            await first.shutdown_over.wait()
    assert [answer for answer in answers if not answer.endswith(b"ok")] == []


async def test_an_idle_connection_gets_one_more_answer_from_a_retiring_worker(
    loop_factory: LoopFactory, master: channel.Endpoint
) -> None:
    async with serving(App(), lifespan="off") as server, connect(server) as client:
        assert "connection" not in (await client.get()).headers
        master.send(order(RETIRE))
        while server.servers:
            await asyncio.sleep(0)
        answer = await client.get()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.ended() == b""


async def test_idle_connections_keep_their_own_time_in_a_retirement(
    loop_factory: LoopFactory, master: channel.Endpoint
) -> None:
    async with serving(App(), lifespan="off", timeout_keep_alive=1) as server, connect(server) as client:
        begun = time.monotonic()
        await client.get()
        master.send(order(RETIRE))
        assert await client.ended() == b""
        assert 0.8 < time.monotonic() - begun < SOON


async def test_an_order_can_become_more_urgent(loop_factory: LoopFactory, master: channel.Endpoint) -> None:
    async with serving(App(), lifespan="off", timeout_keep_alive=3600) as server, connect(server) as client:
        await client.get()
        master.send(order(RETIRE, 3600))
        while server.servers:
            await asyncio.sleep(0)
        master.send(order(INTERRUPT))
        assert await client.ended() == b""


async def test_the_path_of_a_unix_socket_survives_a_retirement(
    loop_factory: LoopFactory, master: channel.Endpoint, tmp_path: Path
) -> None:
    path = str(tmp_path / "x.sock")
    held = bind_unix(path, 10)
    held.listen()
    try:
        async with serving(App(), [held.sock.dup()], lifespan="off") as server:
            async with connect(path) as client:
                assert (await client.get("/", "Connection: close")).status == 200
            master.send(order(RETIRE))
            await server.shutdown_over.wait()
        assert Path(path).is_socket()
        async with serving(App(), [held.sock.dup()], lifespan="off"), connect(path) as client:
            assert (await client.get()).status == 200
    finally:
        held.close()
    assert not Path(path).exists()


async def test_when_the_master_is_gone_the_worker_finishes_and_leaves(
    loop_factory: LoopFactory, master: channel.Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    async with serving(app, lifespan="off") as server, connect(server) as client:
        client.ask("/wait")
        await app.begun.wait()
        master.close()
        while server.servers:
            await asyncio.sleep(0)
        app.go.set()
        assert (await client.answer()).body == b"ok"
    assert "The master is gone: finishing what is in flight." in caplog.text
