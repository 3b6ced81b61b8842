"""Shared by all tests: async tests run in a loop of their own, and nothing a test did to logging outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import inspect
import logging
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from uvicorn.config import Config
from uvicorn.process import channel
from uvicorn.worker.server import Server

pytest_plugins = ["programs"]

TIME_LIMIT = 20.0
"""Seconds after which a test that waits for something is ended: a net, no test is meant to come near it."""

_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A `Config` configures logging for the whole process: put back what was there."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(log, log.level, log.propagate, list(log.handlers), log.disabled) for log in loggers]
    formatters = [(handler, handler.formatter) for log in [*loggers, logging.getLogger()] for handler in log.handlers]
    yield
    for log, level, propagate, handlers, disabled in before:
        log.setLevel(level)
        log.propagate, log.handlers, log.disabled = propagate, handlers, disabled
    for handler, formatter in formatters:
        handler.setFormatter(formatter)


def _run_in(factory: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end; whatever it left behind is ended, and an error nobody saw fails the test."""
    loop = factory()
    unseen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    try:
        loop.run_until_complete(asyncio.wait_for(main, TIME_LIMIT))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=10))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert not unseen, f"The loop's exception handler was called: {unseen}"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An `async def` test runs in asyncio's loop, or in the one its `loop_factory` fixture makes."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    factory = pyfuncitem.funcargs.get("loop_factory", asyncio.new_event_loop)
    _run_in(factory, pyfuncitem.obj(**arguments))
    return True


# -- loops -----------------------------------------------------------------------------------------------------

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}

try:
    import uvloop
