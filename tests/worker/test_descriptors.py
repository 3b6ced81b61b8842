"""Descriptors run out: nobody who connected is lost, and the application still has some."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import textwrap
from collections.abc import Iterator

import pytest

from programs import Start
from uvicorn.worker.front import descriptors as module
from uvicorn.worker.front.descriptors import BATCH, FAR, Descriptors, highest_of_next, spare

LIMIT = 200


@pytest.fixture
def few(request: pytest.FixtureRequest) -> Iterator[None]:
    """This process may have LIMIT descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def sample() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def fill(sample: int, until: int) -> list[int]:
    taken: list[int] = []
    while not taken or taken[-1] < until:
        taken.append(os.dup(sample))
    return taken


@pytest.mark.parametrize(("free", "lasts"), [(FAR, 8 * BATCH), (FAR - 1, BATCH), (1, BATCH), (0, 0)])
def test_far_from_the_limit_one_question_answers_for_more(
    sample: int, monkeypatch: pytest.MonkeyPatch, free: int, lasts: int
) -> None:
    asked: list[int] = []

    def ask(count: int, _: int) -> int:
        asked.append(count)
        return 10_000 - spare(10_000) - free

    monkeypatch.setattr(module, "soft_limit", lambda: 10_000)
    monkeypatch.setattr(module, "highest_of_next", ask)
    descriptors = Descriptors(sample)
    assert [descriptors.room() for _ in range(lasts)] == [True] * lasts and len(asked) == (1 if lasts else 0)
    assert descriptors.room() == (free > 0) and len(asked) == (2 if lasts else 1)


def test_room_ends_before_the_descriptors_do(few: None, sample: int) -> None:
    descriptors = Descriptors(sample)
    taken: list[int] = []
    try:
        while descriptors.room():
            taken.append(os.dup(sample))
        assert LIMIT - spare(LIMIT) - BATCH <= taken[-1] < LIMIT - spare(LIMIT)
        assert not descriptors.room()
        os.close(taken.pop(0))
        assert not descriptors.room(), "one that is free in between does not make a batch"
        for _ in range(BATCH):
            os.close(taken.pop(0))
        assert descriptors.room()
    finally:
        for descriptor in taken:
            os.close(descriptor)


def test_without_any_there_is_no_room_and_none_is_leaked(few: None, sample: int) -> None:
    taken = fill(sample, LIMIT - 4)
    try:
        assert not Descriptors(sample).room()
        assert highest_of_next(3, sample) == LIMIT - 1
        assert highest_of_next(4, sample) > LIMIT
        assert highest_of_next(3, sample) == LIMIT - 1
    finally:
        for descriptor in taken:
            os.close(descriptor)


def test_how_many_are_kept_back() -> None:
    assert [spare(limit) for limit in (64, 256, 1024, 20000)] == [16, 32, 128, 256]


# -- a real server ---------------------------------------------------------------------------------------------

SERVER = """
    import resource, sys
    import uvicorn

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    async def app(scope, receive, send):
        with open("/dev/null") as file:  # an application needs some for itself
            assert not file.read(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(app, port=0, lifespan="off", loop=sys.argv[1], timeout_keep_alive=60, access_log=False)
    listener = config.bind_socket()
    listener.listen()
    uvicorn.Server(config).run([listener])
"""

CLIENTS = """
    import socket, sys

    clients = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(250)]
    print("connected", flush=True)
    sys.stdin.readline()
    for client in clients:  # who is served leaves, and makes room for others
        client.settimeout(30)
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"ok"), answer
        client.close()
    print("served", flush=True)
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_more_clients_than_descriptors_are_all_served(loop: str, start_python: Start) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = start_python("-c", textwrap.dedent(SERVER), loop)
    port = server.listens()
    clients = start_python("-c", textwrap.dedent(CLIENTS), str(port), stdin=subprocess.PIPE)
    clients.wait_for("connected")
    server.wait_for("The limit of open files is near")
    assert clients.process.stdin is not None
    with clients.process.stdin as stdin:
        stdin.write(b"go\n")
    assert (clients.end(), clients.text) == (0, "connected\nserved\n")
    server.end(signal.SIGINT)
    assert "Too many open files" not in server.text and server.text.count("The limit of open files is near") == 1
