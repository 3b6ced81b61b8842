"""The routes in Starlette."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from notes import FAILS, note
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

release = asyncio.Event()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    if FAILS:
        raise RuntimeError("no database")
    note("startup")
    yield {"answer": 42}
    note("shutdown")


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def described(request: Request) -> Response:
    scope = request.scope
    facts: dict[str, Any] = {name: scope[name] for name in ("type", "http_version", "method", "scheme", "path")}
    facts["root_path"] = scope["root_path"]
    facts["raw_path"] = scope["raw_path"].decode("latin-1")
    facts["query"] = scope["query_string"].decode("latin-1")
    facts["fields"] = sorted((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    facts["client"], facts["server"] = scope["client"][0], scope["server"][0]
    versions = " ".join(f"{name}={scope['asgi'][name]}" for name in sorted(scope["asgi"]))
    return JSONResponse(facts, headers={"x-asgi": versions})


async def body(request: Request) -> Response:
    data = await request.body()
    return JSONResponse({"size": len(data), "sha256": hashlib.sha256(data).hexdigest()})


async def form(request: Request) -> Response:
    async with request.form() as fields:
        return JSONResponse([[name, str(value)] for name, value in fields.multi_items()])


async def upload(request: Request) -> Response:
    async with request.form() as fields:
        file: Any = fields["file"]
        data = await file.read()
        size, digest = len(data), hashlib.sha256(data).hexdigest()
        return JSONResponse({"name": file.filename, "size": size, "sha256": digest, "title": fields["title"]})


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        for number in range(5):
            yield f"part {number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(parts(), media_type="text/plain")


async def events(request: Request) -> Response:
    async def endless() -> AsyncIterator[str]:
        try:
            for number in range(100_000):
                yield f"event: tick\ndata: {number}\n\n"
                await asyncio.sleep(0.01)
        finally:
            note("events ended")

    return StreamingResponse(endless(), media_type="text/event-stream")


async def background(request: Request) -> Response:
    async def work() -> None:
        try:
            await asyncio.wait_for(release.wait(), 10)
        except asyncio.TimeoutError:
            note("background was never released")
        else:
            note("background done")
        release.clear()

    return PlainTextResponse("accepted", 202, background=BackgroundTask(work))


async def released(request: Request) -> Response:
    release.set()
    return PlainTextResponse("released")


async def state(request: Request) -> Response:
    return PlainTextResponse(str(request.state.answer))


async def refused(request: Request) -> Response:
    raise HTTPException(418, "no coffee")


async def fails(request: Request) -> Response:
    raise RuntimeError("before the start")


async def fails_late(request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        yield "begin\n"
        raise RuntimeError("after the start")

    return StreamingResponse(parts(), media_type="text/plain")


async def waits(request: Request) -> Response:
    note("waiting")
    message = await request.receive()  # the body, which is empty
    message = await request.receive()
    note("heard", message["type"], await request.is_disconnected())
    return PlainTextResponse("nobody reads this")


async def empty(request: Request) -> Response:
    return Response(status_code=204)


async def unmodified(request: Request) -> Response:
    return Response(status_code=304, headers={"etag": '"1"'})


async def redirect(request: Request) -> Response:
    return RedirectResponse("/", 303)


async def cookies(request: Request) -> Response:
    response = PlainTextResponse(",".join(f"{name}={value}" for name, value in request.cookies.items()))
    response.set_cookie("one", "1")
    response.set_cookie("two", "2", httponly=True)
    return response


async def file(request: Request) -> Response:
    return FileResponse(Path(__file__).parent / "poem.txt", media_type="text/plain", headers={"etag": '"poem"'})


async def large(request: Request) -> Response:
    return Response(bytes(range(256)) * 40_960, media_type="application/octet-stream")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"x-greeting", b"hello")])
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                break
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        pass
    note("websocket left", message.get("code"), message.get("reason") or "-")


async def subprotocol(websocket: WebSocket) -> None:
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol="chat.v2" if "chat.v2" in offered else None)
    await websocket.send_text(",".join(offered))
    await websocket.close()


async def denied(websocket: WebSocket) -> None:
    await websocket.close()


async def denial(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("pay first", 402, {"x-price": "3"}))


async def closes(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(4001, "enough")


async def socket_fails(websocket: WebSocket) -> None:
    await websocket.accept()
    raise RuntimeError("in a WebSocket")


async def socket_fails_early(websocket: WebSocket) -> None:
    raise RuntimeError("before the accept")


ROUTES = [
    Route("/", hello),
    Route("/request", described),
    Route("/request/{rest:path}", described),
    Route("/body", body, methods=["POST", "PUT"]),
    Route("/form", form, methods=["POST"]),
    Route("/upload", upload, methods=["POST"]),
    Route("/stream", stream),
    Route("/events", events),
    Route("/background", background),
    Route("/release", released),
    Route("/state", state),
    Route("/refused", refused),
    Route("/fails", fails),
    Route("/fails-late", fails_late),
    Route("/waits", waits),
    Route("/empty", empty),
    Route("/unmodified", unmodified),
    Route("/redirect", redirect),
    Route("/cookies", cookies),
    Route("/file", file),
    Route("/large", large),
    WebSocketRoute("/ws/echo", echo),
    WebSocketRoute("/ws/subprotocol", subprotocol),
    WebSocketRoute("/ws/denied", denied),
    WebSocketRoute("/ws/denial", denial),
    WebSocketRoute("/ws/closes", closes),
    WebSocketRoute("/ws/fails", socket_fails),
    WebSocketRoute("/ws/fails-early", socket_fails_early),
]

app = Starlette(routes=ROUTES, lifespan=lifespan)
