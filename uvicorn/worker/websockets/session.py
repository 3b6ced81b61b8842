"""ONE ASGI WebSocket session (ASGI specification, WebSocket 2.4), and the asyncio protocol that carries it.

States: CONNECTING ──accept──▶ OPEN ──our close──▶ CLOSING ──the peer's close, or its time is over──▶ CLOSED
        CONNECTING ──http.response.start──▶ DENYING ──last body──▶ CLOSED
        OPEN ──the peer's close, a fault, EOF──▶ CLOSED

A connection hands its transport over when a request asks for a WebSocket; from there on this is its protocol. Messages wait
in a bounded queue: above it reading pauses, and it resumes when half of them are taken. Nothing is allocated until something
must wait. Time comes from the worker's one timer (`sweep`): pings, missed pongs, the close handshake, the spread of a drain.

Owns: the session's ASGI messages, its transport and the application's task. Must not: know a frame's wire form, or parse
a request. Fails by: close codes for the peer, `RuntimeError` and `ClientDisconnected` for the application.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable
from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn._types import Message
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.http.fields import Request
from uvicorn.worker.http.framing import CHUNKED, LENGTH, chunk, response_head, switching_head
from uvicorn.worker.http.scope import SPEC_VERSION, Endpoints, http_scope
from uvicorn.worker.outbox import GAP
from uvicorn.worker.state import ServerState
from uvicorn.worker.websockets.handshake import Offer, accept_fields

if TYPE_CHECKING:
    from uvicorn.config import Config

CONNECTING, OPEN, CLOSING, DENYING, CLOSED = range(5)

CLOSE_SECONDS = 10.0
"""What the peer gets to answer a close frame."""
SPREAD_SECONDS = 2.0
"""The clients of a worker that drains are sent away over this time, so that they do not come back at once."""
QUEUED_BYTES = 1 << 20
"""Bytes of messages that wait for the application, above which reading pauses."""

_log = logging.getLogger("uvicorn.error")


class Session(asyncio.Protocol):
    """Serves one WebSocket. Subclasses name the codec."""

    codec: Any
    """The module with `Codec` and `negotiate`."""

    __slots__ = (
        "_app", "_close_at", "_closed", "_codec", "_default", "_early", "_ending", "_ends", "_extension", "_left",
        "_loop", "_messages", "_offer", "_out", "_phase", "_pinged_at", "_pong", "_queued", "_reading", "_request",
        "_size", "_start", "_state", "_told", "_waiter", "_writable", "_write_waiter", "active_at", "config",
        "transport",
    )  # fmt: skip

    def __init__(
        self, config: Config, state: ServerState, request: Request, offer: Offer, ends: Endpoints,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        self.config = config
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until take_over
        self.active_at = state.now
        self._app = config.loaded_app
        self._state = state
        self._request = request
        self._offer = offer
        self._ends = ends
        self._loop = loop
        self._phase = CONNECTING
        self._codec: Any = None
        self._extension: tuple[str | None, Any] = (None, None)
        self._messages: deque[Message] = deque()
        self._queued = 0
        self._early = b""
        self._told = False
        self._closed: tuple[int, str] | None = None
        self._reading = self._writable = True
        self._out = b""
        self._waiter: asyncio.Future[None] | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self._pinged_at = 0.0
        self._pong: bytes | None = None
        self._close_at = 0.0
        self._start: Message | None = None
        self._ending = self._left = 0

    # -- beginning ---------------------------------------------------------------------------------------------

    def take_over(self, transport: asyncio.Transport, early: bytes) -> None:
        """Become the protocol of `transport`; `early` is what the peer sent behind its request already."""
        self.transport = transport
        self._early = early
        self._state.connections.add(self)
        transport.set_protocol(self)
        scope = self._scope()
        try:
            awaitable = self._app(scope, self.receive, self.send)
            task = self._loop.create_task(_awaited(awaitable))
        except Exception as exc:
            self._failed(exc)
            return
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)
        task.add_done_callback(self._app_done)

    def _scope(self) -> dict[str, Any]:
        scope = http_scope(self._request, self._ends)
        del scope["method"]
        scope["type"] = "websocket"
        scope["asgi"]["spec_version"] = SPEC_VERSION
        scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
        scope["subprotocols"] = list(self._offer.subprotocols)
        scope["extensions"] = {**scope.get("extensions", {}), "websocket.http.response": {}}
        return scope

    # -- the transport's calls ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport was connected before it was ours."""

    def data_received(self, data: bytes) -> None:
        if self._phase == CONNECTING:  # before the answer: kept, and not without bound
            self._early += data
            if len(self._early) > QUEUED_BYTES:
                self._pause()
        elif self._codec is not None and not self._codec.over:
            self._codec.receive(data)
            if self._queued > QUEUED_BYTES or len(self._messages) > self.config.ws_max_queue:
                self._pause()

    def eof_received(self) -> bool:
        return False  # a WebSocket has no half-closed state: the transport closes

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        if self._phase in (OPEN, CLOSING):
            _log.info("connection closed")
        self._phase = CLOSED
        self._out = b""
        if self._closed is None:
            self._closed = (1006, "")
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        waiter, self._write_waiter = self._write_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- the codec's calls -------------------------------------------------------------------------------------

    def message(self, text: str | None, data: bytes | None) -> None:
        if text is not None:
            self._queued += len(text)
            self._messages.append({"type": "websocket.receive", "text": text})
        else:
            assert data is not None
            self._queued += len(data)
            self._messages.append({"type": "websocket.receive", "bytes": data})
        if self._waiter is not None:
            self._wake()

    def ponged(self, payload: bytes) -> None:
        if payload == self._pong:
            self._pong = None

    def ended(self, code: int, reason: str) -> None:
        self._closed = (code, reason)
        self._phase = CLOSED
        _log.info("connection closed")
        self._wake()
        self.resume_writing()
        self.flush()
        self.transport.close()

    # -- what the application calls ----------------------------------------------------------------------------

    async def receive(self) -> Message:
        """`websocket.connect`, then `websocket.receive` for each message, then `websocket.disconnect`."""
        if not self._told:
            self._told = True
            return {"type": "websocket.connect"}
        while True:
            if self._messages:
                return self._take()
            if self._closed is not None:
                code, reason = self._closed
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            await asyncio.shield(self._waiter)

    def _take(self) -> Message:
        message = self._messages.popleft()
        if self._reading:
            text = message.get("text")
            self._queued -= len(text if text is not None else message["bytes"])
            return message
        text = message.get("text")
        self._queued -= len(text if text is not None else message["bytes"])
        if len(self._messages) <= self.config.ws_max_queue // 2 and self._queued <= QUEUED_BYTES // 2:
            self._resume()
        return message

    async def send(self, message: Message) -> None:
        """`websocket.accept` or a denial, then `websocket.send` and `websocket.close`.

        Raises ClientDisconnected (an OSError) once the peer has left, RuntimeError for a message out of order,
        ValueError for what cannot be put on the wire.
        """
        kind = message["type"]
        phase = self._phase
        if phase == OPEN and kind == "websocket.send":
            text = message.get("text")
            if text is not None:
                self.write(self._codec.text(text))
            else:
                self.write(self._codec.binary(_as_bytes(message.get("bytes"))))
            if not self._writable:
                await self._drained()
            return
        if phase == CLOSED and self._start is None:
            raise ClientDisconnected("The client has closed the connection.")
        if phase == OPEN and kind == "websocket.close":
            self._close(message.get("code", 1000), message.get("reason") or "")
        elif phase == CONNECTING and kind == "websocket.accept":
            self._accept(message.get("subprotocol"), message.get("headers", ()))
        elif phase == CONNECTING and kind == "websocket.close":
            self._refuse()
        elif phase == CONNECTING and kind == "websocket.http.response.start":
            self._start = message
            self._phase = DENYING
        elif phase == DENYING and kind == "websocket.http.response.body":
            self._deny(message.get("body", b""), message.get("more_body", False))
            if not self._writable and self._phase == DENYING:
                await self._drained()
        elif phase == CLOSING and self._closed is None and self._close_at:
            raise ClientDisconnected("The server is closing the connection.")
        else:
            raise RuntimeError(_out_of_order(kind, phase))

    async def _drained(self) -> None:
        if self._write_waiter is None:
            self._write_waiter = self._loop.create_future()
        await asyncio.shield(self._write_waiter)
        if self._phase == CLOSED:
            raise ClientDisconnected("The client has closed the connection.")

    # -- answers to the handshake ------------------------------------------------------------------------------

    def _accept(self, subprotocol: str | None, headers: Any) -> None:
        config = self.config
        answer, extension = None, None
        if config.ws_per_message_deflate:
            answer, extension = self.codec.negotiate(self._offer.extensions)
        own = accept_fields(self._offer, subprotocol, answer)
        extra = [(name, value) for name, value in headers if name.lower() not in _OURS]
        head = switching_head([*own, *extra], self._state.default)
        self._codec = self.codec.Codec(self, config.ws_max_size, extension)
        self._phase = OPEN
        self._pinged_at = self._state.now
        _log.info('%s - "WebSocket %s" [accepted]', self._peer(), self._path())
        _log.info("connection open")
        self.write(head)
        early, self._early = self._early, b""
        if early:
            self._loop.call_soon(self.data_received, early)
        if not self._reading:
            self._resume()

    def _refuse(self) -> None:
        _log.info('%s - "WebSocket %s" 403', self._peer(), self._path())
        self._plain(403, "Forbidden")

    def _plain(self, status: int, text: str) -> None:
        """A whole response of ours in place of the handshake."""
        body = text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        head, *_ = response_head(self._request, status, headers, self._state.default, False, len(body), False)
        self.write(head + body)
        self._finish_denial()

    def _deny(self, body: bytes, more: bool) -> None:
        body = _as_bytes(body)
        start = self._start
        assert start is not None
        head = b""
        if not self._ending:
            status = start["status"]
            head, self._ending, self._left, _ = response_head(
                self._request, status, start.get("headers", ()), self._state.default, False, len(body), more
            )
            _log.info('%s - "WebSocket %s" %d', self._peer(), self._path(), status)
            self._ending += 1  # 0 says that the head is not sent
        ending = self._ending - 1
        if ending == CHUNKED:
            body = chunk(body, more)
        elif ending == LENGTH:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("Response content longer than Content-Length")
        self.write(head + body)
        if not more:
            self._finish_denial()

    def _finish_denial(self) -> None:
        self._phase = CLOSED
        self._closed = (1006, "")
        self._wake()
        self.flush()
        self.transport.close()

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
        except asyncio.CancelledError:
            self._failed(None)
        except BaseException as exc:
            self._failed(exc)
        else:
            if self._phase == CONNECTING:
                _log.error("ASGI callable returned without sending handshake.")
                self._plain(500, "Internal Server Error")
            elif self._phase == DENYING:
                _log.error("ASGI callable returned without completing response.")
                self.transport.abort()
            else:
                if result is not None:
                    _log.error("ASGI callable should return None, but returned '%s'.", result)
                if self._phase == OPEN:
                    self._close(1000, "")

    def _failed(self, exc: BaseException | None) -> None:
        if isinstance(exc, ClientDisconnected) and self._phase in (CLOSED, CLOSING):
            _log.debug("The client left before the application did.")
        elif exc is not None:
            _log.error("Exception in ASGI application\n", exc_info=exc)
        if self._phase == CONNECTING:
            self._plain(500, "Internal Server Error")
        elif self._phase == DENYING:
            self.transport.abort()
        elif self._phase == OPEN:
            self._close(1012 if self._state.draining else 1011, "")

    # -- what the server calls ---------------------------------------------------------------------------------

    def sweep(self, now: float, keep_alive: float) -> None:
        """Pings and what is overdue. Called by the worker's one timer, seconds of its coarse clock."""
        if self._phase == OPEN:
            if self._close_at and now >= self._close_at:
                self._close(1012, "")
            else:
                self._keep_alive(now)
        elif self._phase == CLOSING and now - self.active_at > CLOSE_SECONDS:
            self.transport.abort()

    def _keep_alive(self, now: float) -> None:
        interval, timeout = self.config.ws_ping_interval, self.config.ws_ping_timeout
        if self._pong is not None:
            if timeout and now - self._pinged_at > timeout:
                _log.info("%s - keepalive ping timeout", self._peer())
                self._codec.fail(1011, "keepalive ping timeout")
        elif interval and now - self._pinged_at >= interval:
            self._pinged_at = now
            self._pong = random.randbytes(4)
            self.write(self._codec.ping(self._pong))

    def retire(self) -> None:
        """The server drains: the peer is sent away within a moment."""
        if not self._close_at:
            self._close_at = self._state.now + random.random() * SPREAD_SECONDS

    def shutdown(self) -> None:
        """The peer is sent away now."""
        self._close_at = self._close_at or self._state.now
        if self._phase == OPEN:
            self._close(1012, "")

    disconnect = shutdown

    def abort(self) -> None:
        """Close without waiting for anything."""
        self.transport.abort()

    def in_work(self, now: float) -> str:
        """What a report of a hang says of this session."""
        return f"WebSocket {self._path()} from {self._peer()}" if self._phase == OPEN else ""

    def _peer(self) -> str:
        client = self._ends.client
        return f"{client[0]}:{client[1]}" if client else ""

    def _path(self) -> str:
        return self._ends.root_path + self._request.line.target.decode("ascii")

    # -- bytes -------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write at the end of this turn of the loop, or now if nobody wrote for a while (see `outbox`)."""
        if self._out:
            self._out += data
            if len(self._out) > QUEUED_BYTES // 16:
                self.flush()
            return
        outbox = self._state.outbox
        before, outbox.last = outbox.last, monotonic()
        if outbox.last - before > GAP or len(data) > QUEUED_BYTES // 16:
            outbox.flush()
            self.transport.write(data)
        else:
            self._out = data
            outbox.add(self, self._loop.call_soon)

    def flush(self) -> None:
        """Write what was held back."""
        data, self._out = self._out, b""
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _pause(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading:
            self._reading = True
            if not self.transport.is_closing():
                self.transport.resume_reading()


_OURS = frozenset(
    (b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions")
)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _as_bytes(data: Any) -> bytes:
    """Raises TypeError for what is no bytes, before a byte is on the wire."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"A WebSocket message is text or bytes, not {type(data).__name__}.")


def _out_of_order(kind: str, phase: int) -> str:
    if phase in (CLOSING, CLOSED):
        return f"Unexpected ASGI message '{kind}', after sending 'websocket.close' or response already completed."
    wanted = {
        CONNECTING: "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'",
        DENYING: "'websocket.http.response.body'",
        OPEN: "'websocket.send' or 'websocket.close'",
    }[phase]
    return f"Expected ASGI message {wanted}, but got '{kind}'."
