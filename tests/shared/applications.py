"""Types for the tests' applications, and applications that several tests serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Environ, Message, Scope

__all__ = ["App", "Environ", "Headers", "Message", "Receive", "Scope", "Send", "echo", "idle", "respond", "responding"]

Receive = ASGIReceiveCallable
Send = ASGISendCallable
Headers = Sequence[tuple[bytes, bytes]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def idle(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers nothing: for tests that serve none of its requests."""


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that sends each part of a request's body back when it comes."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def respond(send: Send, body: bytes = b"", status: int = 200, headers: Headers = ()) -> None:
    """Send a whole response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


def responding(body: bytes = b"", status: int = 200, headers: Headers = ()) -> App:
    """An application without lifespan that answers every request with this response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await respond(send, body, status, headers)

    return app
