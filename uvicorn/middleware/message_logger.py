"""Every ASGI message of an application, in the log at level trace: `uvicorn.asgi`.

Owns: the wording. Bodies appear as their length and header lists as an ellipsis: a log is no place for either.
Must not: change a message. Fails by: nothing; the application's exception is logged and raised again.
"""

from __future__ import annotations

import itertools
import logging
from typing import Any

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Message, Scope
from uvicorn.logging import TRACE_LOG_LEVEL

PLACEHOLDER_FORMAT = {
    "body": "<{length} bytes>",
    "bytes": "<{length} bytes>",
    "text": "<{length} chars>",
    "headers": "<...>",
}
"""What the log has in place of the value of such a key."""


class MessageLoggerMiddleware:
    """Wraps an ASGI 3 application; each call gets a number."""

    def __init__(self, app: ASGI3Application) -> None:
        self.app = app
        self.logger = logging.getLogger("uvicorn.asgi")
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        client = scope.get("client")
        prefix = f"{client[0]}:{client[1]} - ASGI" if client else "ASGI"
        number = next(self._numbers)

        def log(what: str, message: Message | None = None) -> None:
            text = "" if message is None else str(message_with_placeholders(message))
            self.logger.log(TRACE_LOG_LEVEL, "%s [%d] %s%s", prefix, number, what, text)

        async def logged_receive() -> Message:
            message = await receive()
            log("Receive ", message)
            return message

        async def logged_send(message: Message) -> None:
            log("Send ", message)
            await send(message)

        log("Started scope=", scope)
        try:
            await self.app(scope, logged_receive, logged_send)
        except BaseException:
            log("Raised exception")
            raise
        log("Completed")


def message_with_placeholders(message: Message) -> dict[str, Any]:
    """A copy of `message` as the log has it."""
    short = dict(message)
    for key, placeholder in PLACEHOLDER_FORMAT.items():
        value = short.get(key)
        if value is not None:
            short[key] = placeholder.format(length=len(value))
    return short
