"""ONE ASGI WebSocket session (ASGI specification, WebSocket 2.4): what the application hears, and may send when.

Phases:  CONNECTING ──accept──▶ OPEN ──the peer left, or the server sent it away──▶ LEFT
         CONNECTING ──http.response.start──▶ DENYING ──last body──▶ DONE
         CONNECTING ──close──▶ DONE ◀──close── OPEN
         CONNECTING, DENYING ──the peer left──▶ LEFT
         any ──the application has ended──▶ ENDED

In LEFT the messages that came before are still received, and `send` raises ClientDisconnected. In DONE nothing is
received but the disconnect, and `send` raises RuntimeError: the application itself has ended the session. Messages wait
in a bounded queue; `Frames` stops parsing while it is full.

Owns: the order of ASGI messages, the queue, and what becomes of the session when its application ends (`call` runs it).
Must not: know a frame's wire form, HTTP/1.1 or a transport: it talks to a `Wire` and to `Frames`. Fails by:
`RuntimeError` and `ClientDisconnected` in the application; for the peer a response with status 500, or close code 1011
(1012 in a drain).
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn._types import Message
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.access.log import CLIENT_LEFT, named, shown, shown_target
from uvicorn.worker.http import call
from uvicorn.worker.http.headers import encoded
from uvicorn.worker.http.payload import TURN, as_bytes
from uvicorn.worker.http.request import Request
from uvicorn.worker.http.scope import Endpoints, http_scope
from uvicorn.worker.websockets.codec import Codec
from uvicorn.worker.websockets.deflate import Deflate, negotiate
from uvicorn.worker.websockets.frames import SERVICE_RESTART, Frames
from uvicorn.worker.websockets.handshake import SERVER_FIELDS, Offer, choose_subprotocol
from uvicorn.worker.websockets.reusable_future import ReusableFuture

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.worker.websockets.wire import Wire

CONNECTING, DENYING, OPEN, LEFT, DONE, ENDED = range(6)

QUEUED_BYTES = 1 << 20
"""Bytes of messages that wait for the application, above which the queue is full."""

_MESSAGE = "A WebSocket message is text or bytes"

_log = logging.getLogger("uvicorn.error")


class Session:
    """`receive` and `send` of one WebSocket.

    `messages`: those that the application has not taken. `in_flight` belongs to `call`: a session counts as load until
    its handshake is answered. `frames`: None before the handshake is accepted.
    """

    SETTLED: ClassVar[int] = ENDED

    __slots__ = (
        "_codec",
        "_codec_class",
        "_config",
        "_connect_told",
        "_denied_bytes",
        "_denied_status",
        "_disconnect",
        "_ends",
        "_entry",
        "_max_queue",
        "_offer",
        "_queued_bytes",
        "_request",
        "_sends",
        "_wire",
        "_write_waiter",
        "frames",
        "in_flight",
        "loop",
        "messages",
        "phase",
        "scope",
        "waiter",
    )

    def __init__(
        self,
        wire: Wire,
        request: Request,
        offer: Offer,
        ends: Endpoints,
        codec_class: type[Codec],
        config: Config,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.loop = loop
        self.phase = CONNECTING
        self.in_flight = False
        self.scope = _scope(request, offer, ends)
        self.messages: deque[str | bytes] = deque()
        self.waiter = ReusableFuture(loop)
        self.frames: Frames | None = None
        self._wire = wire
        self._request = request
        self._offer: Offer | None = offer
        self._ends = ends
        self._codec_class = codec_class
        self._config = config
        self._max_queue = config.ws_max_queue
        self._queued_bytes = self._sends = 0
        self._connect_told = False
        self._disconnect: tuple[int, str | None] | None = None
        self._denied_status = self._denied_bytes = 0
        self._write_waiter: asyncio.Future[bool] | None = None
        self._entry = wire._state.access.follow(request, self.scope, ends.believed())

    # -- what the application calls ---------------------------------------------------------------------------

    async def receive(self) -> Message:
        """`websocket.connect`, then `websocket.receive` for each message, then `websocket.disconnect`."""
        messages = self.messages
        while not messages:
            if not self._connect_told:  # also if the client has left before anybody asked
                self._connect_told = True
                return {"type": "websocket.connect"}
            if self._disconnect is not None:
                code, reason = self._disconnect
                if reason is None:  # there was no close frame
                    return {"type": "websocket.disconnect", "code": code}
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            waiter = self.waiter
            while waiter.taken:  # another task has called `receive` as well
                waiter = waiter.following()
            await waiter
        content = messages.popleft()
        if not messages:
            self._queued_bytes = 0
        elif self._queued_bytes:
            self._queued_bytes -= len(content)
        frames = self.frames
        if frames is not None and frames.full and self._is_half_empty():
            frames.resume()
        if type(content) is str:
            return {"type": "websocket.receive", "text": content}
        return {"type": "websocket.receive", "bytes": content}

    async def send(self, message: Message) -> None:
        """`websocket.accept` or a denial, then `websocket.send` and `websocket.close`.

        Raises ClientDisconnected (an OSError) once the peer has left or was sent away, RuntimeError for a message out
        of order, ValueError or TypeError for what cannot be put on the wire.
        """
        kind = message["type"]
        wire = self._wire
        if self.phase == OPEN and kind == "websocket.send":
            text = message.get("text")
            if text is not None:
                frame = self._codec.text(text)
            else:
                data = message.get("bytes")
                if data is None:
                    return  # neither: there is nothing to send
                frame = self._codec.binary(data if type(data) is bytes else as_bytes(data, _MESSAGE))
            wire.write(frame)
            self._sends += 1
            if not wire.writable:
                await self._room()
            elif not self._sends % TURN:
                await asyncio.sleep(0)
        else:
            self._send_other(kind, message)
            if not wire.writable and self.phase == DENYING:
                await self._room()

    def _send_other(self, kind: str, message: Message) -> None:
        phase = self.phase
        if phase == OPEN and kind == "websocket.close":
            self._close(message.get("code"), message.get("reason") or "")
        elif phase == CONNECTING and kind == "websocket.accept":
            self._accept(message.get("subprotocol"), message.get("headers", ()))
        elif phase == CONNECTING and kind == "websocket.close":
            self._refuse(403, "")
        elif phase == CONNECTING and kind == "websocket.http.response.start":
            self._denied_status = message["status"]
            self._wire.begin_denial(message)
            self.phase = DENYING
        elif phase == DENYING and kind == "websocket.http.response.body":
            body = message.get("body")
            self._deny(as_bytes(body, _MESSAGE), message.get("more_body", False))
        elif phase == LEFT:
            raise ClientDisconnected("The client has closed the connection, or is sent away.")
        else:
            raise RuntimeError(_out_of_order(kind, phase))

    async def _room(self) -> None:
        """Wait until the wire takes more. Raises ClientDisconnected if it never will."""
        if self._write_waiter is None:
            self._write_waiter = self.loop.create_future()
        if not await asyncio.shield(self._write_waiter):
            raise ClientDisconnected("The client has closed the connection.")

    def _close(self, code: int | None, reason: str) -> None:
        assert self.frames is not None
        code = 1000 if code is None else code
        self.frames.close(code, reason)
        self.phase = DONE
        self.messages.clear()
        self._disconnect = (code, reason)
        self.frames.skip()
        self.waiter.wake()

    # -- the answer to the handshake --------------------------------------------------------------------------

    def _accept(self, subprotocol: str | None, headers: Any) -> None:
        config, offer, wire = self._config, self._offer, self._wire
        assert offer is not None
        extension, agreed = negotiate(offer.extensions) if config.ws_per_message_deflate else (None, None)
        fields = encoded(headers)
        subprotocol = choose_subprotocol(fields, subprotocol, offer)
        extra = [(name, value) for name, value in fields if name.lower() not in SERVER_FIELDS]
        head = wire.accept(offer, subprotocol, extension, extra)
        if subprotocol is not None and subprotocol not in offer.subprotocols:
            _log.warning("The client did not offer the subprotocol %r, and will probably leave.", subprotocol)
        deflate = Deflate(agreed) if agreed is not None else None
        frames = self.frames = Frames(self._codec_class, deflate, self, wire, config, wire._state)
        self._codec = frames.codec
        self._offer = None  # an idle session costs no more than it must
        self.phase = OPEN
        call.leave(wire, self)
        _log.info('%s - "WebSocket %s" [accepted]', self.peer(), self.path())
        _log.info("connection open")
        if self._entry is not None:
            self._entry.answered(101, 0, head)
        wire.carry(frames)

    def _refuse(self, status: int, text: str, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer with a whole response of the server's own."""
        self._wire.refuse(status, text, fields)
        self._denied(status, len(text))

    def _deny(self, body: bytes, more: bool) -> None:
        self._wire.deny(body, more)
        self._denied_bytes += len(body)
        if not more:
            self._denied(self._denied_status, self._denied_bytes)

    def _denied(self, status: int, sent: int) -> None:
        self.phase = DONE
        if self._entry is not None:
            self._entry.answered(status, sent)
        call.leave(self._wire, self)
        if status != 500:
            _log.info('%s - "WebSocket %s" %d', self.peer(), self.path(), status)
        _log.info("connection rejected (%s)", _status_text(status))
        self._disconnect = (1006, None)
        self._wire.close()
        self.waiter.wake()

    # -- what the frames and the wire call --------------------------------------------------------------------

    def add(self, content: str | bytes) -> bool:
        """A message of the peer. False when the queue is full."""
        if self.phase >= DONE:
            return True
        self.messages.append(content)
        self._queued_bytes += len(content)
        return self._queued_bytes <= QUEUED_BYTES and len(self.messages) < self._max_queue

    def _is_half_empty(self) -> bool:
        return len(self.messages) <= self._max_queue // 2 and self._queued_bytes <= QUEUED_BYTES // 2

    def peer_left(self, code: int, reason: str | None) -> None:
        """Nothing more will come: what the application hears behind the last message. `reason`: None without a close
        frame.
        """
        self._leave()
        if self._disconnect is None:
            self._disconnect = (code, reason)

    def send_away(self) -> None:
        """The server drains: refuse the handshake if it was not answered, else send a close frame."""
        if self.phase == OPEN:
            assert self.frames is not None
            self.frames.close(SERVICE_RESTART, "")
            self.phase = LEFT
        elif self.phase == CONNECTING:
            self._refuse(503, "Service Unavailable")

    def resume_writing(self, room: bool = True) -> None:
        """The wire takes bytes again, or (without `room`) never will."""
        waiter, self._write_waiter = self._write_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(room)
        if room and self.frames is not None:
            self.frames.resume_writing()

    def lost(self) -> None:
        """The connection is gone."""
        call.forget(self._wire, self)
        call.leave(self._wire, self)
        if self.phase == CONNECTING:
            _log.info('%s - "WebSocket %s" %d', self.peer(), self.path(), CLIENT_LEFT)
        if self._entry is not None:
            self._entry.end(whole=False)
        self._leave()
        if self.frames is not None:
            self.frames.lost()
        else:
            self.peer_left(1006, None)
        self.waiter.wake()

    def _leave(self) -> None:
        if self.phase < LEFT:
            self.phase = LEFT
        self.resume_writing(room=False)

    # -- the application's end (see `call`) -------------------------------------------------------------------

    @property
    def client_gone(self) -> bool:
        return self.phase >= LEFT

    def unavailable(self) -> None:
        self._refuse(503, "Service Unavailable", [(b"retry-after", b"1")])

    def returned(self) -> bool:
        unanswered = self.phase < OPEN
        if unanswered:
            _log.error("ASGI callable returned without completing handshake.")
        self._application_ended(1000)
        return unanswered

    def failed(self, departed: bool) -> None:
        self._application_ended(SERVICE_RESTART if self._wire._state.draining else 1011)

    def _application_ended(self, code: int) -> None:
        """The application takes no more messages."""
        if self.phase == CONNECTING or (self.phase == DENYING and not self._wire.denial_begun):
            self._refuse(500, "Internal Server Error")
        elif self.phase == DENYING:
            self._wire.abort()
        elif self.phase == OPEN:
            assert self.frames is not None
            self.frames.close(code, "")
        self.phase = ENDED
        self.messages.clear()
        self.waiter.forget_task()
        if self.frames is not None:
            self.frames.skip()

    # -- its names --------------------------------------------------------------------------------------------

    def named(self) -> str:
        """The session, as a line about a fault names it."""
        return named(self._entry, self._request, self.peer(), f"WebSocket {self.path()}", self._ends.believed())

    @property
    def transport(self) -> Any:
        """That of its wire, for programs that look there; None if the wire has none."""
        return getattr(self._wire, "transport", None)

    def peer(self) -> str:
        """The client's address."""
        return shown(self._ends.client)

    def path(self) -> str:
        """The path and query that were asked for."""
        return shown_target(self._ends.root_path, self._request.target)


def _scope(request: Request, offer: Offer, ends: Endpoints) -> dict[str, Any]:
    """ASGI's WebSocket connection scope."""
    scope = http_scope(request, ends)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
    scope["subprotocols"] = list(offer.subprotocols)
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    if "tls" in scope["extensions"]:  # the others are for responses
        extensions["tls"] = scope["extensions"]["tls"]
    scope["extensions"] = extensions
    return scope


def _status_text(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _out_of_order(kind: str, phase: int) -> str:
    if phase >= DONE:
        return f"Unexpected ASGI message '{kind}', after sending 'websocket.close' or response already completed."
    wanted = {
        CONNECTING: "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'",
        DENYING: "'websocket.http.response.body'",
        OPEN: "'websocket.send' or 'websocket.close'",
    }[phase]
    return f"Expected ASGI message {wanted}, but got '{kind}'."
