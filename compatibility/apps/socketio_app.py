"""Socket.IO (python-socketio) in front of a small application of plain ASGI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import socketio
from notes import FAILS, note

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", ping_interval=5, ping_timeout=5)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any] | None) -> None:
    if environ["QUERY_STRING"].endswith("&refuse"):
        raise ConnectionRefusedError("not you")
    note("connected", environ["REQUEST_METHOD"], environ["PATH_INFO"])


@server.event
async def disconnect(sid: str, reason: str) -> None:
    note("disconnected", reason)


@server.event
async def echo(sid: str, data: Any) -> Any:
    await server.emit("echoed", data, to=sid)
    return "ok"


@server.event
async def leave(sid: str) -> None:
    await server.disconnect(sid)


@server.event
async def later(sid: str) -> None:
    async def work() -> None:
        await server.emit("done", to=sid)

    server.start_background_task(work)


async def startup() -> None:
    if FAILS:
        raise RuntimeError("no database")
    note("startup")


async def shutdown() -> None:
    note("shutdown")


async def other(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


app = socketio.ASGIApp(
    server,
    other,
    static_files={"/static/": str(Path(__file__).parent) + "/"},
    on_startup=startup,
    on_shutdown=shutdown,
)
