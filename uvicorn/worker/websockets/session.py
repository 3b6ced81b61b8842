"""ONE ASGI WebSocket session (ASGI specification, WebSocket 2.4), and the asyncio protocol that carries it.

States: READING ──its request──▶ CONNECTING (a session that our own connection makes begins there)
        CONNECTING ──accept──▶ OPEN ──our close──▶ CLOSING ──the peer's close, or its time is over──▶ CLOSED
        CONNECTING ──http.response.start──▶ DENYING ──last body──▶ CLOSED
        OPEN ──the peer's close, a fault, EOF──▶ CLOSED

A connection hands its transport over when a request asks for a WebSocket; from there on this is its protocol. Another
program that has such a request makes a session, gives it the transport (`connection_made`) and the request's bytes.
Messages wait in a bounded queue. When it is `full` the codec keeps what follows as bytes, and only when there are
many of those does the transport pause. Nothing is allocated until something must wait. Time comes from the worker's
one timer (`sweep`): pings, missed pongs, the close handshake, the spread of a drain.

Owns: the session's ASGI messages and the application's task (`carrier` has the transport). Must not: know a frame's
wire form, or parse a request. Fails by: close codes for the peer, `RuntimeError` and `ClientDisconnected` for the
application.
"""

from __future__ import annotations

import asyncio
import http
import logging
import random
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn._types import Message
from uvicorn.errors import BadRequest, ClientDisconnected
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.access.log import CLIENT_LEFT, named, shown, shown_target
from uvicorn.worker.familiar import standalone
from uvicorn.worker.familiar.names import FamiliarSession
from uvicorn.worker.http.departure import is_departure
from uvicorn.worker.http.exchange import TURN
from uvicorn.worker.http.headers import encoded
from uvicorn.worker.http.scope import Endpoints, http_scope
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.framing import plain_response, switching_head
from uvicorn.worker.http1.request_head import UNREAD, RequestHead
from uvicorn.worker.loop.tasks import begin, raised
from uvicorn.worker.transport.carrier import Carrier, meet
from uvicorn.worker.websockets.deflate import Deflate, negotiate
from uvicorn.worker.websockets.denial import Denial
from uvicorn.worker.websockets.handshake import OURS, Offer, Refused, accept_fields
from uvicorn.worker.websockets.wakeup import Wakeup

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.worker.access.followed import Entry

READING, CONNECTING, OPEN, CLOSING, DENYING, CLOSED = range(6)

STALLED_SECONDS = 60.0
"""What the reader of a denial gets to take a part of it."""
SPREAD_SECONDS, SPREAD_PACE = 2.0, 500
"""A drain sends its clients away over this time at most, so that they do not come back at once: so many a second."""
QUEUED_BYTES = 1 << 20
"""Bytes of messages that wait for the application, above which the queue is full."""
UNREAD_BYTES = 1 << 16
"""Bytes that wait behind a full queue, above which reading pauses."""

_log = logging.getLogger("uvicorn.error")


