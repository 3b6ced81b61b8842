"""What the connections of one server share: counters, sets, the coarse clock, the default header fields.

Owns: data that the server's timer and the connections change. Must not: decide anything.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.access.log import AccessLog
from uvicorn.worker.http.admission import Admission
from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.transport.outbox import Outbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from uvicorn.config import Config
    from uvicorn.worker.http1.reader import SharedParser
    from uvicorn.worker.loop.pulse import Pulse


class ServerState:
    """Shared by a server and its connections; programs read it, too.

    `connections`: protocols, each with a `shutdown()`. `tasks`: the unfinished tasks of the application.
    `total_requests`: requests received. `in_flight`: those whose application has not returned. `now`: the worker's
    coarse clock, in seconds of `time.monotonic()`, set at every tick. `admission`: None without a concurrency limit.
    `context`: the one that the server was started in; its callbacks run in it, and every call of the application gets a
    copy. `closes`: every response is the last one of its connection. `parser`: what the readers of all connections
    share; the first connection makes it. `alone`: no server has prepared this state, because a program has made a
    protocol itself (`standalone`); its protocols have a timer of their own. `gave_up`: the server cancels the requests
    in progress. `upgrade`: a function of a connection and a request that gives the transport to a WebSocket; False if
    the request is to be served as any other. `http2`: a function of a connection that gives its transport to HTTP/2.
    `traces`: the start and the end of each connection are logged.
    """

    def __init__(self) -> None:
        self.total_requests = 0
        self.in_flight = 0
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.default = DefaultFields([])
        self.now = 0.0
        self.outbox = Outbox()
        self.on_uvloop = False
        self.draining = self.gave_up = False
        self.closes = False
        self.logs_access = False
        self.access = AccessLog()
        self.context = copy_context()
        self.limits = PeerLimits()
        self.admission: Admission | None = None
        self.told_no_upgrade = False
        self.upgrade: Callable[[Any, Any], bool] | None = None
        self.http2: Callable[[Any], None] | None = None
        self.parser: SharedParser | None = None
        self.alone = True
        self.traces = False
        self.pulse: Pulse | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A server is pickled for the process of a reloader; a context cannot be, and is that process's own."""
        return {**vars(self), "context": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, context=copy_context())

    def configure(self, config: Config) -> None:
        """Take over the limits that the options set. What follows is a server's business."""
        self.alone = False
        self.traces = logging.getLogger("uvicorn.error").isEnabledFor(TRACE_LOG_LEVEL)
        self.limits = PeerLimits.of(config)
        self.closes = config.closes
        self.parser = None
        limit, places = config.limit_concurrency, config.limit_queue
        self.admission = None
        if limit:
            self.admission = Admission(limit, limit if places is None else places, config.timeout_queue)

    def left(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """A request is in flight no more: its application has returned, or its handshake was answered. The place is not
        given away here: the next application would be nested in this one.
        """
        self.in_flight -= 1
        if self.admission is not None and self.admission.waiting:
            soon(self.admit_next)

    def admit_next(self) -> None:
        """A request has left: its place is for the first that waits."""
        admit = self.admission.next(self.in_flight) if self.admission is not None else None
        if admit is not None:
            admit()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The fields every response gets, as byte pairs."""
        return self.default.pairs

    @default_headers.setter
    def default_headers(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.default.pairs = pairs
