"""A Starlette application: an endless stream of server-sent events, and uploads. Needs `pip install starlette`.

$ uvicorn --app-dir examples starlette_app:app

$ curl -N 'http://127.0.0.1:8000/events?every=0.5'
$ curl --data-binary @README.md http://127.0.0.1:8000/upload
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from itertools import count

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

streams: set[Response] = set()


class EventStream(StreamingResponse):
    """Knows which streams are open. (A generator's own `finally` may run only when it is collected.)"""

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams.add(self)
        try:
            await super().__call__(scope, receive, send)
        finally:
            streams.discard(self)


async def ticks(every: float) -> AsyncIterator[str]:
    """Has no end: sending fails once the client has left, and that ends it."""
    for tick in count(1):
        yield f"event: tick\ndata: {tick}\n\n"
        await asyncio.sleep(every)


async def events(request: Request) -> Response:
    every = float(request.query_params.get("every", 1))
    return EventStream(ticks(every), headers={"cache-control": "no-store"})


async def upload(request: Request) -> Response:
    """Takes a body of any size, part by part."""
    digest, size = hashlib.sha256(), 0
    async for part in request.stream():
        digest.update(part)
        size += len(part)
    return JSONResponse({"bytes": size, "sha256": digest.hexdigest()})


async def status(request: Request) -> Response:
    return JSONResponse({"streams": len(streams)})


app = Starlette(routes=[Route("/", status), Route("/events", events), Route("/upload", upload, methods=["POST"])])
