"""A server in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.worker.server import Server

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class WatchedServer(Server):
    """Sets an event when its startup has ended or failed, and another after its shutdown; handles no signals."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.startup_over, self.shutdown_over = asyncio.Event(), asyncio.Event()

    def install_signal_handlers(self) -> None:
        pass

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
        return port_of(self)


def port_of(server: Server) -> int:
    """The port of the first socket that a running server listens on."""
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


def make_config(app: Callable[..., object] | str, /, **settings: Any) -> Config:
    """Settings for a free loopback port, without a logging set-up; what a test names itself counts."""
    if not {"uds", "fd"} & settings.keys():
        settings = {"host": "127.0.0.1", "port": 0, **settings}
    return Config(app, **{"log_config": None, **settings})


def make_server(app: Callable[..., object] | str, /, **settings: Any) -> WatchedServer:
    """A server that the test starts by hand."""
    return WatchedServer(make_config(app, **settings))


async def _until_it_leaves(server: WatchedServer, sockets: list[socket.socket] | None) -> None:
    """Serve. A SystemExit would end the test's loop; a start that fails leaves `server.failure` to look at."""
    try:
        await server.serve(sockets)
    except SystemExit:
        assert server.failure is not None


@contextlib.asynccontextmanager
async def serving(
    app: Callable[..., object] | str, sockets: list[socket.socket] | None = None, /, **settings: Any
) -> AsyncIterator[WatchedServer]:
    """`async with serving(app, **settings) as server:` on a loopback port that the system chose; stopped at the end."""
    server = WatchedServer(make_config(app, **settings))
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
