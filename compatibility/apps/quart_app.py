"""The routes in Quart."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from notes import FAILS, note
from quart import Quart, Response, abort, jsonify, make_response, redirect, request, send_file, websocket

app = Quart(__name__)
release = asyncio.Event()


@app.before_serving
async def startup() -> None:
    if FAILS:
        raise RuntimeError("no database")
    app.config["ANSWER"] = 42
    note("startup")


@app.after_serving
async def shutdown() -> None:
    note("shutdown")


def text(body: Any, status: int = 200, **fields: str) -> Response:
    return Response(body, status, fields, content_type="text/plain")


@app.get("/")
async def hello() -> Response:
    return text("hello")


@app.get("/request")
@app.get("/request/<path:rest>")
async def described(rest: str = "") -> Response:
    fields = sorted((name.lower(), value) for name, value in request.headers.items())
    query = list(request.args.items(multi=True))
    facts = {"method": request.method, "path": request.path, "rest": rest, "query": query, "fields": fields}
    return jsonify(**facts, url=request.url.partition("?")[0], version=request.http_version, client=request.remote_addr)


@app.post("/body")
async def body() -> Response:
    size, digest = 0, hashlib.sha256()
    async for chunk in request.body:
        size += len(chunk)
        digest.update(chunk)
    return jsonify(size=size, sha256=digest.hexdigest())


@app.post("/form")
async def form() -> Response:
    return jsonify(list((await request.form).items(multi=True)))


@app.post("/upload")
async def upload() -> Response:
    file = (await request.files)["file"]
    data = file.read()
    digest = hashlib.sha256(data).hexdigest()
    return jsonify(name=file.filename, size=len(data), sha256=digest, title=(await request.form)["title"])


@app.get("/stream")
async def stream() -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"part %d\n" % number
            await asyncio.sleep(0)

    return text(parts())


@app.get("/events")
async def events() -> Response:
    async def endless() -> AsyncIterator[bytes]:
        try:
            for number in range(100_000):
                yield b"event: tick\ndata: %d\n\n" % number
                await asyncio.sleep(0.01)
        finally:
            note("events ended")

    response = await make_response(endless(), {"content-type": "text/event-stream"})
    response.timeout = None
    return response


@app.get("/background")
async def background() -> Response:
    async def work() -> None:
        try:
            await asyncio.wait_for(release.wait(), 10)
        except asyncio.TimeoutError:
            note("background was never released")
        else:
            note("background done")
        release.clear()

    app.add_background_task(work)
    return text("accepted", 202)


@app.get("/release")
async def released() -> Response:
    release.set()
    return text("released")


@app.get("/state")
async def state() -> Response:
    return text(str(app.config["ANSWER"]))


@app.get("/refused")
async def refused() -> Response:
    abort(418, "no coffee")


@app.get("/fails")
async def fails() -> Response:
    raise RuntimeError("before the start")


@app.get("/fails-late")
async def fails_late() -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"begin\n"
        raise RuntimeError("after the start")

    return text(parts())


@app.get("/waits")
async def waits() -> Response:
    note("waiting")
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        note("heard http.disconnect True")
        raise
    return text("nobody left")


@app.get("/empty")
async def empty() -> Response:
    return Response("", 204)


@app.get("/unmodified")
async def unmodified() -> Response:
    return Response("", 304, {"etag": '"1"'})


@app.get("/redirect")
async def redirected() -> Any:
    return redirect("/", 303)


@app.get("/cookies")
async def cookies() -> Response:
    response = text(",".join(f"{name}={value}" for name, value in request.cookies.items()))
    response.set_cookie("one", "1")
    response.set_cookie("two", "2", httponly=True)
    return response


@app.get("/file")
async def file() -> Response:
    return await send_file(Path(__file__).parent / "poem.txt", mimetype="text/plain", conditional=True)


@app.get("/large")
async def large() -> Response:
    return Response(bytes(range(256)) * 40_960, content_type="application/octet-stream")


@app.websocket("/ws/echo")
async def echo() -> None:
    await websocket.accept(headers={"x-greeting": "hello"})
    try:
        while True:
            await websocket.send(await websocket.receive())
    except asyncio.CancelledError:
        note("websocket left")
        raise


@app.websocket("/ws/subprotocol")
async def subprotocol() -> None:
    offered = websocket.requested_subprotocols
    await websocket.accept(subprotocol="chat.v2" if "chat.v2" in offered else None)
    await websocket.send(",".join(offered))
    await websocket.close(1000)


@app.websocket("/ws/denied")
async def denied() -> None:
    await websocket.close(1008, "not you")


@app.websocket("/ws/denial")
async def denial() -> Any:
    return "pay first", 402, {"x-price": "3"}


@app.websocket("/ws/closes")
async def closes() -> None:
    await websocket.accept()
    await websocket.close(4001, "enough")


@app.websocket("/ws/fails")
async def socket_fails() -> None:
    await websocket.accept()
    raise RuntimeError("in a WebSocket")


@app.websocket("/ws/fails-early")
async def socket_fails_early() -> None:
    raise RuntimeError("before the accept")
