"""Attributes of uvicorn 0.54's protocols, for subclasses and programs that read or set them.

Those that have an effect when they are set are properties: the application, and the facts of the connection that go
into scopes. The others can be set as well, but only the program that sets them sees the value. Owns: the names. Must
not: hold data; it stays where our code has it.
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
    """Attributes that both protocols have."""

    __slots__ = ()

    if TYPE_CHECKING:
        _app: Any
        _ends: Endpoints
        _state: ServerState
        config: Config

    logger = logging.getLogger("uvicorn.error")

    @property
    def app(self) -> Any:
        """The application. An assignment takes effect with the next request."""
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def app_state(self) -> dict[str, Any]:
        """The state of the lifespan; each scope gets a copy."""
        return self._ends.state

    @app_state.setter
    def app_state(self, state: dict[str, Any]) -> None:
        self._ends.state = state

    @property
    def client(self) -> tuple[str, int] | None:
        """The peer's address, once there is a transport."""
        return self._ends.client

    @client.setter
    def client(self, client: tuple[str, int] | None) -> None:
        self._ends.client = client

    @property
    def server(self) -> tuple[str, int | None] | None:
        """Our own address, once there is a transport."""
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
        """The path below which a proxy mounts the application."""
        return self._ends.root_path

    @root_path.setter
    def root_path(self, root_path: str) -> None:
        self._ends.root_path, self._ends.root_path_bytes = root_path, root_path.encode()

    @replaceable
    def asgi_version(self) -> str:
        """The ASGI version in scopes."""
        return self._ends.asgi_version

    @replaceable
    def server_state(self) -> ServerState:
        """What the connections of a server share."""
        return self._state

    @replaceable
    def connections(self) -> set[Any]:
        """All connections of the server."""
        return self._state.connections

    @replaceable
    def tasks(self) -> set[asyncio.Task[Any]]:
        """The tasks of all requests of the server that have not ended."""
        return self._state.tasks


class FamiliarConnection(Familiar):
    """An HTTP connection."""

    __slots__ = ()

    if TYPE_CHECKING:
        _exchange: Http1Exchange | None
        logs_access: bool

    never_called = frozenset(
        (
            *(
                "_get_upgrade",
                "_should_upgrade",
                "_should_upgrade_to_ws",
                "_start_asgi_task",
                "handle_websocket_upgrade",
            ),
            *("_unset_keepalive_if_required", "_unsupported_upgrade_warning", "handle_events", "on_body", "on_header"),
            *("on_message_begin", "on_message_complete", "on_url"),
        )
    )
    """Methods of the other package's class that nothing calls here, because those steps are done in another way."""
    access_logger = logging.getLogger("uvicorn.access")

    timeout_keep_alive_task: asyncio.TimerHandle | None = None
    """Only set without a server (`standalone`)."""

    @replaceable
    def ws_protocol_class(self) -> type[Any] | None:
        """The protocol class that gets the transport when a request asks for a WebSocket."""
        return self.config.ws_protocol_class

    @replaceable
    def cycle(self) -> Http1Exchange | None:
        """The request that is being served."""
        return self._exchange

    @replaceable
    def scope(self) -> dict[str, Any] | None:
        """The scope of the request that is being served."""
        return self._exchange.scope if self._exchange is not None else None

    @replaceable
    def headers(self) -> list[tuple[bytes, bytes]] | None:
        """The header fields of the request that is being served."""
        return self._exchange.request.fields if self._exchange is not None else None

    @replaceable
    def access_log(self) -> bool:
        """Whether requests are logged when their response begins."""
        return self.logs_access

    @replaceable
    def limit_concurrency(self) -> int | None:
        """The setting of that name."""
        return self.config.limit_concurrency


class FamiliarSession(Familiar):
    """A WebSocket."""

    __slots__ = ()

    close_timeout = 10.0
    """Seconds in which the peer must answer a close frame, and the transport write what is left."""
    close_timer: asyncio.Handle | None = None
    ping_timer: asyncio.TimerHandle | None = None
    pong_timer: asyncio.TimerHandle | None = None
    """Only set without a server (`standalone`)."""

    @replaceable
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields that every response gets."""
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
        """The setting of that name."""
        return self.config.ws_ping_interval

    @replaceable
    def ping_timeout(self) -> float | None:
        """The setting of that name."""
        return self.config.ws_ping_timeout
