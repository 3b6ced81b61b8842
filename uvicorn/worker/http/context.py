"""A fresh context for every call of the application (`--reset-contextvars`).

Without it a request begins in a copy of the context in which its bytes were read, and asyncio takes that context over
from whoever asked for the bytes: an earlier request of the same connection, perhaps, whose context variables are then
still set. Owns: the one extra task that this costs, and nothing when it is off. Fails by: nothing of its own.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope


class InFreshContext:
    """Calls `app` in a copy of `context`, which stays as it is."""

    def __init__(self, app: ASGI3Application, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Any:
        context = self._context.copy()
        called = context.run(self._app, scope, receive, send)
        # A task copies the context in which it is made. Awaited from here, it is cancelled when we are.
        return await context.run(asyncio.ensure_future, called)
