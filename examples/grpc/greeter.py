"""gRPC in a plain ASGI application, without a library: all four kinds of calls. README.md, beside this file, says more.

$ uvicorn --http2 --app-dir examples/grpc greeter:app

A gRPC call is an HTTP/2 request. Its path names the method. Both bodies consist of messages, each behind five bytes
(whether it is compressed, and its length). The status of the call is in the trailers of the response. Most services
have protobuf messages; here they are UTF-8 text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Messages = AsyncGenerator[bytes, None]
Method = Callable[[Messages], Messages]

LARGEST = 16 << 20
"""Bytes of a message."""

OK, UNKNOWN, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 2, 3, 8, 12, 13


class Failed(Exception):
    """A call ends with this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Left(Exception):
    """The client has given up, or its deadline is over."""


# -- the service -----------------------------------------------------------------------------------------------


async def hello(names: Messages) -> Messages:
    """Unary: one message each way."""
    async for name in names:
        if not name:
            raise Failed(INVALID_ARGUMENT, "a name, please")
        yield b"Hello, " + name


async def hello_to_all(names: Messages) -> Messages:
    """Client streaming: one answer to all messages."""
    yield b"Hello, " + b", ".join([name async for name in names])


async def count(numbers: Messages) -> Messages:
    """Server streaming: many answers to one message."""
    async for number in numbers:
        for value in range(int(number)):
            yield b"%d" % value


async def chat(lines: Messages) -> Messages:
    """Bidirectional: each message is answered at once."""
    async for line in lines:
        yield b"You say: " + line


async def wait(seconds: Messages) -> Messages:
    """Unary, and as slow as its caller likes."""
    async for one in seconds:
        await asyncio.sleep(float(one))
        yield one


METHODS: dict[str, Method] = {
    "/example.Greeter/Hello": hello,
    "/example.Greeter/HelloToAll": hello_to_all,
    "/example.Greeter/Count": count,
    "/example.Greeter/Chat": chat,
    "/example.Greeter/Wait": wait,
}

# -- gRPC ------------------------------------------------------------------------------------------------------


async def messages(receive: Receive) -> Messages:
    """The messages of a request, as they arrive."""
    pending, more = bytearray(), True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Left
        pending += event["body"]
        more = event["more_body"]
        while len(pending) >= 5:
            end = 5 + int.from_bytes(pending[1:5], "big")
            if pending[0]:
                raise Failed(UNIMPLEMENTED, "Compressed messages are not supported")
            if end > LARGEST:
                raise Failed(RESOURCE_EXHAUSTED, "The message is too large")
            if len(pending) < end:
                break
            message = bytes(pending[5:end])
            del pending[:end]
            yield message
    if pending:
        raise Failed(INTERNAL, "The last message is not complete")


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
        await send({"type": "http.response.start", "status": 415, "headers": [(b"accept", b"application/grpc")]})
        await send({"type": "http.response.body"})
        return
    start = [(b"content-type", b"application/grpc")]
    await send({"type": "http.response.start", "status": 200, "headers": start, "trailers": True})
    status, reason = OK, ""
    try:
        method = METHODS.get(scope["path"])
        if method is None:
            raise Failed(UNIMPLEMENTED, f"There is no method {scope['path']}")
        async with aclosing(messages(receive)) as requests, aclosing(method(requests)) as answers:
            async for answer in answers:
                framed = b"\0" + len(answer).to_bytes(4, "big") + answer
                await send({"type": "http.response.body", "body": framed, "more_body": True})
    except Left:
        return
    except Failed as exc:
        status, reason = exc.status, str(exc)
    except ValueError as exc:
        status, reason = INVALID_ARGUMENT, str(exc)
    await send({"type": "http.response.body"})
    trailers = [(b"grpc-status", b"%d" % status)]
    if reason:
        trailers.append((b"grpc-message", quote(reason, safe=" ,:/'").encode()))
    await send({"type": "http.response.trailers", "headers": trailers})
