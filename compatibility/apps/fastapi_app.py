"""The routes in FastAPI, by its own means: models, dependencies, forms, plain functions in threads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    Form,
    HTTPException,
    Request,
    Response,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from notes import FAILS, note
from pydantic import BaseModel

release = asyncio.Event()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    if FAILS:
        raise RuntimeError("no database")
    note("startup")
    yield {"answer": 42}
    note("shutdown")


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float


async def session() -> AsyncIterator[str]:
    yield "session"
    note("session closed")


@app.api_route("/", methods=["GET", "HEAD"], response_class=PlainTextResponse)
def hello() -> str:
    return "hello"


@app.get("/request")
@app.get("/request/{rest:path}")
async def described(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "path": request.url.path,
        "query": list(request.query_params.multi_items()),
        "fields": sorted(request.headers.items()),
        "client": request.client.host if request.client else None,
        "base": str(request.base_url),
    }


@app.post("/body")
async def body(request: Request) -> dict[str, Any]:
    size, digest = 0, hashlib.sha256()
    async for chunk in request.stream():
        size += len(chunk)
        digest.update(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


@app.post("/items", status_code=201)
async def item(item: Item) -> Item:
    return item


@app.get("/session")
async def with_session(opened: Annotated[str, Depends(session)]) -> str:
    return opened


@app.post("/form")
async def form(a: Annotated[str, Form()], b: Annotated[list[str], Form()]) -> dict[str, Any]:
    return {"a": a, "b": b}


@app.post("/upload")
def upload(file: UploadFile, title: Annotated[str, Form()]) -> dict[str, Any]:
    data = file.file.read()
    return {"name": file.filename, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "title": title}


@app.get("/stream")
def stream() -> StreamingResponse:
    return StreamingResponse((f"part {number}\n" for number in range(5)), media_type="text/plain")


@app.get("/events")
async def events() -> StreamingResponse:
    async def endless() -> AsyncIterator[str]:
        try:
            for number in range(100_000):
                yield f"event: tick\ndata: {number}\n\n"
                await asyncio.sleep(0.01)
        finally:
            note("events ended")

    return StreamingResponse(endless(), media_type="text/event-stream")


@app.get("/background", status_code=202)
async def background(tasks: BackgroundTasks) -> str:
    async def work() -> None:
        try:
            await asyncio.wait_for(release.wait(), 10)
        except asyncio.TimeoutError:
            note("background was never released")
        else:
            note("background done")
        release.clear()

    tasks.add_task(work)
    return "accepted"


@app.get("/release")
async def released() -> str:
    release.set()
    return "released"


@app.get("/state")
async def state(request: Request) -> int:
    answer: int = request.state.answer
    return answer


@app.get("/refused")
async def refused() -> None:
    raise HTTPException(418, "no coffee", {"x-pot": "tea"})


@app.get("/fails")
async def fails() -> None:
    raise RuntimeError("before the start")


@app.get("/fails-late")
async def fails_late() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "begin\n"
        raise RuntimeError("after the start")

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/waits")
async def waits(request: Request) -> str:
    note("waiting")
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    note("heard http.disconnect True")
    return "nobody reads this"


@app.get("/empty", status_code=204)
async def empty() -> None:
    return None


@app.get("/unmodified")
async def unmodified() -> Response:
    return Response(status_code=304, headers={"etag": '"1"'})


@app.get("/redirect")
async def redirect() -> RedirectResponse:
    return RedirectResponse("/", 303)


@app.get("/cookies")
async def cookies(response: Response, a: Annotated[str, Cookie()] = "", b: Annotated[str, Cookie()] = "") -> list[str]:
    response.set_cookie("one", "1")
    response.set_cookie("two", "2", httponly=True)
    return [a, b]


@app.get("/file")
async def file() -> FileResponse:
    poem = Path(__file__).parent / "poem.txt"
    return FileResponse(poem, media_type="text/plain", headers={"etag": '"poem"'})


@app.get("/large")
def large() -> Response:
    return Response(bytes(range(256)) * 40_960, media_type="application/octet-stream")


@app.websocket("/ws/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"x-greeting", b"hello")])
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"], message.get("reason"))
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect as left:
        note("websocket left", left.code, left.reason or "-")


@app.websocket("/ws/subprotocol")
async def subprotocol(websocket: WebSocket) -> None:
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol="chat.v2" if "chat.v2" in offered else None)
    await websocket.send_json(offered)
    await websocket.close()


@app.websocket("/ws/denied")
async def denied(websocket: WebSocket) -> None:
    raise WebSocketException(1008, "not you")


@app.websocket("/ws/denial")
async def denial(websocket: WebSocket) -> None:
    raise HTTPException(402, "pay first", {"x-price": "3"})


@app.websocket("/ws/closes")
async def closes(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(4001, "enough")


@app.websocket("/ws/fails")
async def socket_fails(websocket: WebSocket) -> None:
    await websocket.accept()
    raise RuntimeError("in a WebSocket")


@app.websocket("/ws/fails-early")
async def socket_fails_early(websocket: WebSocket) -> None:
    raise RuntimeError("before the accept")
