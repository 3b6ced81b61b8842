"""Four small applications in class style (ASGI 2): an instance per request, made with the scope.

$ uvicorn --app-dir examples asgi2:App
$ uvicorn --app-dir examples asgi2:EchoMethodAndPath
$ uvicorn --app-dir examples asgi2:EchoBody
$ uvicorn --app-dir examples asgi2:StreamResponse
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain; charset=utf-8")],
}


class App:
    """Says hello to everybody."""

    def __init__(self, scope: Message) -> None:
        assert scope["type"] == "http"

    async def __call__(self, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"Hello, world!"})


class EchoMethodAndPath:
    """Answers with what the scope says about the request."""

    def __init__(self, scope: Message) -> None:
        assert scope["type"] == "http"
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        text = f"Received {self.scope['method']} request to {self.scope['path']}"
        await send(START)
        await send({"type": "http.response.body", "body": text.encode()})


class EchoBody:
    """Reads the request's body to its end, then sends it back."""

    def __init__(self, scope: Message) -> None:
        assert scope["type"] == "http"

    async def __call__(self, receive: Receive, send: Send) -> None:
        body = await self.read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def read_body(self, receive: Receive) -> bytes:
        """The body, however many messages it comes in."""
        parts = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client left before its body was complete")
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)


class StreamResponse:
    """Sends the response part by part, as it is made."""

    def __init__(self, scope: Message) -> None:
        assert scope["type"] == "http"

    async def __call__(self, receive: Receive, send: Send) -> None:
        await send(START)
        for part in (b"Hello", b", ", b"world!"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})
