"""One HTTP/1.1 connection: the asyncio protocol, the same for every codec. `phase` describes its states.

Owns: the transport, the order of requests (the next one is parsed when the previous one was answered), flow control in
both directions, and the decision to close. `active_at` is a time of the worker's coarse clock; the worker's timer calls
`sweep`, and `deadlines` decides what is overdue. Must not: build an ASGI message, or know the format of a header or a
WebSocket. Fails by: answering an invalid request with its status and logging it; never by an exception.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.errors import BadRequest
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.access.log import CLIENT_LEFT, shown
from uvicorn.worker.familiar import cycle, standalone
from uvicorn.worker.familiar.names import FamiliarConnection
from uvicorn.worker.familiar.overridden import OverridableSteps
from uvicorn.worker.http import call
from uvicorn.worker.http.exchange import COMPLETE, HIGH_WATER, STARTED, WAITING
from uvicorn.worker.http.scope import Endpoints, http_scope
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1 import deadlines
from uvicorn.worker.http1.framing import text_response
from uvicorn.worker.http1.phase import GONE, LINGERING, NEW, READING, SERVING, STARTING
from uvicorn.worker.http1.reader import Part, RequestReader, SharedParser
from uvicorn.worker.http1.request_head import UNREAD, RequestHead
from uvicorn.worker.http1.request_line import HTTP2_PREFACE
from uvicorn.worker.http1.response import Http1Exchange
from uvicorn.worker.transport.carrier import Carrier, meet, reset_at_close

if TYPE_CHECKING:
    from uvicorn.config import Config

STALLED_HEAD = 1.0
"""Seconds after which a drain ignores an incomplete head that does not grow."""
TURN = 16
"""Pipelined requests that are served in one turn of the loop."""
SPARED = 100
"""Pipelined requests, received already, that a connection still answers before it announces its end: a request behind
the last response is lost."""
DISCARD_LIMIT = 1 << 20
"""Bytes of an unread request body that are read and dropped to keep the connection; with more, it is closed."""

_HEAD = Part.HEAD

_log = logging.getLogger("uvicorn.error")


class Connection(FamiliarConnection, OverridableSteps, Carrier):
    """Serves the requests of one connection, one after the other. Subclasses name a codec.

    `closing`: the next response is the last one. `eof`: the peer has closed its half.
    """

    codec_class: ClassVar[type[Any]]
    library: ClassVar[str] = ""
    """The package that the codec uses, for logs."""
    lone_class: ClassVar[type[Any]] = standalone.LoneConnection
    door: ClassVar[str] = ""
    """The module from which programs import this class, and in which they may replace `RequestResponseCycle`."""

    __slots__ = (
        "_app",
        "_clock",
        "_discarded",
        "_ends",
        "_exchange",
        "_follows",
        "_new_exchange",
        "_spared",
        "active_at",
        "closing",
        "config",
        "eof",
        "logs_access",
        "phase",
        "reader",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if server_state.alone:
            _loop = standalone.join(self, config, server_state, _loop)
        self.config = config
        super().__init__(server_state, _loop or asyncio.get_running_loop())
        self._app = config.loaded_app
        self._ends = Endpoints(None, None, "http", config.root_path, config.asgi_version, app_state)
        self._exchange: Http1Exchange | None = None
        self.phase = NEW
        self.eof = False
        self._discarded = 0
        self._spared = SPARED
        self._clock: deadlines.PeerClock | None = None
        parser = server_state.parser
        if parser is None or type(parser.codec) is not self.codec_class:
            parser = server_state.parser = SharedParser(self.codec_class(), server_state.limits)
        self.reader = RequestReader(parser)
        self.closing = server_state.draining or server_state.closes
        self.logs_access = server_state.logs_access
        self._follows = server_state.access.follows
        self._new_exchange: Callable[..., Http1Exchange] = Http1Exchange
        made = cycle.replaced(self.door)
        if made is not None:
            self._new_exchange, self._app = cycle.maker(made, Http1Exchange), cycle.by_run_asgi(self._app)
        self.active_at = server_state.now

    # -- what the transport calls ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport: we listen on stream sockets
        self._state.connections.add(self)
        tls = meet(self._ends, transport, self.config)
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - HTTP connection made", shown(self._ends.client))
        if tls is not None:  # this was made before a handshake, perhaps a long one
            if self._state.http2 is not None and tls.selected_alpn_protocol() == "h2":
                self._state.http2(self)
                return
            self.closing = self._state.draining or self._state.closes
            self.active_at = self._state.now

    def apply_proxy_header(self, client: tuple[str, Any] | None, server: tuple[str, Any] | None, tls: bool) -> None:
        """A trusted proxy names the ends of the connection that it passes on."""
        self._ends.replace(client, server, tls)

    def data_received(self, data: bytes) -> None:
        reader = self.reader
        if self.phase >= LINGERING:
            return
        if reader.pending:  # the rest of a message: its deadline stays
            reader.pending += data
        else:
            reader.pending = data
            self.active_at = self._state.now
        exchange = self._exchange
        if exchange is None:
            self._next()
        elif not exchange.body_complete:
            self._body(exchange)
        elif len(reader.pending) > HIGH_WATER:  # pipelined requests wait as bytes, up to a limit
            self._pause()

    def eof_received(self) -> bool:
        """The peer has closed its half. A request in progress is still answered, because the peer may still read."""
        exchange = self._exchange
        over = exchange.phase == COMPLETE if exchange is not None else not self.reader.pending
        if self.phase >= LINGERING or over or self._ends.tls is not None:
            self.flush()
            return False
        self.eof = True
        if exchange is not None:
            exchange.hang_up()
        else:  # between pipelined requests, or within a head: `_next` decides
            self.soon(self._go_on)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.phase = GONE
        self._state.connections.discard(self)
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - HTTP connection lost", shown(self._ends.client))
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            call.forget(self, exchange)
            if self.logs_access and exchange.phase in (WAITING, STARTED) and not self._state.gave_up:
                exchange.log(CLIENT_LEFT)
            exchange.lost()
        self.reader.forget()
        self.reader.pending = b""
        self.drop()
        if self._ends.tls is not None:
            self.transport.close()  # asyncio 3.10 warns of a TLS transport that only its peer has closed

    def resume_writing(self) -> None:
        self.writable = True
        if self._exchange is not None:
            self._exchange.resume_writing()
        elif self.reader.pending:
            self.soon(self._go_on)

    # -- requests ----------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Continue in another turn of the loop with what has arrived before."""
        if self.phase < LINGERING:
            self._next()

    def _next(self) -> None:
        """Serve requests until one is in progress, a head is incomplete, or the transport is full."""
        reader, before, served = self.reader, self.phase, 0
        self.phase = STARTING
        try:
            while self._exchange is None and reader.pending and self.writable and not self.transport.is_closing():
                if served == TURN:  # a long pipeline must not delay other clients
                    self.phase = READING
                    self.soon(self._go_on)
                    return
                request = reader.head()
                if request is None:
                    break
                self._serve(request)
                served += 1
        except BadRequest as exc:
            http2 = self._state.http2
            if http2 is not None and before == NEW and not served and reader.pending.startswith(HTTP2_PREFACE):
                http2(self)
                return
            self.refuse(exc)
        if self._exchange is not None:
            self.phase = SERVING
        elif self.phase == STARTING:  # neither lingering nor gone
            self.phase = READING if served else before
            if reader.pending and not self.writable:
                self._pause()  # `resume_writing` goes on
            elif self.eof:
                self.close()
            elif not self._reading:
                self._resume()

    def _serve(self, request: RequestHead) -> None:
        state = self._state
        state.total_requests += 1
        complete = self.reader.part is _HEAD
        if request.upgrade is not None and state.upgrade is not None and state.upgrade(self, request):
            return
        scope = http_scope(request, self._ends)
        exchange = self._new_exchange(self, request, scope, complete)
        self._exchange = exchange
        if self._follows:
            exchange.entry = state.access.follow(request, exchange.scope, self._ends.believed())
        if self.eof:  # the client closed its half while this request was queued
            exchange.hang_up()
        if not complete:
            self._resume()  # it may have paused while this request waited behind others
            if self.reader.pending:
                self._body(exchange)
                if self._exchange is not exchange:
                    return
        self._start(exchange)

    _start = call.serve

    # -- an upgrade (see `ServerState.upgrade`) ----------------------------------------------------------------

    def hand_over(self) -> bytes:
        """Prepare to give the transport to another protocol. Returns what the client has sent after its request."""
        self.flush()
        self._resume()  # it may have paused while this request waited behind others
        behind, self.reader.pending = self.reader.pending, b""
        return behind

    def handed_over(self) -> None:
        """The transport belongs to another protocol now."""
        self.phase = GONE
        self._state.connections.discard(self)
        if self.eof and not self.transport.get_protocol().eof_received():  # type: ignore[attr-defined]
            self.transport.close()

    def _body(self, exchange: Http1Exchange) -> None:
        """Pass on the part of the body that has arrived."""
        reader = self.reader
        try:
            data = reader.body()
        except BadRequest as exc:
            self.refuse(exc)
            return
        if exchange.phase == COMPLETE:
            self._discarded += len(data)
            if self._discarded > DISCARD_LIMIT:
                self.linger()
        elif data:
            self.active_at = self._state.now
            if not exchange.feed(data):
                self._pause()
        if reader.part is _HEAD:
            exchange.feed_end()
            if exchange.phase == COMPLETE and self._exchange is exchange:
                self._release(exchange)

    # -- what the exchange calls -------------------------------------------------------------------------------

    def body_wanted(self) -> None:
        self.active_at = self._state.now  # until now it was not the peer that was late
        if not self._reading:
            self._resume()

    def response_complete(self, exchange: Http1Exchange) -> None:
        """The whole response was given to the transport."""
        if exchange.left:
            _log.error("Response content shorter than Content-Length: closing the connection.")
            self.end_behind(exchange)
        elif not exchange.keep_alive:
            self.end_behind(exchange)
        elif exchange.body_complete:
            self._release(exchange)
        elif self.eof:
            self.close()  # the rest of the body will never come
        else:  # read and drop the rest of the body before the next request; `sweep` limits the time
            self.active_at = self._state.now
            self._resume()

    def ends_here(self) -> bool:
        """Whether the response that begins now is the last one, since the connection shall end."""
        if self.reader.pending and self._spared and not self._state.closes:
            self._spared -= 1
            return False
        return True

    def end_behind(self, exchange: Http1Exchange) -> None:
        """Close after the last response. A client that did not ask for that may have sent more meanwhile."""
        self.closing = True
        unread = bool(self.reader.pending) or not self._reading
        if not exchange.body_complete or unread or (exchange.request.keep_alive and self._ends.tls is None):
            self.linger()
        else:
            self._exchange = None
            self.close()

    def _release(self, exchange: Http1Exchange) -> None:
        """The exchange has ended: the next request may be parsed."""
        self._exchange = None
        self._discarded = 0
        self.active_at = self._state.now
        if self.phase == STARTING:  # `_next` is on the stack and continues
            return
        self.phase = READING
        if self.reader.pending or self.eof:
            # Not from here: this runs inside the application's `send`, and a chain of pipelined requests would
            # nest one application in the other.
            self.soon(self._go_on)
        elif not self._reading:
            self._resume()

    # -- refusals ----------------------------------------------------------------------------------------------

    def refuse(self, fault: BadRequest) -> None:
        """Answer an invalid request and close. The application is not called for it."""
        if self.phase >= LINGERING:
            return
        self.closing = True
        peer, cause, begin = shown(self._ends.client), str(fault.__cause__ or fault.reason), self.reader.pending[:64]
        _log.info("Invalid HTTP request received. %s - %r (%d): %r", peer, cause, fault.status, begin)
        exchange = self._exchange
        if exchange is not None:
            call.forget(self, exchange)
        if exchange is None or exchange.phase in (WAITING, STARTED):
            self._write_refusal(fault, fault.body)
            if exchange is not None:
                exchange.answered(fault.status, len(fault.body))
            elif self._follows:
                from uvicorn.worker.http1.unread import unread

                self._state.access.tell(unread(self._ends.client, self.reader.pending, fault.status, len(fault.body)))
        if exchange is not None:
            exchange.lost()
            if exchange.unbounded:
                self.abort()
                self._exchange, self.phase = None, LINGERING
                return
        self.linger()

    def _write_refusal(self, fault: BadRequest, body: str) -> None:
        request = self._exchange.request if self._exchange is not None else UNREAD
        self.write(text_response(request, fault.status, body, self._state.default, fault.fields))

    # -- closing -----------------------------------------------------------------------------------------------

    def linger(self) -> None:
        """Close our half and drop what still arrives, because a reset could destroy the response on its way."""
        self._exchange = None
        self.phase = LINGERING
        self.closing = True
        self.reader.pending = b""
        self.active_at = self._state.now
        if self.transport.is_closing() or (not self.eof and self.end_writing()):
            return
        if self._ends.tls is not None:  # TLS has no half-closed state: `sweep` closes
            self._flush_now()
            self._resume()
        else:
            self.close()

    def shutdown(self) -> None:
        """Close now if idle, else after the current response, even if that has announced keep-alive."""
        self.closing = True
        if self._exchange is not None:
            self._exchange.keep_alive = False
        self.close_idle(self._state.now)

    def retire(self) -> None:
        """The next response is the last one. The connection stays open until then, because a client that was not told
        of its end may just be sending a request.
        """
        self.closing = True

    def close_idle(self, since: float) -> None:
        """Close if idle since then (seconds of the coarse clock). An incomplete head that stays so does not count."""
        exchange = self._exchange
        if exchange is not None:
            if exchange.phase == COMPLETE:
                self.linger()
        elif self.reader.pending:
            if self._state.now - self.active_at > STALLED_HEAD:
                self.close()
        elif self.active_at <= since and self.phase < LINGERING:
            self.close()

    def disconnect(self) -> None:
        """Tell the application that its client is gone, because the drain deadline is near."""
        self._spared = 0
        if self._exchange is not None:
            self._exchange.hang_up()

    def abort(self) -> None:
        """Close without waiting for anything. If closing is what ends the response, reset the connection instead, so
        that the client does not take a part for the whole.
        """
        self.closing = True
        if self._exchange is not None and self._exchange.unbounded:
            reset_at_close(self.transport)
        self.as_server(self.transport.abort)

    def sweep(self, now: float, keep_alive: float) -> None:
        """Close if idle or slow for too long. Called by the worker's timer; `now` and `keep_alive` in seconds."""
        if self._clock is None:
            if deadlines.is_idle(self) and now - self.active_at <= min(keep_alive, self._state.limits.header_time):
                self.reader.forget()
                return  # as nearly always
            self._clock = deadlines.PeerClock()
        deadlines.sweep(self, self._clock, now, keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """The peer was idle for `timeout_keep_alive` seconds. A subclass may override this."""
        self.close()

    def in_work(self, now: float) -> str:
        """The request in progress, as a line for people; "" if there is none."""
        exchange = self._exchange
        if exchange is None or exchange.phase == COMPLETE:
            return ""
        return f"{exchange.in_short()}, {now - self.active_at:.1f} s"
