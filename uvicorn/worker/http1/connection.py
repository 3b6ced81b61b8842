"""One HTTP connection: the ONE asyncio.Protocol for every codec.

States: READING (no request in work; bytes of a head may be there) → SERVING (one exchange) → READING …, and at the end
LINGERING (a last response was written while the peer still sends: its bytes are dropped for a moment, because closing
now would reset the connection under the response) → closed.

Owns: the transport, order (the next request is parsed when the one before was answered), flow control both ways, when
to close, and the task of the application. Time is not kept here: `active_at` is a reading of the worker's coarse clock,
the worker's one timer calls `sweep`, and `limits` judges. Must not: build an ASGI message, know a header's wire form.
Fails by: answering the peer's fault with its status, the application's with 500, both logged; never by an exception.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.errors import BadRequest
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.access.log import CLIENT_LEFT, named, shown, shown_target
from uvicorn.worker.familiar import cycle, standalone
from uvicorn.worker.familiar.names import FamiliarConnection
from uvicorn.worker.familiar.overridden import Heeding, heed
from uvicorn.worker.http import call
from uvicorn.worker.http.exchange import COMPLETE, HIGH_WATER, STARTED, WAITING
from uvicorn.worker.http.limits import Verdict, Wait, Watch
from uvicorn.worker.http.scope import Endpoints, http_scope
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.framing import plain_response
from uvicorn.worker.http1.reader import Part, RequestReader, Shared
from uvicorn.worker.http1.request_head import UNREAD, RequestHead
from uvicorn.worker.http1.response import Http1Exchange
from uvicorn.worker.transport.carrier import Carrier, meet
from uvicorn.worker.transport.tls import all_sent

if TYPE_CHECKING:
    from uvicorn.config import Config

STALLED_HEAD = 1.0
"""Seconds after which a drain takes a head that is not complete for nothing."""
PARTING = 600.0
"""Seconds for the last response over TLS where the system cannot say whether it was sent."""
TURN = 16
"""Pipelined requests that are begun in one turn of the loop."""
SPARED = 100
"""Pipelined requests that were there already which a connection that shall end still answers before it says so: what is
sent behind an announced end is lost."""
DISCARD_LIMIT = 1 << 20
"""Bytes of an unread request body that are dropped to keep the connection; above it is closed."""

_HEAD = Part.HEAD

_log = logging.getLogger("uvicorn.error")


class Connection(FamiliarConnection, Heeding, Carrier):
    """Serves the requests of one connection, one after the other. Subclasses name a codec."""

    codec_class: ClassVar[type[Any]]
    library: ClassVar[str] = ""
    """The package that its codec is made of, as a log names it."""
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
    """Of the other package's class: steps that are done otherwise here."""
    lone_class: ClassVar[type[Any]] = standalone.LoneConnection
    door: ClassVar[str] = ""
    """The module in which programs know this class, and change what serves its requests."""

    __slots__ = (
        "_advancing",
        "_app",
        "_discarded",
        "_ends",
        "_eof",
        "_exchange",
        "_follows",
        "_fresh",
        "_late",
        "_lingering",
        "_new_exchange",
        "_refused",
        "_sent",
        "_spared",
        "_watch",
        "active_at",
        "closing",
        "config",
        "logs_access",
        "reader",
    )

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        cls.heed()

    @classmethod
    def heed(cls) -> None:
        """Call what is overridden of the other package's methods (`overridden`)."""
        heed(cls, Connection)

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
        self._late: Http1Exchange | None = None  # whose head waited for its body in the last sweep
        self._fresh = True
        self._advancing = self._eof = self._lingering = self._refused = self._sent = False
        self._discarded = 0
        self._spared = SPARED
        self._watch: Watch | None = None
        shared = server_state.shared
        if shared is None or type(shared.codec) is not self.codec_class:
            shared = server_state.shared = Shared(self.codec_class(), server_state.limits)
        self.reader = RequestReader(shared)
        self.closing = server_state.draining or server_state.closes
        self.logs_access = server_state.logs_access
        self._follows = server_state.access.follows
        self._new_exchange: Callable[..., Http1Exchange] = Http1Exchange
        made = cycle.replaced(self.door)
        if made is not None:
            self._new_exchange, self._app = cycle.maker(made, Http1Exchange), cycle.by_run_asgi(self._app)
        self.active_at = server_state.now

    # -- the transport's calls ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport: we listen on stream sockets
        self._state.connections.add(self)
        tls = meet(self._ends, transport, self.config)
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - HTTP connection made", shown(self._ends.client))
        if tls is not None:
            if tls.selected_alpn_protocol() == "h2" and self._state.http2 is not None:
                self._state.http2(self)
                return
            self.closing = (
                self._state.draining or self._state.closes
            )  # it was made before a handshake, perhaps a long one
            self.active_at = self._state.now

    def apply_proxy_header(self, client: tuple[str, Any] | None, server: tuple[str, Any] | None, tls: bool) -> None:
        """A trusted proxy names the ends of the connection that it passes on. A client without an address is not
        believed, whatever the proxy's own is.
        """
        ends = self._ends
        if client is None or client[1] is None:
            ends.trusted = ends.proxies is not None and ends.proxies.everybody
        if client is not None or server is not None:
            ends.client, ends.server = client, server
        if tls:
            ends.scheme = "https"

    def data_received(self, data: bytes) -> None:
        reader = self.reader
        if self._lingering:
            return
        if reader.pending:  # the rest of something that began earlier: its time goes on
            reader.pending += data
        else:
            reader.pending = data
            self.active_at = self._state.now
        exchange = self._exchange
        if exchange is None:
            self._next()
        elif not exchange.body_complete:
            self._body(exchange)
        elif len(reader.pending) > HIGH_WATER:  # pipelined requests wait as bytes, and not without bound
            self._pause()

    def eof_received(self) -> bool:
        """The peer sends no more. A request in work is still answered: the peer may only have closed its half."""
        exchange = self._exchange
        over = exchange.phase == COMPLETE if exchange is not None else not self.reader.pending
        if self._lingering or over or self._ends.tls is not None:
            self.flush()
            return False
        self._eof = True
        if exchange is not None:
            exchange.hang_up()
        else:  # between two pipelined requests, or in the middle of a head: `_next` tells
            self.soon(self._next)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - HTTP connection lost", shown(self._ends.client))
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            call.forget(self, exchange)
            if self.logs_access and exchange.phase in (WAITING, STARTED) and not self._state.gave_up:
                self.log_access(exchange, CLIENT_LEFT)
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
            self.soon(self._next)

    # -- requests ----------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Serve what is there, until one is in work, a head is not complete, or the peer takes no more answers."""
        reader = self.reader
        self._advancing = True
        try:
            served = 0
            while self._exchange is None and reader.pending and self.writable and not self.transport.is_closing():
                if served == TURN:  # one client's pipeline must not hold up the others
                    self.soon(self._next)
                    return
                request = reader.head()
                if request is None:
                    break
                self._serve(request)
                served += 1
        except BadRequest as exc:
            self._refuse(exc)
        finally:
            self._advancing = False
        if self._exchange is None:
            if reader.pending and not self.writable:
                self._pause()  # `resume_writing` goes on
            elif self._eof:
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
            exchange.entry = state.access.follow(request, exchange.scope, self.trusted)
        self._fresh = False
        if self._eof:  # it stood behind another request when the client closed its half
            exchange.hang_up()
        if not complete:
            if self._watch is not None:
                self._watch.new_body()
            self._resume()  # it paused, perhaps, while this request waited behind others
            if self.reader.pending:
                self._body(exchange)
                if self._exchange is not exchange:
                    return
        self._start(exchange)

    _start = call.serve

    # -- an upgrade (see `ServerState.upgrade`) ----------------------------------------------------------------

    def hand_over(self) -> bytes:
        """Another protocol is about to get the transport. What the client has sent behind its request."""
        self.flush()
        self._resume()  # it paused, perhaps, while this request waited behind others
        behind, self.reader.pending = self.reader.pending, b""
        return behind

    def handed_over(self) -> None:
        """The transport is another protocol's."""
        self._state.connections.discard(self)
        if self._eof and not self.transport.get_protocol().eof_received():  # type: ignore[attr-defined]
            self.transport.close()

    def refuse_upgrade(
        self, request: RequestHead, status: int, reason: str, fields: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Answer a request that asks for an upgrade which it cannot have, and close."""
        _log.info("connection rejected (%d %s)", status, reason)
        entry = self._state.access.follow(request, http_scope(request, self._ends), self.trusted)
        if entry is not None:
            entry.answered(status, len(reason))
        self.write(plain_response(request, status, reason, self._state.default, fields))
        self._linger()

    def _body(self, exchange: Http1Exchange) -> None:
        """Hand on what has arrived of the request's body."""
        reader = self.reader
        try:
            data = reader.body()
        except BadRequest as exc:
            self._refuse(exc)
            return
        if exchange.phase == COMPLETE:
            self._discard(len(data))
        elif data:
            self.active_at = self._state.now
            if not exchange.feed(data):
                self._pause()
        if reader.part is _HEAD:
            exchange.feed_end()
            if exchange.phase == COMPLETE and self._exchange is exchange:
                self._release(exchange)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > DISCARD_LIMIT:
            self._linger()

    # -- the exchange's calls ------------------------------------------------------------------------------------

    def body_wanted(self) -> None:
        self.active_at = self._state.now  # until now the peer was not to blame
        if not self._reading:
            self._resume()

    @property
    def trusted(self) -> bool:
        return self._ends.believed()

    def log_access(self, exchange: Http1Exchange, status: int) -> None:
        request = exchange.request
        path = shown_target(self._ends.root_path, request.target)
        self._state.access.line(_peer(exchange), request.method, path, request.http_version, status)

    def named(self, exchange: Http1Exchange) -> str:
        """The request of an exchange, as a line about a fault names it."""
        request, target = exchange.request, shown_target(self._ends.root_path, exchange.request.target)
        line = f"{request.method} {target} HTTP/{request.http_version}"
        return named(exchange.entry, request, _peer(exchange), line, self.trusted)

    def response_complete(self, exchange: Http1Exchange) -> None:
        """The last byte of the response was handed to the transport."""
        if exchange.left:
            _log.error("Response content shorter than Content-Length: closing the connection.")
            self._end_behind(exchange)
        elif not exchange.keep_alive:
            self._end_behind(exchange)
        elif exchange.body_complete:
            self._release(exchange)
        elif self._eof:
            self.close()  # the rest of the body will never come
        else:  # the rest of the body is dropped, so that the next request can be read; `sweep` waits for it
            self.active_at = self._state.now
            self._resume()

    def ends_here(self) -> bool:
        """Whether the response that begins now is the last one, since the connection shall end."""
        if self.reader.pending and self._spared and not self._state.closes:
            self._spared -= 1
            return False
        return True

    def _end_behind(self, exchange: Http1Exchange) -> None:
        """The last response was written. A client that did not ask for the end may have sent more meanwhile."""
        self.closing = True
        unread = bool(self.reader.pending) or not self._reading
        if not exchange.body_complete or unread or (exchange.request.keep_alive and self._ends.tls is None):
            self._linger()
        else:
            self._exchange = None
            self.close()

    def _release(self, exchange: Http1Exchange) -> None:
        """The exchange is over: the next request may be parsed."""
        self._exchange = None
        self._discarded = 0
        self.active_at = self._state.now
        if self._advancing:  # `_next` is on the stack and goes on by itself
            return
        if self.reader.pending or self._eof:
            # Not from here: this runs inside the application's `send`, and a chain of pipelined requests would
            # nest one application in the other.
            self.soon(self._next)
        elif not self._reading:
            self._resume()

    # -- our own answers ---------------------------------------------------------------------------------------

    def cut(self, exchange: Http1Exchange) -> None:
        """The rest of a response will never come: its client must not take what it has for the whole."""
        self.closing = True
        if exchange.unbounded:
            self.abort()
        else:
            self._end_behind(exchange)

    def unanswered(self, exchange: Http1Exchange) -> None:
        """The application has ended without a response, because its client left or because it was told so."""
        self.closing = True
        if self._eof:
            self.close()
        else:  # the server said so, because its time is over
            exchange.answer(503, "Service Unavailable")

    def _refuse(self, fault: BadRequest) -> None:
        """Answer what is no acceptable request, once, and close. The application does not hear of it."""
        if self._refused:
            return
        if fault.status == 505 and self._speaks_http2():
            return
        self._refused = self.closing = True
        cause, begin = fault.__cause__ or fault.reason, self.reader.pending[:64]
        _log.info(
            "Invalid HTTP request received. %s - %r (%d): %r",
            shown(self._ends.client),
            str(cause),
            fault.status,
            begin,
        )
        exchange = self._exchange
        if exchange is not None:
            call.forget(self, exchange)
        if exchange is None or exchange.phase in (WAITING, STARTED):
            self._write_refusal(fault, fault.body)
            if exchange is not None:
                exchange.answered(fault.status, len(fault.body))
            else:
                self._log_refusal(fault)
        if exchange is not None:
            exchange.lost()
            if exchange.unbounded:
                self.abort()
                return
        self._linger()

    def _speaks_http2(self) -> bool:
        """Whether the client begins with HTTP/2's preface, and somebody serves that (RFC 9113, 3.4)."""
        serve = self._state.http2
        if serve is None or not self._fresh or not self.reader.pending.startswith(b"PRI * HTTP/2.0\r\n\r\n"):
            return False
        serve(self)
        return True

    def _log_refusal(self, fault: BadRequest) -> None:
        if self._follows:
            from uvicorn.worker.http1.unread import unread

            self._state.access.tell(unread(self._ends.client, self.reader.pending, fault.status, len(fault.body)))

    def _write_refusal(self, fault: BadRequest, body: str) -> None:
        request = self._exchange.request if self._exchange is not None else UNREAD
        self.write(plain_response(request, fault.status, body, self._state.default, fault.fields))

    # -- closing -----------------------------------------------------------------------------------------------

    def _linger(self) -> None:
        """Close our half and drop what still comes: a reset would take the response from the peer."""
        self._exchange = None
        self._lingering = self.closing = True
        self.reader.pending = b""
        self.active_at = self._state.now
        if self.transport.is_closing():
            return
        if not self._eof and self.end_writing():
            return
        if self._ends.tls is not None:  # it has no half to close: `sweep` closes the whole
            self._flush_now()
            self._resume()
        else:
            self.close()

    def shutdown(self) -> None:
        """Close now if idle, else after the response in work, whatever that has said."""
        self.closing = True
        if self._exchange is not None:
            self._exchange.keep_alive = False
        self.close_idle(self._state.now)

    def retire(self) -> None:
        """The next response is the last one. Until it was sent the connection is left open: whoever was not told of its
        end may be about to ask again.
        """
        self.closing = True

    def close_idle(self, since: float) -> None:
        """Close if idle since then (seconds of the coarse clock). A head that stands still for long is no request."""
        exchange = self._exchange
        if exchange is not None:
            if exchange.phase == COMPLETE:
                self._linger()
        elif self.reader.pending:
            if self._state.now - self.active_at > STALLED_HEAD:
                self.close()
        elif self.active_at <= since and not self._lingering:
            self.close()

    def disconnect(self) -> None:
        """Tell the application that its peer is gone: the drain deadline is near."""
        self._spared = 0
        if self._exchange is not None:
            self._exchange.hang_up()

    def abort(self) -> None:
        """Close without waiting for anything. A part of a response must not look like the whole: where only the end of
        the connection says which it is, the peer gets a reset.
        """
        self.closing = True
        if self._exchange is not None and self._exchange.unbounded:
            _reset_at_close(self.transport)
        self.as_server(self.transport.abort)

    def sweep(self, now: float, keep_alive: float) -> None:
        """End what was idle or slow for too long. Called by the worker's one timer; `now` and limits in seconds."""
        if self._ends.tls is not None and self.transport.is_closing():
            self._part(now - self.active_at)
            return
        state, exchange, reader = self._state, self._exchange, self.reader
        if state.admission is not None and exchange is not None and state.admission.overdue(exchange, now):
            call.refuse(exchange)
            return
        late = exchange if exchange is not None and exchange.phase == STARTED else None
        if late is not None and late is self._late:
            late.announce()
        self._late = late
        watch = self._watch
        if watch is None:
            idle = exchange is None and self.writable and not (reader.pending or self._lingering)
            if idle and now - self.active_at <= min(keep_alive, state.limits.header_time):
                reader.forget()
                return  # as most are, in most sweeps
            watch = self._watch = Watch(now)
        unsent = self.transport.get_write_buffer_size()
        verdict = watch.judge(now, state.limits, keep_alive, self._waits_for(), self.active_at, unsent, reader.received)
        if verdict:
            self._end(verdict)

    def _waits_for(self) -> Wait:
        exchange = self._exchange
        if exchange is not None:
            if exchange.body_complete:
                return Wait.NOBODY
            if exchange.phase == COMPLETE:
                return Wait.REST
            return Wait.BODY if self._reading and not exchange.continue_due else Wait.NOBODY
        if self._lingering:
            return Wait.END
        if self.transport.is_closing() or not self.writable:
            return Wait.NOBODY
        if self.reader.pending and self.reader.pending != b"\r\n":  # an empty line behind a request begins none
            return Wait.HEAD
        return Wait.FIRST if self._fresh else Wait.NEXT

    def _end(self, verdict: Verdict) -> None:
        if verdict is Verdict.CLOSE and not self._fresh:
            self.timeout_keep_alive_handler()
            self.active_at = self._state.now  # if it goes on, for as long again
        elif verdict is Verdict.CLOSE or (verdict is Verdict.ABORT and self._ends.tls is not None):
            self.close()
        elif verdict is Verdict.LINGER:
            self._linger()
        elif verdict is Verdict.SLOW_HEAD:
            self._refuse(BadRequest(408, "Request header not complete in time"))
        elif verdict is Verdict.SLOW_BODY:
            self._refuse(BadRequest(408, "Request body too slow"))
        else:
            if verdict is Verdict.STALLED:
                _log.info("Closed a connection that takes nothing of its response: %s", shown(self._ends.client))
                _reset_at_close(self.transport)
            self.abort()

    def timeout_keep_alive_handler(self) -> None:
        """The peer was idle for `timeout_keep_alive` seconds. A subclass may do otherwise."""
        self.close()

    def in_work(self, now: float) -> str:
        """The request that is in work, in a line for a person; "" when there is none."""
        exchange = self._exchange
        if exchange is None or exchange.phase == COMPLETE:
            return ""
        target = shown_target(self._ends.root_path, exchange.request.target)
        return f"{exchange.request.method} {target} from {_peer(exchange)}, {now - self.active_at:.1f} s"

    def _part(self, quiet: float) -> None:
        """Closing TLS waits for the peer's word, which many never say: go once everything was sent, seen twice."""
        if all_sent(self.transport) or quiet > PARTING:
            if self._sent:
                self.as_server(self.transport.abort)
            self._sent = True
        else:
            self._sent = False


def _reset_at_close(transport: asyncio.Transport) -> None:
    """Closing resets the connection, and drops what the kernel holds: it would keep that for minutes, for a peer that
    takes nothing.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _peer(exchange: Http1Exchange) -> str:
    """Who asks, as a trusted proxy says it."""
    return shown(exchange.scope.get("client"))
