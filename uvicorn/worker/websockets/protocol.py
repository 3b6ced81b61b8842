"""The asyncio protocol that carries one WebSocket session on a transport of its own: the wire over HTTP/1.1.

Phases:  READING ──its request──▶ CARRYING ──the last response, or a close frame of either side──▶ CLOSING ──▶ lost

An HTTP connection hands its transport over when a request asks for a WebSocket: the request was read then (`begin`). A
program's own server makes a session as a protocol, gives it a transport and the bytes of the request.

Time comes from the worker's one timer (`sweep`): pings, the closing handshake, readers that take nothing, and the turn
of this session in a drain, whose clients are sent away over a moment so that they do not all come back at once.

Owns: the transport (`Carrier`), the HTTP/1.1 answer to the handshake, and how long a peer may take. Must not: know an
ASGI message's order or a frame. Fails by: closing, after an answer where one can be given; never by an exception.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn._types import Message
from uvicorn.errors import BadRequest
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.access.log import shown
from uvicorn.worker.familiar import standalone
from uvicorn.worker.familiar.names import FamiliarSession
from uvicorn.worker.http import call
from uvicorn.worker.http.scope import Endpoints
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.framing import switching_head, text_response
from uvicorn.worker.http1.request_head import UNREAD, RequestHead
from uvicorn.worker.transport.carrier import Carrier, meet
from uvicorn.worker.websockets.codec import Codec
from uvicorn.worker.websockets.denial import Denial
from uvicorn.worker.websockets.frames import UNREAD_BYTES, Frames
from uvicorn.worker.websockets.handshake import Offer, Refused, accept_fields
from uvicorn.worker.websockets.opening import read_opening
from uvicorn.worker.websockets.session import DENYING, OPEN, Session

if TYPE_CHECKING:
    from uvicorn.config import Config

READING, CARRYING, CLOSING = range(3)

STALLED_SECONDS = 60.0
"""What the reader of a denial gets to take a part of it."""
SPREAD_SECONDS, SPREAD_PACE = 2.0, 500
"""A drain sends its clients away over this time at most, and about so many a second."""

_log = logging.getLogger("uvicorn.error")


class SessionProtocol(FamiliarSession, Carrier):
    """Carries one session. Subclasses name the codec.

    `active_at`: when this phase began, or the peer last took something; seconds of the worker's coarse clock.
    """

    codec_class: ClassVar[type[Codec]]
    library: ClassVar[str] = ""
    """The package that the codec uses, for logs."""
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
    """Methods of the other package's classes that nothing calls here, because those steps are done in another way."""
    lone_class: ClassVar[type[Any]] = standalone.LoneSession

    __slots__ = (
        "_app",
        "_denial",
        "_early",
        "_ends",
        "_ends_known",
        "_frames",
        "_phase",
        "_request",
        "_retire_at",
        "active_at",
        "config",
        "session",
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
        super().__init__(state, _loop or asyncio.get_running_loop())
        self.config = config
        self.active_at = state.now
        self.session: Session | None = None
        self._app = config.loaded_app
        self._ends = Endpoints(None, None, "http", config.root_path, config.asgi_version, app_state)
        self._ends_known = False
        self._request = UNREAD
        self._phase = READING
        self._frames: Frames | None = None
        self._denial: Denial | None = None
        self._early = b""  # what arrived before the handshake was accepted
        self._retire_at = 0.0

    # -- its beginning ----------------------------------------------------------------------------------------

    def take_ends(self, ends: Endpoints) -> None:
        """The facts of the connection whose transport this will be, which are known already."""
        self._ends, self._ends_known = ends, True

    def begin(self, request: RequestHead, offer: Offer, early: bytes) -> None:
        """Call the application. `early`: what the peer has sent behind its request."""
        made = Session if _is_plain(self) else _OverriddenSession
        session = self.session = made(self, request, offer, self._ends, self.codec_class, self.config, self.loop)
        self._request, self._early = request, early
        self._phase = CARRYING
        call.serve(self, session, admitted=True)

    def _read_request(self) -> None:
        """Begin once the request is complete, or answer one that does not ask for a WebSocket."""
        try:
            found = read_opening(self._early, self._state.limits)
        except (Refused, BadRequest) as exc:
            extra = exc.headers if isinstance(exc, Refused) else exc.fields
            _log.info("connection rejected (%d %s)", exc.status, exc)
            self.write(text_response(self._request, exc.status, str(exc), self._state.default, extra))
            self.close()
        else:
            if found is not None:
                self.begin(*found)

    async def receive(self) -> Message:
        """For subclasses that override it; the application calls the session's own otherwise."""
        assert self.session is not None
        return await Session.receive(self.session)

    async def send(self, message: Message) -> None:
        """As `receive`."""
        assert self.session is not None
        await Session.send(self.session, message)

    # -- what the transport calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport was connected before it was this protocol's."""
        self.transport = transport  # type: ignore[assignment]  # a stream transport
        self._state.connections.add(self)
        if not self._ends_known:
            meet(self._ends, transport, self.config)
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - WebSocket connection made", shown(self._ends.client))
        if self._state.draining:
            self.retire()

    def data_received(self, data: bytes) -> None:
        frames = self._frames
        if frames is not None:
            frames.receive(data)
        elif self._phase != CLOSING:
            self._early += data
            if self._phase == READING:
                self._read_request()
            elif len(self._early) > UNREAD_BYTES:
                self._pause()

    def eof_received(self) -> bool:
        self.flush()
        return False  # a WebSocket has no half-closed state: the transport closes

    def connection_lost(self, exc: Exception | None) -> None:
        if self._state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - WebSocket connection lost", shown(self._ends.client))
        self._state.connections.discard(self)
        self._phase = CLOSING
        self._early = b""
        self.drop()
        if self.session is not None:
            self.session.lost()

    def resume_writing(self) -> None:
        self.writable = True
        self.active_at = self._state.now
        if self.session is not None:
            self.session.resume_writing()

    # -- the session's calls (see `wire`) ---------------------------------------------------------------------

    @property
    def retiring(self) -> bool:
        return self._retire_at > 0

    def accept(
        self, offer: Offer, subprotocol: str | None, extension: str | None, fields: Sequence[tuple[bytes, bytes]]
    ) -> bytes:
        head = switching_head([*accept_fields(offer, subprotocol, extension), *fields], self._state.default)
        self.write(head)
        return head

    def carry(self, frames: Frames) -> None:
        self._frames = frames
        early, self._early = self._early, b""
        self._resume()
        if early:
            self.as_server(frames.receive, early)

    def refuse(self, status: int, text: str, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.write(text_response(self._request, status, text, self._state.default, fields))

    def begin_denial(self, start: Message) -> None:
        self._denial = Denial(self._request, start, self._state.default)

    @property
    def denial_begun(self) -> bool:
        return self._denial is not None and self._denial.begun

    def deny(self, body: bytes, more: bool) -> None:
        assert self._denial is not None
        self.active_at = self._state.now
        self.write(self._denial.encode(body, more))
        if self._denial.short and not more:
            _log.error("Response content shorter than Content-Length: closing the connection.")

    def pause_reading(self) -> None:
        self._pause()

    def resume_reading(self) -> None:
        self._resume()

    def expect_close(self) -> None:
        self._expect_end()

    def end(self, last: bytes, failed: bool) -> None:
        self._expect_end()
        self._flush_now()
        if self.transport.is_closing():
            failed = False
        elif last:
            self._write(last)
        if not (failed and self.end_writing()):
            self.close()

    def close(self) -> None:
        self._expect_end()
        super().close()

    def _expect_end(self) -> None:
        """The peer has `close_timeout` seconds from now on."""
        self._phase = CLOSING
        self.active_at = self._state.now

    # -- what the server calls --------------------------------------------------------------------------------

    def sweep(self, now: float, keep_alive: float) -> None:
        """Pings, and whatever is overdue. Called by the worker's one timer, in seconds of its coarse clock."""
        session, quiet = self.session, now - self.active_at
        if self._phase == CLOSING:
            if quiet > self.close_timeout:
                self.abort()
        elif session is None:
            if quiet > self._state.limits.header_time:
                self.close()
        elif self._frames is not None:
            if self._retire_at and now >= self._retire_at:
                session.send_away()
            else:
                self._frames.sweep(now)
        elif session.phase == DENYING and not self.writable and quiet > STALLED_SECONDS:
            self.abort()

    def retire(self) -> None:
        """The server drains: the peer is sent away within a moment."""
        if not self._retire_at:
            spread = min(SPREAD_SECONDS, len(self._state.connections) / SPREAD_PACE)
            self._retire_at = monotonic() + random.random() * spread

    def shutdown(self) -> None:
        """The peer is sent away: now, or when its turn comes in a drain."""
        if not self._retire_at:
            self.disconnect()

    def disconnect(self) -> None:
        """The peer is sent away now."""
        self._retire_at = self._retire_at or monotonic()
        if self.session is not None:
            self.session.send_away()
        elif self._phase == READING:
            self.close()

    def abort(self) -> None:
        """Close without waiting for anything."""
        self.as_server(self.transport.abort)

    def in_work(self, now: float) -> str:
        """What a report about a worker that hangs says of this session."""
        session = self.session
        return f"WebSocket {session.path()} from {session.peer()}" if session and session.phase == OPEN else ""

    def named(self) -> str:
        """The session, as a line about a fault names it."""
        return "" if self.session is None else self.session.named()


class _OverriddenSession(Session):
    """The session of a protocol whose class or instance has a `receive` or a `send` of a program's own."""

    __slots__ = ()

    _wire: SessionProtocol

    async def receive(self) -> Message:
        return await self._wire.receive()

    async def send(self, message: Message) -> None:
        await self._wire.send(message)


def _is_plain(protocol: Any) -> bool:
    """Whether its `receive` and `send` are ours."""
    ours = (SessionProtocol.receive, SessionProtocol.send)
    return tuple(getattr(method, "__func__", None) for method in (protocol.receive, protocol.send)) == ours
