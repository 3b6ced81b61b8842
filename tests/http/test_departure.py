"""A client that leaves while its request is served: nobody's fault, and 499 in the log. A real fault stays one."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import pytest

from applications import Receive, Scope, Send
from clients import Client, connect
from http_peers import ConnectionClass, Peer
from servers import LoopFactory, serving
from uvicorn.errors import ClientDisconnected
from uvicorn.logs.formats import RequestFormatter
from uvicorn.worker.http.departure import is_departure

GET = b"GET /left?a=b HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


# -- what an exception says ------------------------------------------------------------------------------------


class Group(Exception):
    """As an ExceptionGroup, which Python 3.10 has not."""

    def __init__(self, *exceptions: BaseException) -> None:
        super().__init__()
        self.exceptions = exceptions


class ClientDisconnect(Exception):
    """As Starlette has it."""


class InternalServerException(Exception):
    """As Litestar has it, for this and for anything else."""

    status_code = 500


class HTTPException(Exception):
    status_code = 404


def made(raise_it: Callable[[], object]) -> BaseException:
    try:
        raise_it()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def inside(
    outer: BaseException, raised: BaseException, cause: BaseException | Literal[False] | None = False
) -> BaseException:
    """What comes of raising `raised` while `outer` is handled."""

    def both() -> None:
        try:
            raise outer
        except BaseException:
            if cause is False:
                raise raised  # noqa: B904  (that is what it is about)
            raise raised from cause

    return made(both)


def taken_out(exc: BaseException) -> BaseException:
    """As Django has it: the only member of a group is raised again while the group is handled."""
    return inside(Group(exc), exc)


GONE = ClientDisconnected


@pytest.mark.parametrize(
    "make",
    [
        lambda: GONE(),
        lambda: ClientDisconnect(),
        lambda: type("Ours", (ClientDisconnect,), {})(),
        lambda: inside(GONE(), ClientDisconnect()),
        lambda: inside(GONE(), ValueError("in the middleware"), cause=GONE()),
        lambda: inside(GONE(), ValueError(), cause=inside(GONE(), KeyError(), cause=GONE())),
        lambda: Group(GONE(), Group(GONE(), ClientDisconnect())),
        lambda: inside(GONE(), ValueError(), cause=Group(GONE())),
        lambda: inside(asyncio.CancelledError(), GONE()),
        lambda: taken_out(GONE()),
        lambda: taken_out(ClientDisconnect()),
        lambda: inside(InternalServerException("500: client disconnected prematurely"), GONE()),
        lambda: inside(HTTPException(), GONE()),
        lambda: inside(KeyError(), GONE(), cause=None),
    ],
)
def test_a_departure(make: Callable[[], BaseException]) -> None:
    assert is_departure(make())


def itself() -> BaseException:
    exc = ValueError()
    exc.__cause__ = exc
    return exc


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueError(),
        lambda: OSError(),
        lambda: Group(GONE(), ValueError()),
        lambda: Group(),
        lambda: inside(GONE(), NameError("a slip in the handler")),
        lambda: inside(GONE(), ValueError(), cause=KeyError()),
        lambda: inside(GONE(), ClientDisconnect(), cause=KeyError()),
        lambda: inside(FileNotFoundError(), ClientDisconnect()),
        lambda: inside(ZeroDivisionError(), GONE()),
        lambda: taken_out(ValueError()),
        lambda: inside(Group(ValueError()), GONE()),
        lambda: inside(InternalServerException("500: no database"), GONE()),
        lambda: inside(inside(ZeroDivisionError(), GONE()), ClientDisconnect()),
        itself,
    ],
)
def test_a_fault(make: Callable[[], BaseException]) -> None:
    assert not is_departure(make())


# -- requests --------------------------------------------------------------------------------------------------


class Told:
    """What the access log says."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        self._caplog = caplog

    def lines(self) -> list[tuple[object, ...]]:
        """The arguments of its lines so far."""
        found = [record.args for record in self._caplog.records if record.name == "uvicorn.access"]
        return [args for args in found if isinstance(args, tuple)]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def hears(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def returns(exc: BaseException | None) -> None:
    if exc is not None:
        raise exc


ENDS: dict[str, Callable[[], None]] = {
    "returns": lambda: None,
    "raises": lambda: returns(ClientDisconnect()),
    "wraps": lambda: returns(inside(GONE(), RuntimeError("in a middleware"), cause=GONE())),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("leave", ["fin", "reset"])
async def test_an_application_that_hears_of_it_and_ends(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, told: Told, leave: str, end: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hears(receive)
        ENDS[end]()

    peer = Peer(connection_class, app)
    peer.connection.logs_access = True
    peer.send(GET)
    await peer.turns()
    if leave == "fin":
        peer.send_eof()
    else:
        peer.drop()
    await peer.closed()
    await peer.until(lambda: not peer.state.tasks)
    await peer.turns()
    assert not peer.transport.output
    assert [args[1:] for args in told.lines()] == [("GET", "/left?a=b", "1.1", 499)]
    assert errors(caplog) == [] and peer.state.in_flight == 0


async def test_a_response_that_had_begun_keeps_its_status(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, told: Told
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await hears(receive)

    peer = Peer(connection_class, app)
    peer.connection.logs_access = True
    peer.send(GET)
    await peer.turns()
    peer.send_eof()
    await peer.closed()
    assert [args[-1] for args in told.lines()] == [200]
    assert errors(caplog) == []


async def test_who_answers_all_the_same_is_heard(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, told: Told
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hears(receive)
        await send(START)
        await send({"type": "http.response.body", "body": b"still"})

    peer = Peer(connection_class, app)
    peer.connection.logs_access = True
    peer.send(GET)
    await peer.turns()
    peer.send_eof()
    await peer.closed()
    assert [response.body for response in peer.responses()] == [b"still"]
    assert [args[-1] for args in told.lines()] == [200] and errors(caplog) == []


@pytest.mark.parametrize(("status", "line"), [(500, 499), (503, 499), (400, 400), (200, 200)])
async def test_an_error_that_answers_nobody(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, told: Told, status: int, line: int
) -> None:
    """Frameworks answer what they make of the disconnect."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hears(receive)
        await send({**START, "status": status})
        await send({"type": "http.response.body", "body": b"oh"})
        raise ClientDisconnect

    peer = Peer(connection_class, app)
    peer.connection.logs_access = True
    peer.send(GET)
    await peer.turns()
    peer.send_eof()
    await peer.closed()
    assert [args[-1] for args in told.lines()] == [line] and errors(caplog) == []


@pytest.mark.parametrize("leave", ["fin", "reset"])
async def test_a_fault_behind_it_stays_one(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, leave: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await hears(receive)
            raise GONE
        except OSError:
            raise NameError("a slip") from KeyError("its cause")

    peer = Peer(connection_class, app)
    peer.send(GET)
    await peer.turns()
    if leave == "fin":
        peer.send_eof()
    else:
        peer.drop()
    await peer.closed()
    await peer.until(lambda: not peer.state.tasks)
    await peer.turns()
    (said,) = errors(caplog)
    assert said.startswith("Exception in ASGI application\n")
    assert [response.status for response in peer.responses()] == ([500] if leave == "fin" else [])


async def test_who_was_not_told_owes_an_answer(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    """The client has closed its half, and may still read."""
    now = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await now.wait()

    peer = Peer(connection_class, app)
    peer.send(GET)
    await peer.turns()
    peer.send_eof()
    now.set()
    await peer.closed()
    assert [response.status for response in peer.responses()] == [500]
    assert errors(caplog) == ["ASGI callable returned without starting response."]


async def test_who_was_told_by_the_server_leaves_its_client_a_503(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture, told: Told
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hears(receive)

    peer = Peer(connection_class, app)
    peer.connection.logs_access = True
    peer.send(GET)
    await peer.turns()
    peer.connection.disconnect()
    await peer.closed()
    assert [response.status for response in peer.responses()] == [503]
    assert [args[-1] for args in told.lines()] == [503] and errors(caplog) == []


# -- the whole way ---------------------------------------------------------------------------------------------


def leave(client: Client, how: str) -> None:
    sock = client.writer.get_extra_info("socket")
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.close()


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_json_says_that_it_was_cut(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture, how: str) -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))
            over.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        await hears(receive)

    said: list[str] = []
    handler, log = Told(), logging.getLogger("uvicorn.access")
    handler.setFormatter(RequestFormatter("json"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        async with serving(app, lifespan="off") as server, connect(server) as client:
            client.ask("/left")
            await begun.wait()
            leave(client, how)
            await over.wait()
    finally:
        log.removeHandler(handler)
    (line,) = [json.loads(one) for one in said]
    assert (line["status"], line["complete"], line["bytes"], line["path"]) == (499, False, 0, "/left")
    assert errors(caplog) == []


@pytest.mark.parametrize("path", ["/body", "/stream", "/through", "/late"])
async def test_starlette(caplog: pytest.LogCaptureFixture, told: Told, path: str) -> None:
    """Every way in which it makes something of a disconnect."""
    applications = pytest.importorskip("starlette.applications")
    base = pytest.importorskip("starlette.middleware.base")
    responses = pytest.importorskip("starlette.responses")
    begun, left = asyncio.Event(), asyncio.Event()

    async def body(request: Any) -> Any:
        begun.set()
        return responses.JSONResponse(await request.json())

    async def parts() -> AsyncIterator[bytes]:
        begun.set()
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    async def stream(request: Any) -> Any:
        return responses.StreamingResponse(parts())

    async def late(request: Any) -> Any:
        begun.set()
        while not await request.is_disconnected():
            await asyncio.sleep(0)
        return responses.PlainTextResponse("too late")

    class Through(base.BaseHTTPMiddleware):  # type: ignore[misc,name-defined]
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            return await call_next(request)

    inner = applications.Starlette()
    for route, endpoint in (("/body", body), ("/stream", stream), ("/through", stream), ("/late", late)):
        inner.router.add_route(route, endpoint, methods=["GET", "POST"])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await (Through(inner) if scope["path"] == "/through" else inner)(scope, receive, send)
        finally:
            left.set()

    async with serving(app, lifespan="off") as server:
        async with connect(server) as client:
            client.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{{".encode())
            await begun.wait()
            leave(client, "reset")
            await left.wait()
        while server.server_state.tasks:
            await asyncio.sleep(0)
    assert errors(caplog) == []
    assert [args[-1] for args in told.lines()] == [200 if path in ("/stream", "/through") else 499]
