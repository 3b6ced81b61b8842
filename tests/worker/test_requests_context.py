"""What every response carries (--header), and the context in which every request begins (--reset-contextvars)."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, NoReturn

import pytest

from applications import Receive, Scope, Send
from clients import Client, connect
from servers import LoopFactory, serving

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    headers = [(b"server", b"app")] if scope["path"] == "/own" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x"})


async def test_headers_of_the_operator(loop_factory: LoopFactory) -> None:
    headers = [("X-A", "1"), ("X-A", "2")]
    async with serving(app, headers=headers, lifespan="off") as server, connect(server) as client:
        client.ask()
        head = (await client.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        assert [line for line in head if line.startswith((b"x-a", b"server"))] == [
            b"server: uvicorn",
            b"x-a: 1",
            b"x-a: 2",
        ]
        assert b"date" in [line[:4] for line in head]
        await client.reader.readexactly(1)
        assert (await client.get("/own")).headers["server"] == "app"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"server_header": False}, {"date"}),
        ({"date_header": False}, {"server"}),
        ({"date_header": False, "server_header": False}, set()),
        ({"headers": [("Server", "mine"), ("Date", "now")]}, {"server", "date"}),
    ],
)
async def test_headers_of_ours(settings: dict[str, Any], expected: set[str]) -> None:
    async with serving(app, lifespan="off", **settings) as server, connect(server) as client:
        answer = await client.get()
        assert set(answer.headers) & {"date", "server"} == expected
        if "headers" in settings:
            assert (answer.headers["server"], answer.headers["date"]) == ("mine", "now")


async def remembering(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers who it was, and is somebody from then on. Reading resumes from inside, as large bodies have it."""
    assert scope["type"] == "http"
    before = WHO.get()
    WHO.set(scope["path"])
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": before.encode()})


async def pipelined(client: Client) -> list[bytes]:
    """Two requests at once: the second one is begun from inside the first one's `send`."""
    client.ask("/first", method="POST", body=b"x" * 200_000)
    client.ask("/second")
    return [(await client.answer()).body for _ in range(2)]


@pytest.mark.parametrize("reset", [True, False])
async def test_a_fresh_context_for_each_request(loop_factory: LoopFactory, reset: bool) -> None:
    WHO.set("the server's")
    async with serving(remembering, reset_contextvars=reset, lifespan="off") as server, connect(server) as client:
        first, second = await pipelined(client)
        assert first == b"the server's"
        assert second == b"the server's"


async def test_a_cancelled_call_is_cancelled_inside() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    settings = {"reset_contextvars": True, "lifespan": "off", "timeout_graceful_shutdown": 0}
    async with serving(waits, **settings) as server, connect(server) as client:
        client.ask()
        await begun.wait()
        server.should_exit = True
        await ended.wait()


async def test_an_exception_is_answered_500() -> None:
    def fails(scope: Scope, receive: Receive, send: Send) -> NoReturn:
        raise ValueError("not even a coroutine")

    settings = {"reset_contextvars": True, "lifespan": "off", "interface": "asgi3"}
    async with serving(fails, **settings) as server, connect(server) as client:
        assert (await client.get()).status == 500
