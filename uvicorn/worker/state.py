"""What the connections of one server share: counters, sets, the coarse clock, the default header fields.

Owns: plain data, changed by the server's one timer and by the connections. Must not: decide anything.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.worker.http.framing import DefaultFields
from uvicorn.worker.outbox import Outbox


class ServerState:
    """Shared by a server and its connections, and read by programs that watch them.

    `connections` holds protocols (each has `shutdown()`), `tasks` the applications' unfinished tasks,
    `total_requests` counts requests begun, `in_flight` those whose application has not returned.
    `now` is the worker's coarse clock: seconds of `time.monotonic()`, renewed at every tick.
    """

    def __init__(self) -> None:
        self.total_requests = 0
        self.in_flight = 0
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.default = DefaultFields([])
        self.now = 0.0
        self.outbox = Outbox()
        self.draining = False
        self.logs_access = False
        self.told_no_websockets = False
        self.limit_concurrency: int | None = None

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The fields every response gets, as byte pairs."""
        return self.default.pairs

    @default_headers.setter
    def default_headers(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.default.pairs = pairs
