"""A WebSocket on a stream (RFC 8441): the wire of a session without a transport of its own.

    OPENING ──the session accepts──▶ CARRYING ──close frames, an end of either side──▶ CLOSING ──▶ the stream is closed
    OPENING ──the session refuses──▶ CLOSING

The stream's flow-control window does what pausing a transport does: while reading is paused no WINDOW_UPDATE is sent,
and the peer has to stop. END_STREAM corresponds to the end of a TCP connection, RST_STREAM to its reset.

Owns: the answer to the handshake on HTTP/2, and how long a peer may take to close. Must not: know a frame of either
protocol. Fails by: resetting its stream; other streams go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn._types import Message
from uvicorn.worker.http import call
from uvicorn.worker.http.exchange import HIGH_WATER
from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.heads import response_head
from uvicorn.worker.websockets.frames import UNREAD_BYTES, Frames
from uvicorn.worker.websockets.handshake import Offer, Refused, tunnel_fields, tunnel_offer
from uvicorn.worker.websockets.protocol import SPREAD_PACE, SPREAD_SECONDS
from uvicorn.worker.websockets.session import ENDED, OPEN, Session

if TYPE_CHECKING:
    from uvicorn.worker.http.state import ServerState
    from uvicorn.worker.http2.connection import Http2Connection
    from uvicorn.worker.http2.fields import Head
    from uvicorn.worker.http2.streams import Stream
    from uvicorn.worker.websockets.codec import Codec

CLOSE_SECONDS = 10.0
"""Seconds for the peer to answer a close frame."""

OPENING, CARRYING, CLOSING = range(3)


class Tunnel:
    """Carries one session. It is both the session's `Wire` and the stream's `Occupant`."""

    __slots__ = (
        "_app",
        "_closing_at",
        "_codec_class",
        "_connection",
        "_denial_begun",
        "_denial_start",
        "_early",
        "_frames",
        "_left",
        "_paused",
        "_phase",
        "_retire_at",
        "_state",
        "head",
        "loop",
        "session",
        "stream",
    )

    def __init__(self, connection: Http2Connection, stream: Stream, head: Head, codec_class: type[Codec]) -> None:
        self._connection = connection
        self._state: ServerState = connection._state
        self._app: Any = connection._app
        self.loop: asyncio.AbstractEventLoop = connection.loop
        self._codec_class = codec_class
        self.stream = stream
        self.head = head
        self.session: Session | None = None
        self._phase = OPENING
        self._frames: Frames | None = None
        self._early = bytearray()
        self._paused = self._denial_begun = False
        self._denial_start: Message = {}
        self._left = 0
        self._retire_at = self._closing_at = 0.0

    # -- what the connection calls (see `occupant`) ----------------------------------------------------------------

    def begin(self) -> bool:
        connection = self._connection
        try:
            offer = tunnel_offer(self.head)
        except Refused as exc:
            connection.log_refusal(str(exc.status), exc.reason)
            self._phase = CLOSING
            connection.respond(self.stream, "GET", exc.status, exc.reason, exc.headers)
            return True
        if self._state.draining:
            self.retire()
        session = self.session = Session(
            self, self.head, offer, connection._ends, self._codec_class, connection.config, self.loop
        )
        call.serve(self, session)
        return self.is_over

    @property
    def is_over(self) -> bool:
        session = self.session
        return session is None or session.phase == ENDED or (self.stream.closed and not session.in_flight)

    def arrived(self, data: bytes) -> None:
        frames = self._frames
        if data:
            if frames is not None:
                frames.receive(data)
            elif self._phase == OPENING:
                self._early += data
                self._paused = len(self._early) > UNREAD_BYTES
            if not self._paused:
                self._connection.machine.intake.taken(self.stream, self.stream.owed)
        if self.stream.peer_ended:
            self.eof()

    def eof(self) -> None:
        self.lost()
        self.expect_close()
        self._end_stream(b"")

    def lost(self) -> None:
        self._phase = CLOSING
        self._early = bytearray()
        if self.session is not None:
            self.session.lost()

    def resume_writing(self) -> None:
        if self.session is not None:
            self.session.resume_writing()

    def look(self, now: float) -> None:
        session = self.session
        if self._phase == CLOSING:
            if now - self._closing_at > CLOSE_SECONDS:
                self.abort()
        elif self._frames is None:
            admission = self._state.admission
            if session is not None and admission is not None and admission.overdue(session, now):
                call.refuse(session)
        elif self._retire_at and now >= self._retire_at:
            assert session is not None
            session.send_away()
        else:
            self._frames.sweep(now)

    def retire(self) -> None:
        if not self._retire_at:
            spread = min(SPREAD_SECONDS, len(self._connection.machine.streams) / SPREAD_PACE)
            self._retire_at = monotonic() + random.random() * spread

    def hang_up(self) -> None:
        self._retire_at = self._retire_at or monotonic()
        if self.session is not None:
            self.session.send_away()

    def in_work(self, now: float) -> str:
        session = self.session
        return f"WebSocket {session.path()} from {session.peer()}" if session and session.phase == OPEN else ""

    # -- what the session calls (see `websockets.wire`) ------------------------------------------------------------

    @property
    def writable(self) -> bool:
        return self._connection.writable and self.stream.queued <= HIGH_WATER

    @property
    def retiring(self) -> bool:
        return self._retire_at > 0

    def accept(
        self, offer: Offer, subprotocol: str | None, extension: str | None, fields: Sequence[tuple[bytes, bytes]]
    ) -> bytes:
        headers = [*tunnel_fields(offer, subprotocol, extension), *fields]
        block, _, _ = response_head("CONNECT", 200, headers, self._connection.default, 0, True)
        self._connection.machine.sender.headers(self.stream, block)
        self._connection.wake()
        return b"HTTP/2 200\r\n" + b"".join([b"%b: %b\r\n" % field for field in headers]) + b"\r\n"

    def carry(self, frames: Frames) -> None:
        self._phase = CARRYING
        self._frames = frames
        early, self._early = bytes(self._early), bytearray()
        self.resume_reading()
        if early:
            self._connection.as_server(frames.receive, early)

    def refuse(self, status: int, text: str, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._connection.respond(self.stream, "GET", status, text, fields)

    def begin_denial(self, start: Message) -> None:
        self._denial_start = start

    @property
    def denial_begun(self) -> bool:
        return self._denial_begun

    def deny(self, body: bytes, more: bool) -> None:
        sender = self._connection.machine.sender
        if not self._denial_begun:
            start = self._denial_start
            head, bodiless, length = response_head(
                "GET", start["status"], start.get("headers", ()), self._connection.default, len(body), more
            )
            self._left = -1 if bodiless else length
            if 0 <= length < len(body):
                raise RuntimeError("Response content longer than Content-Length")
            sender.respond(self.stream, head, b"" if bodiless else body, not more)
            self._denial_begun = True
        else:
            sender.send(self.stream, body, not more)
        self._connection.wake()

    def write(self, data: bytes) -> None:
        self._connection.machine.sender.send(self.stream, data, False)
        self._connection.wake()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self.stream.owed:
            self._connection.machine.intake.taken(self.stream, self.stream.owed)
            self._connection.wake()

    def expect_close(self) -> None:
        self._phase = CLOSING
        self._closing_at = self._state.now

    def end(self, last: bytes, failed: bool) -> None:
        self.expect_close()
        self._end_stream(last)

    def close(self) -> None:
        self.expect_close()
        self._end_stream(b"")

    def _end_stream(self, last: bytes) -> None:
        if not self.stream.we_ended:
            self._connection.machine.sender.send(self.stream, last, True)
            self._connection.wake()

    def abort(self) -> None:
        self._connection.machine.reset(self.stream, Code.CANCEL)
        self.lost()
        self._connection.wake()

    def soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        self._connection.soon(callback, *arguments)
