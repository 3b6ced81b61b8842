"""One HTTP/2 connection: the asyncio.Protocol around the machine.

States: OPEN → DRAINING (the peer was asked to begin nothing more) → DRAINED (it knows; what it still begins is
refused) → CLOSING (everything was said, or the peer did something wrong: it is given a moment to close).

A connection is made by an HTTP/1.1 connection, which hands its transport over (`take_over`): over TLS when both sides
have chosen `h2`, in cleartext when the peer begins with HTTP/2's preface.

Owns: the transport, when an application is called, what is written when, and when to close. Time is not kept here:
the worker's one timer calls `sweep`. Must not: know a frame, or build an ASGI message. Fails by: what the machine
says of its peer is logged; never by an exception.
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
"""Seconds that a peer gets to say that it knows of a drain."""
CLOSE_SECONDS = 1.0
"""Seconds that a peer gets to close a connection on which everything was said."""
PARTING = 600.0
"""Seconds for the last response over TLS where the system cannot say whether it was sent."""

_log = logging.getLogger("uvicorn.error")


class Phase(enum.IntEnum):
    """Of a connection."""

    OPEN = 0
    DRAINING = 1
    DRAINED = 2
    CLOSING = 3


class Http2Connection(Familiar, Carrier):
    """Serves the requests of one connection, all at a time. It is the sink of its machine."""

    __slots__ = (
        "_app",
        "_codec_class",
        "_ends",
        "_eof",
        "_fresh",
        "_phase",
        "_queued",
        "_sent",
        "_since",
        "_unfinished",
        "_waits",
        "_write_clock",
        "active_at",
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
        self.feeding = self._queued = self._eof = self._sent = False
        self._waits = True
        self._since = self.active_at = state.now
        self._fresh: list[tuple[Stream, Occupant]] = []
        self._unfinished: list[Occupant] = []
        self._write_clock: WriteClock | None = None
        self.machine = Machine(self, terms, state.now)

    @property
    def limits(self) -> PeerLimits:
        """What the options allow a peer."""
        return self._state.limits

    @property
    def admission(self) -> Admission | None:
        """Who waits for a place."""
        return self._state.admission

    @property
    def gave_up(self) -> bool:
        """Whether the server cancels what is in work."""
        return self._state.gave_up

    @property
    def now(self) -> float:
        """The worker's coarse clock."""
        return self._state.now

    # -- the transport's calls ---------------------------------------------------------------------------------

    def begin(self, transport: asyncio.Transport, early: bytes) -> None:
        """Go on with a transport that another protocol had; `early` has come already."""
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
        while self._fresh:  # not before all was read: what is reset in the same read never runs
            fresh, self._fresh = self._fresh, []
            for stream, occupant in fresh:
                if stream.closed or occupant.begin():
                    machine.finished()
                else:
                    self._unfinished.append(occupant)
        self.feeding = False
        if self._waits or machine.frames.block is not None:
            self._waits, waited = machine.waits, self._waits
            if self._waits != waited:
                self._since = self._state.now
        if machine.sender.out and not self._queued:
            self.wake()
        if self._phase and not machine.streams:
            self.go_on_ending()

    def eof_received(self) -> bool:
        """The peer sends no more. What it has asked for is answered, as far as its windows allow."""
        if self._ends.tls is not None or not self.machine.streams:
            self._write_out()
            return False
        self._eof = True
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
        """Something is to be written: at the end of this turn of the loop, or now (see `outbox`)."""
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

    # -- what the machine tells ----------------------------------------------------------------------------------

    def request(self, stream: Stream, head: Head) -> None:
        state = self._state
        state.total_requests += 1
        occupant: Occupant
        if head.protocol is not None:
            assert self._codec_class is not None  # else no tunnels were announced, and the machine refuses them
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
        self.respond(stream, "GET", fault.status, fault.body, fault.fields)

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
        """Look which applications have returned."""
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
        """The line about what a peer did wrong."""
        _log.info("Invalid HTTP request received. %s - %r (%s, HTTP/2)", shown(self._ends.client), reason, what)

    # -- answers of ours, and lines in logs ----------------------------------------------------------------------

    def respond(
        self, stream: Stream, method: str, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """A whole response of our own."""
        body = text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *extra]
        block, bodiless, _ = response_head(method, status, headers, self.default, len(body), False)
        self.machine.sender.respond(stream, block, b"" if bodiless else body, True)
        self.wake()

    @property
    def trusted(self) -> bool:
        """Whether the peer is a proxy that is believed."""
        return self._ends.believed()

    def log_access(self, exchange: Http2Exchange, status: int) -> None:
        """The plain line of a request."""
        request = exchange.request
        path = shown_target(self._ends.root_path, request.target)
        self._state.access.line(_peer(exchange), request.method, path, request.http_version, status)

    def named(self, exchange: Http2Exchange) -> str:
        """The request of an exchange, as a line about a fault names it."""
        request, target = exchange.request, shown_target(self._ends.root_path, exchange.request.target)
        line = f"{request.method} {target} HTTP/{request.http_version}"
        return named(exchange.entry, request, _peer(exchange), line, self.trusted)

    def line(self, exchange: Http2Exchange) -> str:
        """A request, and who asks."""
        request = exchange.request
        return f"{request.method} {shown_target(self._ends.root_path, request.target)} from {_peer(exchange)}"

    def in_work(self, now: float) -> str:
        """What is in work, a line each."""
        return "\n".join(text for one in self._occupants() if (text := one.in_work(now)))

    def _occupants(self) -> list[Occupant]:
        return [stream.exchange for stream in list(self.machine.streams.values()) if stream.exchange is not None]

    # -- closing -------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Ask the peer to begin nothing more. What it has begun until it knows is served."""
        if self._phase is Phase.OPEN:
            self._phase = Phase.DRAINING
            self._since = self._state.now
            self.machine.drain()
            for occupant in self._occupants():
                occupant.retire()
            self.wake()

    shutdown = retire

    def close_idle(self, since: float) -> None:
        """Close if nothing is in work, as soon as the peer knows of it."""
        self.retire()
        if not self.machine.streams:
            self.go_on_ending()

    @property
    def ending(self) -> bool:
        """Whether the peer was asked to begin nothing more."""
        return self._phase is not Phase.OPEN

    def go_on_ending(self) -> None:
        """Take the next step of its end, if everything for that is there."""
        if self._phase is Phase.DRAINING and self.machine.is_drained:
            self._phase = Phase.DRAINED
        if self._phase is Phase.DRAINING and self._state.now - self._since >= PONG_SECONDS:
            self.machine.drained()
            self._phase = Phase.DRAINED
        if self._phase is Phase.DRAINED and not self.machine.streams:
            self._end()

    def _end(self) -> None:
        """Say no more, and hear the peer for a moment: closing now would reset the connection under the last frames."""
        self._phase = Phase.CLOSING
        self._since = self._state.now
        self.machine.over = True
        self._by_transport(self._end_writing)

    def _end_writing(self) -> None:
        self._write_out()
        if self.transport.is_closing() or self._eof or not self.transport.can_write_eof():
            return  # TLS has no half to close: the peer closes, or `sweep` does
        try:
            self.transport.write_eof()
        except OSError:
            self.transport.abort()

    def disconnect(self) -> None:
        """Tell the applications that their peer is gone: the drain's deadline is near."""
        for occupant in self._occupants():
            occupant.hang_up()

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._phase = Phase.CLOSING
        self.as_server(self.transport.abort)

    # -- time ----------------------------------------------------------------------------------------------------

    def sweep(self, now: float, keep_alive: float) -> None:
        """End what was idle or slow for too long. Called by the worker's one timer; `now` and limits in seconds."""
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
        if machine.streams:
            self.active_at = now
            for occupant in self._occupants():
                occupant.look(now)
        elif self._phase:
            self.go_on_ending()
        elif not self._waits and now - self.active_at > keep_alive and not self.transport.get_write_buffer_size():
            machine.heads.forget()
            self.retire()
        if self._waits and now - self._since > limits.header_time:
            machine.fail(Code.SETTINGS_TIMEOUT, "a preface, settings or a header block that did not come in time")
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
        """Closing TLS waits for the peer's word, which many never say: go once everything was sent, seen twice."""
        if self._ends.tls is not None and (all_sent(self.transport) or now - self._since > PARTING):
            if self._sent:
                self.as_server(self.transport.abort)
            self._sent = True
        else:
            self._sent = False


def _peer(exchange: Http2Exchange) -> str:
    """Who asks, as a trusted proxy says it."""
    return shown(exchange.scope.get("client"))
