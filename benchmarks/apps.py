"""The applications under test: plain ASGI 3, no imports beyond the standard library.

Owns: what every server is asked to serve, in both programs; the programs copy this file beside the server
they start, so it imports nothing of this package. The request path of the drills chooses what their
application does.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HELLO = b"Hello, world!"
LARGE = bytes(range(256)) * 256
CHUNK = b"0123456789abcde\n" * 64
CHUNKS = 10


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def start(length: int | None, kind: bytes = b"text/plain") -> Message:
    headers = [(b"content-type", kind)]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def hello(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send(start(len(HELLO)))
    await send({"type": "http.response.body", "body": HELLO})


async def large(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send(start(len(LARGE)))
    await send({"type": "http.response.body", "body": LARGE})


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    parts = []
    more = scope["method"] == "POST"
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    await send(start(len(body), b"application/octet-stream"))
    await send({"type": "http.response.body", "body": body})


async def chunks(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send(start(None))
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


DELAY = float(os.environ.get("DRILL_DELAY", "0.005"))
BUSY = 0.005


async def slow(scope: Message, receive: Receive, send: Send) -> None:
    """`/` answers at once, `/big` with 16 MiB in parts, `/unread` reads nothing of what is sent to it."""
    if scope["type"] != "http" or scope["path"] == "/":
        return await hello(scope, receive, send)
    if scope["path"] == "/unread":
        await asyncio.sleep(3600)
    await send(start(len(LARGE) * 256))
    for number in range(256):
        await send({"type": "http.response.body", "body": LARGE, "more_body": number < 255})


BOOT = 0.0
GUILTY = "guilty"


def guilty_sleep() -> None:
    """What a hang report has to name: the line in each of these that blocks. This one waits in the kernel."""
    time.sleep(3600)


def guilty_spin() -> None:
    """The interpreter runs, and other threads do."""
    while True:
        pass


def guilty_regex() -> None:
    """C code that holds the interpreter's lock for years: no other thread runs."""
    re.match(r"(a+)+$", "a" * 64 + "b")


BLOCKS: dict[str, Callable[[], None]] = {"sleep": guilty_sleep, "spin": guilty_spin, "regex": guilty_regex}


def block(how: str) -> None:
    """Tells the drill who is going to hang, and hangs."""
    with open(GUILTY, "w") as file:
        file.write(str(os.getpid()))
    BLOCKS[how]()


def spin(seconds: float) -> None:
    """Computes for that long, however many others do."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def leave_orphan() -> None:
    """A process whose parent has died and which ends soon: somebody has to reap it."""
    code = "import os, time\nif os.fork() == 0: time.sleep(0.3)\nos._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)


async def drill(scope: Message, receive: Receive, send: Send) -> None:
    """Answers its pid. /busy holds the loop for a moment and /spin/S computes so long, /sleep/S holds the request
    only, /hold/S both, /block/HOW the loop for ever. /stream answers in parts, and a WebSocket each message.
    """
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await drill_websocket(receive, send)
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    match scope["path"].split("/")[1:]:
        case ["stream"]:
            return await drill_stream(send)
        case ["busy"]:
            time.sleep(BUSY)
        case ["sleep", seconds]:
            await asyncio.sleep(float(seconds))
        case ["hold", seconds]:
            time.sleep(BUSY)
            await asyncio.sleep(float(seconds))
        case ["spin", seconds]:
            spin(float(seconds))
        case ["block", how]:
            block(how)
        case ["orphan"]:
            leave_orphan()
        case _:
            await asyncio.sleep(DELAY)
    body = str(os.getpid()).encode()
    await send(start(len(body)))
    await send({"type": "http.response.body", "body": body})


async def drill_stream(send: Send) -> None:
    await send(start(None))
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": b"%d\n" % os.getpid(), "more_body": True})
        await asyncio.sleep(DELAY)
    await send({"type": "http.response.body", "body": b""})


async def drill_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(os.getpid())})


async def failing_lifespan(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        return await send({"type": "lifespan.startup.failed", "message": "broken on purpose"})
    await drill(scope, receive, send)


async def slow_lifespan(scope: Message, receive: Receive, send: Send) -> None:
    """Its startup takes `BOOT` seconds, in which the loop does not turn."""
    if scope["type"] == "lifespan":
        time.sleep(BOOT)
    await drill(scope, receive, send)


async def websocket_echo(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        return await hello(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
