"""The routes in Litestar."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, MediaType, Request, Response, WebSocket, get, head, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import Cookie, State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException, WebSocketDisconnect
from litestar.params import Body
from litestar.response import File, Redirect, ServerSentEvent, Stream
from notes import FAILS, note

release = asyncio.Event()


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    if FAILS:
        raise RuntimeError("no database")
    app.state.answer = 42
    note("startup")
    yield
    note("shutdown")


@get("/", media_type=MediaType.TEXT)
async def hello() -> str:
    return "hello"


@head("/")
async def hello_head() -> None:
    return None


@get(["/request", "/request/{rest:path}"])
async def described(request: Request[Any, Any, State]) -> dict[str, Any]:
    return {
        "method": request.method,
        "path": request.url.path,
        "query": list(request.query_params.multi_items()),
        "fields": sorted(request.headers.items()),
        "client": request.client.host if request.client else None,
        "base": str(request.base_url),
    }


@post("/body", status_code=200)
async def body(request: Request[Any, Any, State]) -> dict[str, Any]:
    size, digest = 0, hashlib.sha256()
    async for chunk in request.stream():
        size += len(chunk)
        digest.update(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


@post("/form", status_code=200)
async def form(data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.URL_ENCODED)]) -> dict[str, Any]:
    return data


@post("/upload", status_code=200)
async def upload(data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)]) -> dict[str, Any]:
    file: UploadFile = data["file"]
    content = await file.read()
    digest = hashlib.sha256(content).hexdigest()
    return {"name": file.filename, "size": len(content), "sha256": digest, "title": data["title"]}


@get("/stream")
async def stream() -> Stream:
    async def parts() -> AsyncIterator[str]:
        for number in range(5):
            yield f"part {number}\n"
            await asyncio.sleep(0)

    return Stream(parts(), media_type="text/plain")


@get("/events")
async def events() -> ServerSentEvent:
    async def endless() -> AsyncIterator[dict[str, str]]:
        try:
            for number in range(100_000):
                yield {"event": "tick", "data": str(number)}
                await asyncio.sleep(0.01)
        finally:
            note("events ended")

    return ServerSentEvent(endless())


async def work() -> None:
    try:
        await asyncio.wait_for(release.wait(), 10)
    except asyncio.TimeoutError:
        note("background was never released")
    else:
        note("background done")
    release.clear()


@get("/background", media_type=MediaType.TEXT)
async def background() -> Response[str]:
    return Response("accepted", status_code=202, background=BackgroundTask(work))


@get("/release", media_type=MediaType.TEXT)
async def released() -> str:
    release.set()
    return "released"


@get("/state", media_type=MediaType.TEXT)
async def state(state: State) -> str:
    return str(state.answer)


@get("/refused")
async def refused() -> None:
    raise HTTPException("no coffee", status_code=418, headers={"x-pot": "tea"})


@get("/fails")
async def fails() -> None:
    raise RuntimeError("before the start")


@get("/fails-late")
async def fails_late() -> Stream:
    async def parts() -> AsyncIterator[str]:
        yield "begin\n"
        raise RuntimeError("after the start")

    return Stream(parts(), media_type="text/plain")


@get("/waits", media_type=MediaType.TEXT)
async def waits(request: Request[Any, Any, State]) -> str:
    note("waiting")
    await request.receive()  # the body, which is empty
    message = await request.receive()
    note("heard", message["type"], True)
    return "nobody reads this"


@get("/empty", status_code=204)
async def empty() -> None:
    return None


@get("/unmodified", status_code=304, response_headers={"etag": '"1"'})
async def unmodified() -> None:
    return None


@get("/redirect")
async def redirect() -> Redirect:
    return Redirect("/", status_code=303)


@get("/cookies")
async def cookies(request: Request[Any, Any, State]) -> Response[dict[str, str]]:
    return Response(dict(request.cookies), cookies=[Cookie("one", value="1"), Cookie("two", value="2", httponly=True)])


@get("/file")
async def file() -> File:
    return File(Path(__file__).parent / "poem.txt", media_type="text/plain")


@get("/large", media_type="application/octet-stream")
async def large() -> bytes:
    return bytes(range(256)) * 40_960


@websocket("/ws/echo")
async def echo(socket: WebSocket[Any, Any, State]) -> None:
    await socket.accept(headers={"x-greeting": "hello"})
    try:
        while True:
            message: Any = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(detail=message.get("reason") or "-", code=message["code"])
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect as left:
        note("websocket left", left.code, left.detail)


@websocket("/ws/subprotocol")
async def subprotocol(socket: WebSocket[Any, Any, State]) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocols="chat.v2" if "chat.v2" in offered else None)
    await socket.send_text(",".join(offered))
    await socket.close()


@websocket("/ws/denied")
async def denied(socket: WebSocket[Any, Any, State]) -> None:
    await socket.close()


@websocket("/ws/closes")
async def closes(socket: WebSocket[Any, Any, State]) -> None:
    await socket.accept()
    await socket.close(code=4001, reason="enough")


@websocket("/ws/fails")
async def socket_fails(socket: WebSocket[Any, Any, State]) -> None:
    await socket.accept()
    raise RuntimeError("in a WebSocket")


@websocket("/ws/fails-early")
async def socket_fails_early(socket: WebSocket[Any, Any, State]) -> None:
    raise RuntimeError("before the accept")


HANDLERS: list[Any] = [hello, hello_head, described, body, form, upload, stream, events, background, released, state]
HANDLERS += [refused, fails, fails_late, waits, empty, unmodified, redirect, cookies, file, large]
HANDLERS += [echo, subprotocol, denied, closes, socket_fails, socket_fails_early]

app = Litestar(HANDLERS, lifespan=[lifespan], request_max_body_size=None)