class Session(FamiliarSession, Carrier):
    """Serves one WebSocket. Subclasses name the codec."""

    codec_class: ClassVar[type[Any]]
    library: ClassVar[str] = ""
    """The package that its codec is made of, as a log names it."""
    never_called = frozenset(
        (
            *(
                "asgi_receive",
                "asgi_send",
                "handle_bytes",
                "handle_close",
                "handle_connect",
                "handle_cont",
                "handle_events",
            ),
            *("handle_message", "handle_parser_exception", "handle_ping", "handle_pong", "handle_text", "ws_handler"),
            *("keepalive_timeout", "on_task_complete", "process_request", "process_subprotocol", "run_asgi"),
            *("schedule_ping", "send_500_response", "send_keepalive_ping", "send_receive_event_to_app"),
            *("start_keepalive", "stop_keepalive"),
        )
    )
    """Of the other package's classes: steps that are done otherwise here."""
    lone_class: ClassVar[type[Any]] = standalone.LoneSession

    __slots__ = (
        "_app",
        "_close_at",
        "_closed",
        "_codec",
        "_counted",
        "_deaf",
        "_denial",
        "_early",
        "_ends",
        "_entry",
        "_frames",
        "_lost",
        "_max_queue",
        "_messages",
        "_met",
        "_offer",
        "_owed_pong",
        "_phase",
        "_ping",
        "_pinged_at",
        "_queued",
        "_request",
        "_sent",
        "_told",
        "_wakeup",
        "_write_waiter",
        "active_at",
        "config",
        "full",
        "last_ping_rtt",
        "ping_sent_at",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        state = server_state
        if state.alone:
            _loop = standalone.join(self, config, state, _loop)
        loop = _loop or asyncio.get_running_loop()
        super().__init__(state, loop)
        self.config = config
        self.active_at = state.now
        self._write_waiter: asyncio.Future[None] | None = None
        self.full = False
        self._app = config.loaded_app
        self._request = UNREAD
        self._offer: Offer | None = None
        self._ends = Endpoints(None, None, "http", config.root_path, config.asgi_version, app_state)
        self._met = False
        self._phase = READING
        self._codec: Any = None
        self._denial: Denial | None = None
        self._messages: deque[Message] = deque()
        self._queued = 0
        self._early = b""
        self._told = self._lost = self._deaf = False
        self._closed: tuple[int, str | None] | None = None
        self._sent = self._frames = 0
        self._max_queue = config.ws_max_queue
        self._wakeup = Wakeup(loop)
        self._ping: bytes | None = None
        self._owed_pong: bytes | None = None
        self._pinged_at = self._close_at = self.ping_sent_at = self.last_ping_rtt = 0.0
        self._counted = False
        self._entry: Entry | None = None

    # -- beginning ---------------------------------------------------------------------------------------------

    def met(self, ends: Endpoints) -> None:
        """Whose transport this will be was found out before."""
        self._ends, self._met = ends, True

    def begin(self, request: RequestHead, offer: Offer, early: bytes) -> None:
        """Call the application; `early` is what the peer sent behind its request already."""
        state = self._state
        self._request, self._offer, self._early = request, offer, early
        self._phase = CONNECTING
        state.in_flight += 1  # until the handshake is answered: a WebSocket that is open is not load
        self._counted = True
        scope = self._scope()
        self._entry = state.access.follow(self._request, scope, self._ends.believed())
        task = begin(self._app, scope, self.receive, self.send, self.loop, state.context)
        if task.done():
            self._app_done(task)
            del task  # as there: this frame is below the application's
            return
        state.tasks.add(task)
        task.add_done_callback(state.tasks.discard)
        task.add_done_callback(self._app_done)

    def _scope(self) -> dict[str, Any]:
        assert self._offer is not None
        scope = http_scope(self._request, self._ends)
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
        scope["subprotocols"] = list(self._offer.subprotocols)
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        if "tls" in scope["extensions"]:  # the others are for responses
            extensions["tls"] = scope["extensions"]["tls"]
        scope["extensions"] = extensions
        return scope

    def _answered(self) -> None:
        """The handshake is over."""
        if self._counted:
            self._counted = False
            self._state.left(self.soon)

    # -- the transport's calls ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport was connected before it was ours; whose request was read already comes by `begin`."""
        self.transport = transport  # type: ignore[assignment]  # a stream transport
        self._state.connections.add(self)
        if not self._met:
            meet(self._ends, transport, self.config)
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - WebSocket connection made", self._peer())
        if self._state.draining:
            self.retire()

    def data_received(self, data: bytes) -> None:
        wakeup = self._wakeup
        if wakeup.waiting and self._phase == OPEN and not self._early:
            content = self._codec.whole(data)
            if content is not None:  # nearly always: one message at a time, and the application waits for it
                if type(content) is str:
                    self._messages.append({"type": "websocket.receive", "text": content})
                else:
                    self._messages.append({"type": "websocket.receive", "bytes": content})
                wakeup.wake()
                return
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Bytes of any kind, at any time."""
        codec = self._codec
        if codec is None:  # before the answer: kept, and not without bound
            self._early += data
            if self._phase == READING:
                self._read()
            elif len(self._early) > UNREAD_BYTES:
                self._pause()
            return
        if codec.over:
            return
        if self._early:
            data, self._early = self._early + data, b""
        codec.receive(data)
        if self._messages:
            self._wakeup.wake()
        if self.full and codec.pending > UNREAD_BYTES:
            self._pause()

    def _read(self) -> None:
        """Begin once the request is there, or answer what is none for a WebSocket."""
        from uvicorn.worker.websockets.upgrade import opening

        try:
            found = opening(self._early, self._state)
        except (Refused, BadRequest) as exc:
            extra = exc.headers if isinstance(exc, Refused) else exc.fields
            _log.info("connection rejected (%d %s)", exc.status, exc)
            self.write(plain_response(self._request, exc.status, str(exc), self._state.default, extra))
            self._phase = CLOSED
            self.close()
        else:
            if found is not None:
                self.begin(*found)

    def eof_received(self) -> bool:
        self.flush()
        return False  # a WebSocket has no half-closed state: the transport closes

    def connection_lost(self, exc: Exception | None) -> None:
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - WebSocket connection lost", self._peer())
        self._state.connections.discard(self)
        self._answered()
        self._log_closed()
        if self._phase == CONNECTING:
            _log.info('%s - "WebSocket %s" %d', self._peer(), self._path(), CLIENT_LEFT)
        if self._entry is not None:
            self._entry.end(whole=False)
        self._phase = CLOSED
        self._lost = True
        self._early = b""
        self.drop()
        self._wake_writer()
        if not self.full:
            self._finish()
        self._wakeup.wake()

    def _finish(self) -> None:
        """Nothing more will come: what the application hears at the end, unless a close frame said it."""
        if self._closed is None:
            self._closed = (1012 if self._close_at and self._codec is not None else 1006, None)

    # -- the codec's calls -------------------------------------------------------------------------------------

    def message(self, text: str | None, data: bytes | None) -> None:
        if self._deaf:
            return
        if text is not None:
            self._messages.append({"type": "websocket.receive", "text": text})
            self._queued += len(text)
        else:
            assert data is not None
            self._messages.append({"type": "websocket.receive", "bytes": data})
            self._queued += len(data)
        if self._queued > QUEUED_BYTES or len(self._messages) >= self._max_queue:
            self.full = True

    def pinged(self, payload: bytes) -> None:
        """Answer, or the latest of many when the peer does not read (RFC 6455, 5.5.3)."""
        if not self.writable:
            self._owed_pong = payload
        elif self._phase in (OPEN, CLOSING):
            self.write(self._codec.pong(payload))

    def ponged(self, payload: bytes) -> None:
        if payload == self._ping:
            self._ping = None
            self.last_ping_rtt = self.loop.time() - self.ping_sent_at

    def ended(self, code: int, reason: str, answer: bytes, failed: bool) -> None:
        if self._messages:  # what came before is answered before
            self._wakeup.wake()
        self._log_closed()
        self._phase = CLOSED
        self.active_at = self._state.now
        if self._closed is None:
            self._closed = (code, None if self._close_at else reason)  # then it is the echo of ours
        self._flush_now()
        if self.transport.is_closing():
            failed = False
        elif answer:
            self._write(answer)
        if failed and self.transport.can_write_eof():
            # The peer still sends: closing now would reset the connection under the close frame.
            try:
                self.transport.write_eof()
            except OSError:
                self.as_server(self.transport.abort)  # the peer is gone, and the loop has not heard of it yet
            self._resume()
        else:
            self.close()
        self._wakeup.wake()
        self._wake_writer()

    def resume_writing(self) -> None:
        self.writable = True
        self.active_at = self._state.now
        self._wake_writer()
        pong, self._owed_pong = self._owed_pong, None
        if pong is not None:
            self.pinged(pong)

    def _wake_writer(self) -> None:
        waiter, self._write_waiter = self._write_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _log_closed(self) -> None:
        if self._phase in (OPEN, CLOSING):
            _log.info("connection closed")

    # -- what the application calls ----------------------------------------------------------------------------

    async def receive(self) -> Message:
        """`websocket.connect`, then `websocket.receive` for each message, then `websocket.disconnect`."""
        messages = self._messages
        while not messages:
            if not self._told:  # also where the client has left before anybody asked
                self._told = True
                return {"type": "websocket.connect"}
            if self._closed is not None:
                code, reason = self._closed
                if reason is None:  # nobody said one
                    return {"type": "websocket.disconnect", "code": code}
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            wakeup = self._wakeup
            while wakeup.taken:  # more than one `receive` at the same time
                wakeup = wakeup.following()
            await wakeup
        message = messages.popleft()
        if not messages:
            self._queued = 0
        elif self._queued:
            self._queued -= len(message.get("text") or message.get("bytes") or b"")
        if self.full:
            self._refill()
        return message

    def _refill(self) -> None:
        """Half of the queue was taken: parse on, and read on when little is left."""
        if len(self._messages) > self._max_queue // 2 or self._queued > QUEUED_BYTES // 2:
            return
        self.full = False
        self._pinged_at = self._state.now  # a pong may wait among what was not parsed
        if not self._codec.over:
            self._codec.receive(b"")
        if self.full:
            if self._codec.pending < UNREAD_BYTES:
                self._resume()
        elif self._lost:
            self._finish()
        else:
            self._resume()

    async def send(self, message: Message) -> None:
        """`websocket.accept` or a denial, then `websocket.send` and `websocket.close`.

        Raises ClientDisconnected (an OSError) once the peer has left or is sent away, RuntimeError for a message out
        of order, ValueError or TypeError for what cannot be put on the wire.
        """
        kind = message["type"]
        if self._phase == OPEN and kind == "websocket.send":
            text = message.get("text")
            if text is not None:
                frame = self._codec.text(text)
            else:
                data = message.get("bytes")
                if data is None:
                    return  # neither: there is nothing to send
                frame = self._codec.binary(data if type(data) is bytes else _as_bytes(data))
            self.write(frame)
            self._frames += 1
            if not self.writable:
                await self._room()
            elif not self._frames % TURN:
                await asyncio.sleep(0)
        else:
            self._send_other(kind, message)
            if not self.writable and self._phase == DENYING:
                await self._room()

    def _send_other(self, kind: str, message: Message) -> None:
        phase = self._phase
        if phase == OPEN and kind == "websocket.close":
            code, reason = message.get("code"), message.get("reason") or ""
            code = 1000 if code is None else code
            self._close(code, reason)
            self._deaf = True
            self._messages.clear()
            self._closed = (code, reason)
            self._unblock()
            self._wakeup.wake()
        elif phase == CONNECTING and kind == "websocket.accept":
            self._accept(message.get("subprotocol"), message.get("headers", ()))
        elif phase == CONNECTING and kind == "websocket.close":
            self._deny_plainly(403, "")
        elif phase == CONNECTING and kind == "websocket.http.response.start":
            self._denial = Denial(self._request, message, self._state.default)
            self._phase = DENYING
        elif phase == DENYING and kind == "websocket.http.response.body":
            body = message.get("body")
            self._deny(b"" if body is None else _as_bytes(body), message.get("more_body", False))
        elif phase in (CLOSING, CLOSED) and not self._deaf:
            raise ClientDisconnected("The client has closed the connection, or is sent away.")
        else:
            raise RuntimeError(_out_of_order(kind, phase))

    async def _room(self) -> None:
        """There is room, or there will be none any more."""
        if self._write_waiter is None:
            self._write_waiter = self.loop.create_future()
        await asyncio.shield(self._write_waiter)
        if self._phase == CLOSED:
            raise ClientDisconnected("The client has closed the connection.")

    # -- answers to the handshake ------------------------------------------------------------------------------

    def _accept(self, subprotocol: str | None, headers: Any) -> None:
        config, offer = self.config, self._offer
        assert offer is not None
        answer, agreed = negotiate(offer.extensions) if config.ws_per_message_deflate else (None, None)
        fields = encoded(headers)
        subprotocol = _subprotocol(fields, subprotocol, offer)
        own = accept_fields(offer, subprotocol, answer)
        extra = [(name, value) for name, value in fields if name.lower() not in OURS]
        head = switching_head([*own, *extra], self._state.default)
        if subprotocol is not None and subprotocol not in offer.subprotocols:
            _log.warning("The client did not offer the subprotocol %r, and will probably leave.", subprotocol)
        self._codec = self.codec_class(self, config.ws_max_size, Deflate(agreed) if agreed is not None else None)
        self._phase = OPEN
        self._offer = None
        self._pinged_at = self._state.now
        self._answered()
        _log.info('%s - "WebSocket %s" [accepted]', self._peer(), self._path())
        _log.info("connection open")
        if self._entry is not None:
            self._entry.answered(101, 0, head)
        self.write(head)
        if self._early:
            self.soon(self.data_received, b"")
        self._resume()

    def _deny_plainly(self, status: int, text: str) -> None:
        """A whole response of ours in place of the handshake."""
        self.write(plain_response(self._request, status, text, self._state.default, []))
        self._denied(status, len(text))

    def _deny(self, body: bytes, more: bool) -> None:
        denial = self._denial
        assert denial is not None
        self.active_at = self._state.now
        self.write(denial.part(body, more))
        self._sent += len(body)
        if more:
            return
        if denial.short:
            _log.error("Response content shorter than Content-Length: closing the connection.")
        self._denied(denial.status, self._sent)

    def _denied(self, status: int, sent: int) -> None:
        self._phase = CLOSED
        if self._entry is not None:
            self._entry.answered(status, sent)
        self._deaf = True
        self.active_at = self._state.now
        self._answered()
        if status != 500:
            _log.info('%s - "WebSocket %s" %d', self._peer(), self._path(), status)
        _log.info("connection rejected (%s)", _status_text(status))
        self._closed = (1006, None)
        self.close()
        self._wakeup.wake()

    # -- closing -----------------------------------------------------------------------------------------------

    def _close(self, code: int, reason: str) -> None:
        data = self._codec.close(code, reason)
        self._phase = CLOSING
        self.active_at = self._state.now
        if data:
            self.write(data)

    def _app_done(self, task: asyncio.Task[Any]) -> None:
        try:
            result = task.result()
        except asyncio.CancelledError as exc:
            del task  # as below
            told = self._lost or (self._closed is not None and not self._deaf)
            if not (told or self._state.gave_up):
                _log.error("ASGI callable was cancelled.\n%s", self.named(), exc_info=exc)
            self._failed(None)
        except BaseException as exc:
            del task  # or this frame, which is in the traceback, would keep task and exception alive
            self._failed(raised(exc))
        else:
            if result is not None:
                _log.error("ASGI callable should return None, but returned '%s'.", result)
            if self._phase in (CONNECTING, DENYING):
                _log.error("ASGI callable returned without completing handshake.")
            self._end(1000)

    def _failed(self, exc: BaseException | None) -> None:
        if self._phase in (CLOSED, CLOSING) and exc is not None and is_departure(exc):
            _log.debug("The client left before the application did.")
        elif exc is not None:
            _log.error("Exception in ASGI application\n%s", self.named(), exc_info=exc)
        self._end(1012 if self._state.draining else 1011)

    def _end(self, code: int) -> None:
        """The application has returned: nobody will take what still comes."""
        phase = self._phase
        if phase == CONNECTING or (phase == DENYING and self._denial is not None and not self._denial.begun):
            self._deny_plainly(500, "Internal Server Error")
        elif phase == DENYING:
            self.as_server(self.transport.abort)
        elif phase == OPEN:
            self._close(code, "")
        self._deaf = True
        self._messages.clear()
        self._wakeup.let_go()
        self._unblock()

    def _unblock(self) -> None:
        """The queue is not used any more: what still comes is read only to find the peer's close frame."""
        if self.full:
            self.full = False
            self.soon(self.data_received, b"")
        self._resume()

    # -- what the server calls ---------------------------------------------------------------------------------

    def sweep(self, now: float, keep_alive: float) -> None:
        """Pings and what is overdue. Called by the worker's one timer, seconds of its coarse clock."""
        phase = self._phase
        if phase == OPEN:
            if self._close_at and now >= self._close_at:
                self._close(1012, "")
            else:
                self._ping_or_fail(now)
        elif phase in (CLOSING, CLOSED):
            if now - self.active_at > self.close_timeout:
                self.as_server(self.transport.abort)
        elif phase == READING and now - self.active_at > self._state.limits.header_time:
            self.close()
        elif phase == DENYING and not self.writable and now - self.active_at > STALLED_SECONDS:
            self.as_server(self.transport.abort)

    def _ping_or_fail(self, now: float) -> None:
        interval, timeout = self.config.ws_ping_interval, self.config.ws_ping_timeout
        if not interval:
            return
        since = now - self._pinged_at
        if self._ping is None:
            if since >= interval:
                self._pinged_at = now
                self.ping_sent_at = self.loop.time()
                self._ping = random.randbytes(4)
                self.write(self._codec.ping(self._ping))
        elif timeout and since > timeout and not self.full:  # else the pong may wait among what was not parsed
            _log.info("%s - keepalive ping timeout", self._peer())
            self._codec.fail(1011, "keepalive ping timeout")
        elif not timeout and since >= interval:
            self._ping = None

    def retire(self) -> None:
        """The server drains: the peer is sent away within a moment."""
        if not self._close_at:
            spread = min(SPREAD_SECONDS, len(self._state.connections) / SPREAD_PACE)
            self._close_at = monotonic() + random.random() * spread

    def shutdown(self) -> None:
        """The peer is sent away: now, or when its turn comes in a drain."""
        if not self._close_at:
            self.disconnect()

    def disconnect(self) -> None:
        """The peer is sent away now."""
        self._close_at = self._close_at or monotonic()
        if self._phase == OPEN:
            self._close(1012, "")
        elif self._phase == CONNECTING:
            self._deny_plainly(503, "Service Unavailable")
        elif self._phase == READING:
            self.close()

    def abort(self) -> None:
        """Close without waiting for anything."""
        self.as_server(self.transport.abort)

    def in_work(self, now: float) -> str:
        """What a report of a hang says of this session."""
        return f"WebSocket {self._path()} from {self._peer()}" if self._phase == OPEN else ""

    def named(self) -> str:
        """As a line about a fault names it."""
        return named(self, self._request, self._peer(), f"WebSocket {self._path()}", self._ends.believed())

    def _peer(self) -> str:
        return shown(self._ends.client)

    def _path(self) -> str:
        return shown_target(self._ends.root_path, self._request.target)


def _subprotocol(fields: Sequence[tuple[bytes, ...]], given: str | None, offer: Offer) -> str | None:
    """The subprotocol that an acceptance chooses: `given` by its message, or named among its headers.

    Raises ValueError when they contradict it, or name what the client did not offer (RFC 6455, 4.2.2).
    """
    for name, value in fields:
        if name.lower() != b"sec-websocket-protocol":
            continue
        named = value.decode("latin-1").strip()
        if given is None and named in offer.subprotocols:
            given = named
        elif named != given:
            why = "the client did not offer" if given is None else f"is not the subprotocol {given!r} of the message"
            raise ValueError(f"The header sec-websocket-protocol of 'websocket.accept' says {named!r}, which {why}.")
    return given


def _as_bytes(data: Any) -> bytes:
    """Raises TypeError for what is no bytes, before a byte is on the wire."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"A WebSocket message is text or bytes, not {type(data).__name__}.")


def _status_text(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _out_of_order(kind: str, phase: int) -> str:
    if phase in (CLOSING, CLOSED):
        return f"Unexpected ASGI message '{kind}', after sending 'websocket.close' or response already completed."
    wanted = {
        CONNECTING: "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'",
        DENYING: "'websocket.http.response.body'",
        OPEN: "'websocket.send' or 'websocket.close'",
    }[phase]
    return f"Expected ASGI message {wanted}, but got '{kind}'."
