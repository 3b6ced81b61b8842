"""The deadlines of one HTTP/1.1 connection: for a head, a body, the next request, the peer's end of the connection.

`PeerClock` decides from numbers what is overdue. `sweep` collects the numbers of a connection and acts. A connection
gets a clock at the first sweep that does not find it idle. Must not: read the system's clock. Fails by: nothing.
"""

from __future__ import annotations

import enum
import logging
from typing import TYPE_CHECKING

from uvicorn.errors import BadRequest
from uvicorn.worker.access.log import shown
from uvicorn.worker.http import call
from uvicorn.worker.http.deadlines import BodyClock, WriteClock
from uvicorn.worker.http.exchange import COMPLETE, STARTED, Exchange
from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.http1.phase import LINGERING, NEW
from uvicorn.worker.transport.carrier import reset_at_close
from uvicorn.worker.transport.tls import all_sent

if TYPE_CHECKING:
    from uvicorn.worker.http1.connection import Connection

LINGER = 2.0
"""Seconds to read and drop what a peer still sends after the last response."""
PARTING = 600.0
"""Seconds for the last response over TLS if the system cannot tell whether it was sent."""

_log = logging.getLogger("uvicorn.error")


class Awaited(enum.IntEnum):
    """What a connection waits for."""

    NOTHING = 0
    """Nothing from the peer: the application runs, or reading is paused."""
    FIRST = 1
    """The first request."""
    NEXT = 2
    """Another request."""
    HEAD = 3
    """The rest of a head."""
    BODY = 4
    """The rest of a body."""
    REST = 5
    """The rest of the body of a request that was answered, to drop it."""
    END = 6
    """The peer's end, after the last response."""


class Overdue(enum.IntEnum):
    """What is to be done about a connection."""

    NOTHING = 0
    CLOSE = 1
    LINGER = 2
    """Close our half."""
    ABORT = 3
    STALLED = 4
    """Abort: the peer does not take what is written to it."""
    SLOW_HEAD = 5
    """Answer 408."""
    SLOW_BODY = 6
    """Answer 408."""


class PeerClock:
    """What is remembered about one connection between two sweeps."""

    __slots__ = ("_all_sent", "_begun", "_writing")

    def __init__(self) -> None:
        self._writing = WriteClock()
        self._begun: Exchange | None = None
        self._all_sent = False

    def judge(
        self,
        now: float,
        limits: PeerLimits,
        keep_alive: float,
        awaited: Awaited,
        since: float,
        unsent: int,
        received: int = 0,
        body: BodyClock | None = None,
    ) -> Overdue:
        """`since` is when the peer was last heard, `unsent` what its transport holds, `received` the size of the body
        and `body` the clock of the exchange that it is of.
        """
        late = body is not None and body.is_late(now, limits, awaited is Awaited.BODY, since, received)
        if self._writing.is_stalled(now, unsent, limits.write_time):
            return Overdue.STALLED
        quiet = now - since
        if awaited is Awaited.NEXT or awaited is Awaited.FIRST:  # idle time begins when the response
            limit = keep_alive if awaited is Awaited.NEXT else limits.header_time  # has left
            due = quiet > limit and self._writing.is_quiet(now, limit)
            return Overdue.CLOSE if due else Overdue.NOTHING
        if awaited is Awaited.HEAD:
            return Overdue.SLOW_HEAD if quiet > limits.header_time else Overdue.NOTHING
        if awaited is Awaited.BODY:
            return Overdue.SLOW_BODY if late else Overdue.NOTHING
        if awaited is Awaited.REST:
            return Overdue.LINGER if quiet > keep_alive else Overdue.NOTHING
        if awaited is Awaited.END:
            due = quiet > LINGER and self._writing.is_quiet(now, LINGER)
            return Overdue.ABORT if due else Overdue.NOTHING
        return Overdue.NOTHING

    def still_begun(self, exchange: Exchange | None) -> bool:
        """Whether the response of this exchange had started before the last sweep, and still has no body."""
        before = self._begun
        self._begun = exchange if exchange is not None and exchange.phase == STARTED else None
        return self._begun is not None and self._begun is before

    def has_parted(self, sent: bool) -> bool:
        """Whether a closing TLS connection had sent everything, both at this sweep and at the last one."""
        before, self._all_sent = self._all_sent, sent
        return sent and before


def sweep(connection: Connection, clock: PeerClock, now: float, keep_alive: float) -> None:
    """Act on what is overdue. `now` and `keep_alive` in seconds."""
    state, exchange, transport = connection._state, connection._exchange, connection.transport
    quiet = now - connection.active_at
    if connection._ends.tls is not None and transport.is_closing():
        # TLS is closed when the peer answers the close_notify, which many never do.
        if clock.has_parted(all_sent(transport) or quiet > PARTING):
            connection.as_server(transport.abort)
        return
    body = None
    if exchange is not None:
        if state.admission is not None and state.admission.overdue(exchange, now):
            call.refuse(exchange)
            return
        if not exchange.body_complete:
            body = exchange.body_clock = exchange.body_clock or BodyClock(now)
    if clock.still_begun(exchange) and exchange is not None:
        exchange.announce()
    awaited = awaited_by(connection)
    unsent, received = transport.get_write_buffer_size(), connection.reader.received
    overdue = clock.judge(now, state.limits, keep_alive, awaited, connection.active_at, unsent, received, body)
    if overdue:
        _end(connection, overdue, awaited)


def is_idle(connection: Connection) -> bool:
    """Whether a connection waits for a request, and nothing else."""
    if connection._exchange is not None or connection.phase >= LINGERING or connection.reader.pending:
        return False
    return connection.writable and not (connection._ends.tls is not None and connection.transport.is_closing())


def awaited_by(connection: Connection) -> Awaited:
    """What a connection waits for now."""
    exchange = connection._exchange
    if exchange is not None:
        if exchange.body_complete:
            return Awaited.NOTHING
        if exchange.phase == COMPLETE:
            return Awaited.REST
        return Awaited.BODY if connection._reading and not exchange.continue_due else Awaited.NOTHING
    if connection.phase == LINGERING:
        return Awaited.END
    if connection.transport.is_closing() or not connection.writable:
        return Awaited.NOTHING
    pending = connection.reader.pending
    if pending and pending != b"\r\n":  # an empty line behind a request begins none
        return Awaited.HEAD
    return Awaited.FIRST if connection.phase == NEW else Awaited.NEXT


def _end(connection: Connection, overdue: Overdue, awaited: Awaited) -> None:
    if overdue is Overdue.CLOSE and awaited is Awaited.NEXT:
        connection.timeout_keep_alive_handler()
        connection.active_at = connection._state.now  # if a subclass keeps it open: the same time again
    elif overdue is Overdue.CLOSE or (overdue is Overdue.ABORT and connection._ends.tls is not None):
        connection.close()
    elif overdue is Overdue.LINGER:
        connection.linger()
    elif overdue is Overdue.SLOW_HEAD:
        connection.refuse(BadRequest(408, "Request header not complete in time"))
    elif overdue is Overdue.SLOW_BODY:
        connection.refuse(BadRequest(408, "Request body too slow"))
    else:
        if overdue is Overdue.STALLED:
            _log.info("Closed a connection that takes nothing of its response: %s", shown(connection._ends.client))
            reset_at_close(connection.transport)
        connection.abort()
