"""ASGI 2 applications (`app(scope)` then `(receive, send)`) behind the ASGI 3 call."""

from __future__ import annotations

from uvicorn._types import ASGI2Application, ASGIReceiveCallable, ASGISendCallable, Scope


class ASGI2Middleware:
    """Wraps a double callable as a single callable (ASGI specification, "Legacy Applications")."""

    def __init__(self, app: ASGI2Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        instance = self.app(scope)
        await instance(receive, send)
