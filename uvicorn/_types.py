"""Names for what ASGI passes around (ASGI specification 3.0; HTTP and WebSocket message format 2.5).

Messages are plain dicts that applications build and mutate, so they are typed as mappings, not as exact shapes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

ASGIReceiveCallable = Callable[[], Awaitable[Message]]
ASGISendCallable = Callable[[Message], Awaitable[None]]

ASGI3Application = Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]
ASGI2Application = Callable[[Scope], Callable[[ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]]
ASGIApplication = ASGI2Application | ASGI3Application

SSLContextFactory = Callable[[Any, Callable[[], Any]], Any]
"""(config, what makes the default context) → an `ssl.SSLContext`; the module ssl is not imported for its name."""
