"""What the protocols of uvicorn 0.54 have by these names, for subclasses and programs that read or set them.

What can be set with an effect is a property: the application, and the ends of the connection that scopes tell of.
Anything else can be set as well, for whoever set it. Owns: the names. Must not: hold anything; ours is where it was.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from uvicorn.surface.replaceable import replaceable

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.worker.http.scope import Endpoints
    from uvicorn.worker.http.state import ServerState
    from uvicorn.worker.http1.response import Http1Exchange
    from uvicorn.worker.websockets.session import Session


class Familiar:
    """Both protocols."""

    __slots__ = ()

    if TYPE_CHECKING:
        _app: Any
        _ends: Endpoints
        _state: ServerState
        config: Config

    logger = logging.getLogger("uvicorn.error")

    @property
    def app(self) -> Any:
        """What is called for each request; an assignment counts from the next one on."""
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def app_state(self) -> dict[str, Any]:
        """The lifespan's state, of which each scope has a copy."""
        return self._ends.state

    @app_state.setter
    def app_state(self, state: dict[str, Any]) -> None:
        self._ends.state = state

    @property
    def client(self) -> tuple[str, int] | None:
        """The peer; known once there is a transport."""
        return self._ends.client

    @client.setter
    def client(self, client: tuple[str, int] | None) -> None:
        self._ends.client = client

    @property
    def server(self) -> tuple[str, int | None] | None:
        """Our end; known once there is a transport."""
        return self._ends.server

    @server.setter
    def server(self, server: tuple[str, int | None] | None) -> None:
        self._ends.server = server

    @property
    def scheme(self) -> str:
        """http or https."""
        return self._ends.scheme

    @scheme.setter
    def scheme(self, scheme: str) -> None:
        self._ends.scheme = scheme

    @property
    def root_path(self) -> str:
        """Where a proxy mounts the application."""
        return self._ends.root_path

    @root_path.setter
    def root_path(self, root_path: str) -> None:
        self._ends.root_path, self._ends.root_path_bytes = root_path, root_path.encode()

    @replaceable
    def asgi_version(self) -> str:
        """As scopes tell it."""
        return self._ends.asgi_version

    @replaceable
    def server_state(self) -> ServerState:
        """What the connections of a server share."""
        return self._state

    @replaceable
    def connections(self) -> set[Any]:
        """All of the server's."""
        return self._state.connections

    @replaceable
    def tasks(self) -> set[asyncio.Task[Any]]:
        """All of the server's that have not ended."""
        return self._state.tasks


class FamiliarConnection(Familiar):
    """An HTTP connection."""

    __slots__ = ()

    if TYPE_CHECKING:
        _exchange: Http1Exchange | None
        logs_access: bool

    access_logger = logging.getLogger("uvicorn.access")

    timeout_keep_alive_task: asyncio.TimerHandle | None = None
    """A timer only where nobody else keeps time (`standalone`)."""

    @replaceable
    def ws_protocol_class(self) -> type[Any] | None:
        """Who takes over when a WebSocket is asked for."""
        return self.config.ws_protocol_class

    @replaceable
    def cycle(self) -> Http1Exchange | None:
        """The request in work."""
        return self._exchange

    @replaceable
    def scope(self) -> dict[str, Any] | None:
        """That of the request in work."""
        return self._exchange.scope if self._exchange is not None else None

    @replaceable
    def headers(self) -> list[tuple[bytes, bytes]] | None:
        """Those of the request in work."""
        return self._exchange.request.fields if self._exchange is not None else None

    @replaceable
    def access_log(self) -> bool:
        """Whether requests are logged."""
        return self.logs_access

    @replaceable
    def limit_concurrency(self) -> int | None:
        """As the settings have it."""
        return self.config.limit_concurrency


class FamiliarSession(Familiar):
    """A WebSocket."""

    __slots__ = ()

    close_timeout = 10.0
    """Seconds that the peer gets to answer a close frame, and a transport to write what is left."""
    close_timer: asyncio.Handle | None = None
    ping_timer: asyncio.TimerHandle | None = None
    pong_timer: asyncio.TimerHandle | None = None
    """Timers only where nobody else keeps time (`standalone`)."""

    @replaceable
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The fields that every response gets."""
        return self._state.default_headers

    if TYPE_CHECKING:
        session: Session | None

    @replaceable
    def ping_sent_at(self) -> float:
        """When the last ping was sent, by the loop's clock; 0.0 before the first one."""
        frames = self.session.frames if self.session is not None else None
        return frames.ping_sent_at if frames is not None else 0.0

    @replaceable
    def last_ping_rtt(self) -> float:
        """Seconds until the last ping was answered; 0.0 before."""
        frames = self.session.frames if self.session is not None else None
        return frames.last_ping_rtt if frames is not None else 0.0

    @replaceable
    def ping_interval(self) -> float | None:
        """As the settings have it."""
        return self.config.ws_ping_interval

    @replaceable
    def ping_timeout(self) -> float | None:
        """As the settings have it."""
        return self.config.ws_ping_timeout
