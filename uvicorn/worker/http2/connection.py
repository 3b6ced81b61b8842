"""One HTTP/2 connection: the asyncio.Protocol around the machine.

States: OPEN → DRAINING (the first GOAWAY was sent) → DRAINED (the second was sent; new streams are refused) → CLOSING
(everything was sent, or there was a connection error: the peer gets a moment to close).

An HTTP/1.1 connection hands its transport over (`take_over`): over TLS when ALPN has chosen `h2`, in cleartext when the
first bytes are HTTP/2's connection preface.

Owns: the transport, when an application is called, when `out` is written, and when to close. It has no timer: the
worker's one timer calls `sweep`. Must not: know a frame, or build an ASGI message. Fails by: errors of the peer are
logged; it raises nothing.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from uvicorn.errors import BadRequest
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.access.log import named, shown, shown_target
from uvicorn.worker.familiar.names import Familiar
from uvicorn.worker.http.deadlines import WriteClock
from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.http.scope import Endpoints, http_scope
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http2.exchange import TOO_LARGE, Http2Exchange
from uvicorn.worker.http2.fields import Head
from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.heads import response_head
from uvicorn.worker.http2.machine import Machine
from uvicorn.worker.http2.occupant import Occupant
from uvicorn.worker.http2.streams import Stream, Terms
from uvicorn.worker.http2.tunnel import Tunnel
from uvicorn.worker.transport.carrier import Carrier
from uvicorn.worker.transport.outbox import JOIN_LIMIT
from uvicorn.worker.transport.tls import all_sent

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.worker.http.admission import Admission
    from uvicorn.worker.websockets.codec import Codec

PONG_SECONDS = 1.0
"""Seconds for the peer to answer the PING of a drain."""
CLOSE_SECONDS = 1.0
"""Seconds for the peer to close a connection on which everything was sent."""
PARTING = 600.0
"""Seconds for the last response over TLS where the system cannot tell whether it was sent."""

_log = logging.getLogger("uvicorn.error")


class Phase(enum.IntEnum):
    """The phases of a connection."""

    OPEN = 0
    DRAINING = 1
    DRAINED = 2
    CLOSING = 3


class Http2Connection(Familiar, Carrier):
    """Serves the requests of one connection concurrently. It is the sink of its machine."""

    __slots__ = (
        "_app",
        "_codec_class",
        "_ends",
        "_fresh",
        "_heard",
        "_phase",
        "_queued",
        "_sent",
        "_since",
        "_unfinished",
        "_waits",
        "_write_clock",
        "active_at",
        "at_eof",
        "config",
        "default",
        "feeding",
        "logs_access",
        "machine",
    )

    def __init__(
        self,
        config: Config,
        state: ServerState,
        ends: Endpoints,
        loop: asyncio.AbstractEventLoop,
        app: Any,
        terms: Terms,
        codec_class: type[Codec] | None,
    ) -> None:
        super().__init__(state, loop)
        self.config = config
        self._app = app
        self._codec_class = codec_class
        self._ends = ends
        self.default: DefaultFields = state.default
        self.logs_access = state.logs_access
        self._phase = Phase.OPEN
        self.feeding = self._queued = self.at_eof = self._sent = False
        self._waits = self._since = self.active_at = state.now
        self._heard = 0  # the last stream that a sweep has seen
        self._fresh: list[tuple[Stream, Occupant]] = []
        self._unfinished: list[Occupant] = []
        self._write_clock: WriteClock | None = None
        self.machine = Machine(self, terms, state.now)

    @property
    def limits(self) -> PeerLimits:
        """The limits for a peer, from the options."""
        return self._state.limits

    @property
    def admission(self) -> Admission | None:
        """The limit of concurrent requests, if there is one."""
        return self._state.admission

    @property
    def gave_up(self) -> bool:
        """Whether the server cancels running requests."""
        return self._state.gave_up

    @property
    def now(self) -> float:
        """The worker's coarse clock."""
        return self._state.now

    # -- the transport's calls ---------------------------------------------------------------------------------

    def begin(self, transport: asyncio.Transport, early: bytes) -> None:
        """Take over the transport of another protocol; `early` are the bytes that it has received."""
        self.transport = transport
        self._state.connections.add(self)
        if self._state.draining or self._state.closes:
            self.retire()
        if early:
            self.data_received(early)
        else:
            self.wake()

    def data_received(self, data: bytes) -> None:
        machine = self.machine
        if machine.over:
            return
        self.feeding = True
        machine.feed(data, self._state.now)
        while self._fresh:  # after the whole read was parsed: a request that is reset in the same read never runs
            fresh, self._fresh = self._fresh, []
            for stream, occupant in fresh:
                if stream.closed or occupant.begin():
                    machine.finished()
                else:
                    self._unfinished.append(occupant)
        self.feeding = False
        if self._waits or machine.frames.block is not None:  # `_waits` is since when the peer owes something
            self._waits = machine.waits and (self._waits or self._state.now)
        if machine.sender.out and not self._queued:
            self.wake()
        if self._phase and not machine.streams:
            self.go_on_ending()

    def eof_received(self) -> bool:
        """The peer has closed its sending side. Its requests are answered, as far as its windows allow."""
        if self._ends.tls is not None or not self.machine.streams:
            self._write_out()
            return False
        self.at_eof = True
        for occupant in self._occupants():
            occupant.eof()
        self.retire()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - HTTP connection lost", shown(self._ends.client))
        self.machine.over = True
        for stream in list(self.machine.streams.values()):
            stream.closed, stream.window = True, -1
            self.reset(stream)
        self.machine.streams.clear()
        self.machine.sender.out.clear()
        self._unfinished.clear()
        if self._ends.tls is not None:
            self.transport.close()  # asyncio 3.10 warns of a TLS transport that only its peer has closed

    def pause_writing(self) -> None:
        self.writable = False
        self.machine.sender.block()

    def resume_writing(self) -> None:
        self.writable = True
        self.machine.sender.written(False)
        self._write_out()
        if self.writable:
            for stream in list(self.machine.streams.values()):
                if not stream.queued and stream.exchange is not None:
                    stream.exchange.resume_writing()

    # -- out ---------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Write `out`: at the end of this turn of the loop, or now (see `outbox`)."""
        if self.feeding or self._queued:
            return
        if self._state.outbox.takes(self):
            self._queued = True
        else:
            self._by_transport(self._write_out)

    def flush(self) -> None:
        self._queued = False
        self._write_out()

    def _write_out(self) -> None:
        sender = self.machine.sender
        while parts := sender.out:
            sender.out = []
            if sender.held <= JOIN_LIMIT:
                self._put(b"".join(parts))
            else:
                self._put_all(tuple(parts))
            sender.written(not self.writable)

    # -- what the machine calls ----------------------------------------------------------------------------------

    def request(self, stream: Stream, head: Head) -> None:
        state = self._state
        state.total_requests += 1
        occupant: Occupant
        if head.protocol is not None:
            assert self._codec_class is not None  # else extended CONNECT was not announced, and the machine refuses it
            occupant = Tunnel(self, stream, head, self._codec_class)
        else:
            exchange = occupant = Http2Exchange(self, stream, head, http_scope(head, self._ends))
            if state.access.follows:
                exchange.entry = state.access.follow(head, exchange.scope, self.trusted)
        stream.exchange = occupant
        self._fresh.append((stream, occupant))
        if head.content_length is not None and head.content_length > state.limits.body:
            exchange.refuse(TOO_LARGE)

    def refused(self, stream: Stream, fault: BadRequest) -> None:
        self.log_refusal(str(fault.status), fault.reason)
        body = fault.body if self.machine.sender.takes(stream, len(fault.body)) else ""  # nothing waits for a window
        self.respond(stream, "GET", fault.status, body, fault.fields)
        self._state.access.refused(self._ends.client, fault.status, len(body))

    def data(self, stream: Stream, data: bytes) -> None:
        occupant: Occupant | None = stream.exchange
        if occupant is not None:
            occupant.arrived(data)
        else:
            self.machine.intake.taken(stream, stream.owed)

    def reset(self, stream: Stream) -> None:
        occupant: Occupant | None = stream.exchange
        stream.exchange = None
        if occupant is not None:
            occupant.lost()

    def fault(self, number: int, code: int, reason: str) -> None:
        self.log_refusal(f"stream {number}, {Code(code).name}", reason)

    def emptied(self, stream: Stream) -> None:
        if stream.exchange is not None:
            stream.exchange.resume_writing()

    def unfinished(self) -> None:
        """Report to the machine which requests have finished."""
        still = [occupant for occupant in self._unfinished if not occupant.is_over]
        for _ in range(len(self._unfinished) - len(still)):
            self.machine.finished()
        self._unfinished = still

    def failed(self, code: int, reason: str) -> None:
        self.log_refusal(Code(code).name, reason)
        for stream in list(self.machine.streams.values()):
            stream.closed, stream.window = True, -1
            self.reset(stream)
        self.machine.streams.clear()
        self._end()

    def log_refusal(self, what: str, reason: str) -> None:
        """Log an error of the peer."""
        _log.info("Invalid HTTP request received. %s - %r (%s, HTTP/2)", shown(self._ends.client), reason, what)

    # -- responses of the server itself, and log lines ---------------------------------------------------------

    def respond(
        self, stream: Stream, method: str, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send a whole response with a text."""
        body = text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *extra]
        block, bodiless, _ = response_head(method, status, headers, self.default, len(body), False)
        self.machine.sender.respond(stream, block, b"" if bodiless else body, True)
        self.wake()

    @property
    def trusted(self) -> bool:
        """Whether the peer is a trusted proxy."""
        return self._ends.believed()

    def log_access(self, exchange: Http2Exchange, status: int) -> None:
        """Write the access log line of a request."""
        request = exchange.request
        path = shown_target(self._ends.root_path, request.target)
        self._state.access.line(_peer(exchange), request.method, path, request.http_version, status)

    def named(self, exchange: Http2Exchange) -> str:
        """The request of an exchange, for log lines about errors."""
        request, target = exchange.request, shown_target(self._ends.root_path, exchange.request.target)
        line = f"{request.method} {target} HTTP/{request.http_version}"
        return named(exchange.entry, request, _peer(exchange), line, self.trusted)

    def line(self, exchange: Http2Exchange) -> str:
        """The request line and the client of an exchange."""
        request = exchange.request
        return f"{request.method} {shown_target(self._ends.root_path, request.target)} from {_peer(exchange)}"

    def in_work(self, now: float) -> str:
        """The running requests, a line each."""
        return "\n".join(text for one in self._occupants() if (text := one.in_work(now)))

    def _occupants(self) -> list[Occupant]:
        return [stream.exchange for stream in list(self.machine.streams.values()) if stream.exchange is not None]

    # -- closing -------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Ask the peer to open no more streams. Requests that are on their way are served."""
        if self._phase is Phase.OPEN:
            self._phase = Phase.DRAINING
            self._since = self._state.now
            self.machine.drain()
            for occupant in self._occupants():
                occupant.retire()
            self.wake()

    shutdown = retire

    def close_idle(self, since: float) -> None:
        """Drain, and close if no request is running."""
        self.retire()
        if not self.machine.streams:
            self.go_on_ending()

    @property
    def ending(self) -> bool:
        """Whether the connection drains or closes."""
        return self._phase is not Phase.OPEN

    def go_on_ending(self) -> None:
        """Take the next step of a drain, if it is due."""
        if self._phase is Phase.DRAINING and self.machine.is_drained:
            self._phase = Phase.DRAINED
        if self._phase is Phase.DRAINING and self._state.now - self._since >= PONG_SECONDS:
            self.machine.drained()
            self._phase = Phase.DRAINED
        if self._phase is Phase.DRAINED and not self.machine.streams:
            self._end()

    def _end(self) -> None:
        """Send no more, and read on for a moment: closing now could reset the connection under the last frames."""
        self._phase = Phase.CLOSING
        self._since = self._state.now
        self.machine.over = True
        self._by_transport(self._end_writing)

    def _end_writing(self) -> None:
        self._write_out()
        if self.transport.is_closing() or self.at_eof or not self.transport.can_write_eof():
            return  # TLS cannot close one direction: the peer closes, or `sweep` does
        try:
            self.transport.write_eof()
        except OSError:
            self.transport.abort()

    def disconnect(self) -> None:
        """Report a disconnect to the applications: the drain's deadline is near."""
        for occupant in self._occupants():
            occupant.hang_up()

    def abort(self) -> None:
        """Close at once."""
        self._phase = Phase.CLOSING
        self.as_server(self.transport.abort)

    # -- time ----------------------------------------------------------------------------------------------------

    def sweep(self, now: float, keep_alive: float) -> None:
        """Apply the deadlines. Called by the worker's one timer; `now` and `keep_alive` in seconds."""
        if self.transport.is_closing():
            self._part(now)
            return
        if self._phase is Phase.CLOSING:
            if now - self._since > CLOSE_SECONDS and not self.transport.get_write_buffer_size():
                self.as_server(self.transport.close)
            elif now - self._since > self._state.limits.write_time:
                self.abort()
            return
        machine, limits = self.machine, self._state.limits
        self.unfinished()
        if machine.streams or machine.last != self._heard:
            self.active_at, self._heard = now, machine.last
            for occupant in self._occupants():
                occupant.look(now)
        elif self._phase:
            self.go_on_ending()
        elif not self._waits and now - self.active_at > keep_alive and not self.transport.get_write_buffer_size():
            machine.heads.forget()
            self.retire()
        if self._waits and now - self._waits > limits.header_time:
            machine.fail(Code.SETTINGS_TIMEOUT, "preface, SETTINGS or field block not received in time")
            return
        if self._phase is Phase.DRAINING:
            self.go_on_ending()
        unsent = self.transport.get_write_buffer_size()
        if self._write_clock is None:
            if not unsent:
                return
            self._write_clock = WriteClock()
        if self._write_clock.is_stalled(now, unsent, limits.write_time):
            _log.info("Closed a connection that takes nothing of its response: %s", shown(self._ends.client))
            self.abort()

    def _part(self, now: float) -> None:
        """Close TLS without the peer's close_notify, which many never send: once everything was sent, seen twice."""
        if self._ends.tls is not None and (all_sent(self.transport) or now - self._since > PARTING):
            if self._sent:
                self.as_server(self.transport.abort)
            self._sent = True
        else:
            self._sent = False


def _peer(exchange: Http2Exchange) -> str:
    """The client's address, as a trusted proxy gives it."""
    return shown(exchange.scope.get("client"))
