"""httpx, which speaks HTTP/2 by python-hyper's h2, against our server."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from applications import Receive, Scope, Send, respond
from certificates import Authority, Pair
from servers import LoopFactory, WatchedServer, serving

if TYPE_CHECKING:
    import httpx
else:
    httpx = pytest.importorskip("httpx")
pytest.importorskip("h2")

BODY = os.urandom(1 << 20)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body of the request, or without an end."""
    if scope["path"] == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            await asyncio.sleep(0)
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await respond(send, body or scope["path"].encode())


@contextlib.asynccontextmanager
async def client_of(server: WatchedServer, authority: Authority | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Over TLS it chooses by ALPN; in cleartext it has to know."""
    address = f"http://localhost:{server.port}" if authority is None else f"https://localhost:{server.port}"
    verify = True if authority is None else authority.client()
    async with httpx.AsyncClient(
        http1=authority is not None, http2=True, base_url=address, timeout=60, verify=verify, trust_env=False
    ) as client:
        yield client


@pytest.fixture(params=["cleartext", "tls"])
def settings(request: pytest.FixtureRequest) -> tuple[dict[str, object], Authority | None]:
    if request.param == "cleartext":
        return {}, None
    pair: Pair = request.getfixturevalue("pair")
    return {**pair}, request.getfixturevalue("authority")


Settings = tuple[dict[str, object], "Authority | None"]


async def test_many_at_once(loop_factory: LoopFactory, settings: Settings) -> None:
    options, authority = settings
    async with serving(app, http2=True, lifespan="off", **options) as server, client_of(server, authority) as client:
        answers = await asyncio.gather(*(client.get(f"/{number}") for number in range(300)))
        assert {(one.http_version, one.status_code) for one in answers} == {("HTTP/2", 200)}
        assert [one.text for one in answers] == [f"/{number}" for number in range(300)]
        assert len(server.server_state.connections) == 1


async def test_uploads(loop_factory: LoopFactory, settings: Settings) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), 10_000):
            yield BODY[at : at + 10_000]

    options, authority = settings
    async with serving(app, http2=True, lifespan="off", **options) as server, client_of(server, authority) as client:
        answers = await asyncio.gather(*(client.post("/", content=one) for one in (BODY, parts(), BODY)))
        assert all(one.content == BODY for one in answers)


async def test_a_response_that_is_left(settings: Settings) -> None:
    """The connection goes on."""
    options, authority = settings
    async with serving(app, http2=True, lifespan="off", **options) as server, client_of(server, authority) as client:
        for _ in range(3):
            async with client.stream("GET", "/endless") as response:
                await response.aiter_raw().__anext__()
            assert (await client.get("/after")).text == "/after"
        assert len(server.server_state.connections) == 1
