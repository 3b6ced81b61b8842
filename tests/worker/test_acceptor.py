"""From the kernel's queue to connections: what stopping leaves there, what draining takes, in every loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from servers import LoopFactory
from uvicorn.worker.front.acceptor import UNSENT, Acceptor

CROWD = 40


class Made:
    """The connections that came to be."""

    def __init__(self) -> None:
        self.transports: list[asyncio.Transport] = []
        self.more = asyncio.Event()

    def factory(self) -> asyncio.Protocol:
        made = self

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.transports.append(cast(asyncio.Transport, transport))
                made.more.set()

        return Protocol()

    async def count(self, wanted: int) -> None:
        while len(self.transports) < wanted:
            self.more.clear()
            await self.more.wait()


@pytest.fixture(params=["tcp", "unix"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens."""
    if request.param == "tcp":
        sock = socket.create_server(("127.0.0.1", 0), backlog=CROWD * 2)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "x.sock"))
        sock.listen(CROWD * 2)
    sock.setblocking(False)
    with sock:
        yield sock


@contextlib.contextmanager
def crowd(queue: socket.socket) -> Iterator[None]:
    """CROWD clients in the kernel's queue; no turn of the loop passes."""
    clients = [socket.socket(queue.family) for _ in range(CROWD)]
    try:
        for client in clients:
            client.settimeout(30)
            client.connect(queue.getsockname())
        yield
    finally:
        for client in clients:
            client.close()


@contextlib.asynccontextmanager
async def accepting(queue: socket.socket) -> AsyncIterator[tuple[Acceptor, Made]]:
    """An acceptor with a copy of the socket, as a worker has it."""
    made = Made()
    acceptor = Acceptor(asyncio.get_running_loop(), queue.dup(), made.factory)
    await acceptor.start(CROWD * 2)
    try:
        yield acceptor, made
    finally:
        acceptor.close()
        await acceptor.stop()
        for transport in made.transports:
            transport.abort()
        await asyncio.sleep(0)


def left_in(queue: socket.socket) -> int:
    """How many still wait."""
    count = 0
    while True:
        try:
            sock, _ = queue.accept()
        except BlockingIOError:
            return count
        sock.close()
        count += 1


async def test_whoever_comes_is_accepted(loop_factory: LoopFactory, queue: socket.socket) -> None:
    async with accepting(queue) as (acceptor, made):
        assert acceptor.is_serving()
        assert acceptor.sockets[0].getsockname() == queue.getsockname()
        for count in (CROWD, CROWD * 2):
            with crowd(queue):
                await made.count(count)


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no such option")
async def test_the_kernel_takes_little_for_a_peer_that_reads_nothing(loop_factory: LoopFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with accepting(sock) as (_, made):
            with crowd(sock):
                await made.count(1)
                accepted = made.transports[0].get_extra_info("socket")
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT


async def test_stopping_leaves_the_queue_to_others(loop_factory: LoopFactory, queue: socket.socket) -> None:
    async with accepting(queue) as (acceptor, made):
        with crowd(queue):
            await acceptor.stop()
            assert not acceptor.is_serving()
            acceptor.close()
            assert acceptor.sockets == ()
            assert left_in(queue) + len(made.transports) == CROWD
            assert left_in(queue) == 0 and len(made.transports) < CROWD


@pytest.mark.parametrize("turns", range(5))
async def test_stopping_loses_nobody_whenever_it_comes(
    loop_factory: LoopFactory, queue: socket.socket, turns: int
) -> None:
    """What was taken out of the queue is a connection when `stop` returns; the rest is still in the queue."""
    async with accepting(queue) as (acceptor, made):
        with crowd(queue):
            for _ in range(turns):
                await asyncio.sleep(0)
            await acceptor.stop()
            assert len(made.transports) + left_in(queue) == CROWD


@pytest.mark.parametrize("turns", range(5))
async def test_draining_takes_everybody(loop_factory: LoopFactory, queue: socket.socket, turns: int) -> None:
    async with accepting(queue) as (acceptor, made):
        with crowd(queue):
            for _ in range(turns):
                await asyncio.sleep(0)
            await acceptor.drain(time.monotonic() + 30)
            assert (len(made.transports), acceptor.sockets) == (CROWD, ())
            assert left_in(queue) == 0


async def test_the_path_of_a_unix_socket_stays(loop_factory: LoopFactory, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        async with accepting(sock) as (acceptor, _):
            await acceptor.drain(time.monotonic() + 30)
        async with accepting(sock) as (acceptor, _):
            await acceptor.stop()
            acceptor.close()
        assert path.is_socket()


async def test_it_can_start_again_after_a_stop(loop_factory: LoopFactory, queue: socket.socket) -> None:
    async with accepting(queue) as (acceptor, made):
        await acceptor.stop()
        with crowd(queue):
            await acceptor.start(CROWD)
            await made.count(CROWD)


class Scarce(socket.socket):
    """A listening socket whose `accept` fails as often as `faults` says, as when descriptors run out."""

    faults: list[int]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.faults:
            raise OSError(self.faults.pop(0), "Too many open files")
        return super().accept()


@pytest.mark.parametrize("fault", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_without_descriptors_the_queue_waits(
    queue: socket.socket, fault: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.worker.front.acceptor.RETRY_SECONDS", 0.0)
    made = Made()
    sock = Scarce(queue.family, fileno=queue.dup().detach())
    sock.faults = [fault, fault]
    acceptor = Acceptor(asyncio.get_running_loop(), sock, made.factory)
    await acceptor.start(CROWD)
    with crowd(queue):
        await made.count(CROWD)
    await acceptor.stop()
    acceptor.close()
    for transport in made.transports:
        transport.abort()
    assert caplog.messages == ["Cannot accept a connection: Too many open files. Trying again."] * 2


async def test_a_peer_that_left_while_it_waited_hides_nobody(queue: socket.socket) -> None:
    made = Made()
    sock = Scarce(queue.family, fileno=queue.dup().detach())
    sock.faults = [errno.ECONNABORTED] * 3
    acceptor = Acceptor(asyncio.get_running_loop(), sock, made.factory)
    await acceptor.start(CROWD)
    with crowd(queue):
        await acceptor.drain(time.monotonic() + 30)
        assert len(made.transports) == CROWD
    for transport in made.transports:
        transport.abort()