except ImportError:  # the extra is not installed
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=sorted(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """An async test that asks for this runs once in every loop."""
    return LOOPS[request.param]


# -- a server in the test's own loop ---------------------------------------------------------------------------


class WatchedServer(Server):
    """Says when its startup is over, well or not, and its shutdown; leaves signals alone."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.startup_over, self.shutdown_over = asyncio.Event(), asyncio.Event()
        self.install_signal_handlers = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.startup_over.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        finally:
            self.shutdown_over.set()

    @property
    def port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


def _make_config(app: Any, **settings: Any) -> Config:
    if not {"uds", "fd"} & settings.keys():
        settings = {"host": "127.0.0.1", "port": 0, **settings}
    return Config(app, **{"log_config": None, **settings})


async def _until_it_leaves(server: WatchedServer, sockets: list[socket.socket] | None) -> None:
    """A SystemExit would end the test's loop; a start that fails leaves `server.failure` to look at."""
    try:
        await server.serve(sockets)
    except SystemExit:
        assert server.failure is not None


@contextlib.asynccontextmanager
async def _serving(
    app: Any, sockets: list[socket.socket] | None = None, **settings: Any
) -> AsyncIterator[WatchedServer]:
    server = WatchedServer(_make_config(app, **settings))
    task = asyncio.create_task(_until_it_leaves(server, sockets))
    waiter = asyncio.create_task(server.startup_over.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        yield server
    except BaseException:
        server.force_exit = True
        raise
    finally:
        waiter.cancel()
        server.should_exit = True
        await task


@pytest.fixture(scope="session")
def serving() -> Callable[..., contextlib.AbstractAsyncContextManager[WatchedServer]]:
    """`async with serving(app, **settings) as server:` on a loopback port the system chose."""
    return _serving


@pytest.fixture(scope="session")
def make_server() -> Callable[..., WatchedServer]:
    """make_server(app, **settings) → one that the test starts by hand."""
    return lambda app, **settings: WatchedServer(_make_config(app, **settings))


# -- a client --------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection of a plain HTTP/1.1 client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, path: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> None:
        length = [f"Content-Length: {len(body)}"] if body else []
        head = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: a", *length, *lines, "", ""))
        self.writer.write(head.encode() + body)

    async def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")[:-4].split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines)

    async def chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def answer(self) -> Answer:
        """The next whole response."""
        status, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while part := await self.chunk():
                body += part
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = await self.reader.read()
        return Answer(status, headers, body)

    async def get(self, path: str = "/", *lines: str) -> Answer:
        self.ask(path, *lines)
        return await self.answer()

    async def ended(self) -> bytes:
        """Whatever is still to come before the server closes."""
        return await self.reader.read()


@contextlib.asynccontextmanager
async def _connect(where: int | str | WatchedServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    if isinstance(where, WatchedServer):
        where = where.port
    if isinstance(where, int):
        options = {} if tls is None else {"ssl": tls, "server_hostname": "localhost"}
        reader, writer = await asyncio.open_connection("127.0.0.1", where, **options)
    else:
        reader, writer = await asyncio.open_unix_connection(where)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass  # the server was first


@pytest.fixture(scope="session")
def connect() -> Callable[..., contextlib.AbstractAsyncContextManager[Client]]:
    """`async with connect(server or port or path, tls=context or None) as client:`"""
    return _connect


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening loopback socket."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


# -- certificates ----------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of the tests' own; `path` is its certificate."""

    def __init__(self, folder: Path) -> None:
        # Its cryptography has no wheel for some interpreters, and on others one that does not load.
        self._ca = pytest.importorskip("trustme", exc_type=ImportError).CA()
        self.path = str(folder / "authority.pem")
        self._ca.cert_pem.write_to_path(self.path)

    def issue(self, certfile: Path, keyfile: Path | None = None, name: str = "localhost", **details: Any) -> None:
        """A certificate for `name` and its key, in one file or in two; what was there is replaced at once."""
        issued = self._ca.issue_cert(name, **details)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        files = {certfile: chain + issued.private_key_pem.bytes()}
        if keyfile is not None:
            files = {certfile: chain, keyfile: issued.private_key_pem.bytes()}
        for path, data in files.items():
            fresh = path.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.replace(path)

    def client(self, certificate: Path | None = None) -> ssl.SSLContext:
        """For a client that trusts nobody else."""
        context = ssl.create_default_context(cafile=self.path)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context


@pytest.fixture(scope="session")
def new_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Authority]:
    return lambda: Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def authority(new_authority: Callable[[], Authority]) -> Authority:
    """One that all tests share."""
    return new_authority()


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> dict[str, str]:
    """Settings that serve HTTPS for localhost."""
    certfile, keyfile = tmp_path / "certificate.pem", tmp_path / "key.pem"
    authority.issue(certfile, keyfile)
    return {"ssl_certfile": str(certfile), "ssl_keyfile": str(keyfile)}


# -- a master, seen from the worker ----------------------------------------------------------------------------


@pytest.fixture
def master() -> Iterator[channel.Endpoint]:
    """This process is a worker: the master's end of its channel."""
    ours, theirs = channel.pair()
    heartbeat = channel.Heartbeat()
    channel.current = channel.WorkerLink(theirs, heartbeat, slot=0, generation=1)
    yield ours
    channel.current = None
    for end in (ours, theirs, heartbeat):
        end.close()


# -- memory --------------------------------------------------------------------------------------------------


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Whatever is let go of ends with the last reference to it, or not at all."""
    if sys.implementation.name != "cpython":
        pytest.skip("no references are counted here: whatever is let go of waits for the collector")
    gc.disable()
    yield
    gc.enable()


# -- the program that compares ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def part() -> Callable[[str], ModuleType]:
    """A module of compatibility/. The checkout is not on the path: it would hide the package that is tested."""
    if "compatibility" not in sys.modules:
        place = Path(__file__).resolve().parents[1] / "compatibility"
        spec = importlib.util.spec_from_file_location(
            "compatibility", place / "__init__.py", submodule_search_locations=[str(place)]
        )
        assert spec is not None and spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules["compatibility"] = package
        spec.loader.exec_module(package)
    return lambda name: importlib.import_module(f"compatibility.{name}")
