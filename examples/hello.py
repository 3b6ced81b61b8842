"""A function (ASGI 3) with a lifespan: what is made at startup reaches every request of this worker.

$ uvicorn --app-dir examples hello:app
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope["state"], receive, send)
    elif scope["type"] == "http":
        await hello(scope["state"], send)
    else:
        raise NotImplementedError(f"nothing here speaks {scope['type']}")


async def lifespan(state: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()  # lifespan.startup: the place to open a pool of connections
    state["started"] = time.monotonic()
    state["requests"] = count(1)
    await send({"type": "lifespan.startup.complete"})
    await receive()  # lifespan.shutdown: the place to close it
    await send({"type": "lifespan.shutdown.complete"})


async def hello(state: dict[str, Any], send: Send) -> None:
    up = time.monotonic() - state["started"]
    text = f"Hello from worker {os.getpid()}, up {up:.1f} s: request {next(state['requests'])}.\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
