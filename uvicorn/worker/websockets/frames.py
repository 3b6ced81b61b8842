"""The frames of one WebSocket, both ways: messages, pings and pongs, the closing handshake (RFC 6455, 5.5 and 7).

Phases:  OPEN ──our close frame──▶ CLOSING
         OPEN, CLOSING ──the peer's close frame, or a fault of the peer──▶ OVER
         OPEN, CLOSING ──the connection is lost──▶ OVER, or LOST while bytes wait behind a full queue
         LOST ──those bytes were read──▶ OVER

Messages go to the session, whose queue is bounded. When it is full the codec keeps what follows as bytes (`full`), and
only when there are many of those does the wire stop reading. Time comes from the wire (`sweep`): nothing here has a
timer.

Owns: the codec, the ping that is not answered yet, and the close frames. Must not: know ASGI or a transport. Fails by:
a close frame for the peer (1002, 1007, 1009, 1011), and `Session.peer_left`.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from uvicorn.worker.websockets.codec import Codec

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.worker.http.state import ServerState
    from uvicorn.worker.websockets.deflate import Deflate
    from uvicorn.worker.websockets.session import Session
    from uvicorn.worker.websockets.wire import Wire

OPEN, CLOSING, LOST, OVER = range(4)

UNREAD_BYTES = 1 << 16
"""Bytes that wait behind a full queue, above which reading pauses."""
SERVICE_RESTART = 1012
"""The close code with which a draining server sends its peers away (IANA's registry of close codes)."""

_log = logging.getLogger("uvicorn.error")


class Frames:
    """Made when the handshake was accepted. `ping_sent_at`: by the loop's clock; `last_ping_rtt`: in seconds."""

    __slots__ = (
        "_config",
        "_messages",
        "_owed_pong",
        "_ping",
        "_pinged_at",
        "_session",
        "_state",
        "_waiter",
        "_wire",
        "codec",
        "full",
        "last_ping_rtt",
        "phase",
        "ping_sent_at",
    )

    def __init__(
        self,
        codec_class: type[Codec],
        deflate: Deflate | None,
        session: Session,
        wire: Wire,
        config: Config,
        state: ServerState,
    ) -> None:
        self.codec = codec_class(self, config.ws_max_size, deflate)
        self.phase = OPEN
        self.full = False
        self._session = session
        self._messages = session.messages
        self._waiter = session.waiter
        self._wire = wire
        self._config = config
        self._state = state
        self._ping: bytes | None = None
        self._owed_pong: bytes | None = None
        self._pinged_at = state.now
        self.ping_sent_at = self.last_ping_rtt = 0.0

    # -- in ---------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes of the peer."""
        waiter, codec = self._waiter, self.codec
        if waiter.waiting and self.phase == OPEN:
            content = codec.whole(data)
            if content is not None:  # nearly always: one message at a time, and the application waits for it
                self._messages.append(content)
                waiter.wake()
                return
        if codec.over:
            return
        codec.receive(data)
        if self._messages:
            waiter.wake()
        if self.full and codec.pending > UNREAD_BYTES:
            self._wire.pause_reading()

    def resume(self) -> None:
        """The queue has room again: parse on, and read on when little is left."""
        self.full = False
        self._pinged_at = self._state.now  # a pong may be among what was not parsed
        codec = self.codec
        if not codec.over:
            codec.receive(b"")
        if self.full:
            if codec.pending < UNREAD_BYTES:
                self._wire.resume_reading()
        elif self.phase == LOST:
            self._finish()
        else:
            self._wire.resume_reading()

    def skip(self) -> None:
        """The application takes no more messages: what still comes is read only to find the peer's close frame."""
        if self.full:
            self.full = False
            self._wire.soon(self.receive, b"")
        self._wire.resume_reading()

    # -- what the codec calls ---------------------------------------------------------------------------------

    def message(self, content: str | bytes) -> None:
        if not self._session.add(content):
            self.full = True

    def pinged(self, payload: bytes) -> None:
        """Answer, or remember the latest of many while the peer does not read (RFC 6455, 5.5.3)."""
        if not self._wire.writable:
            self._owed_pong = payload
        elif self.phase < LOST:
            self._wire.write(self.codec.pong(payload))

    def ponged(self, payload: bytes) -> None:
        if payload == self._ping:
            self._ping = None
            self.last_ping_rtt = self._session.loop.time() - self.ping_sent_at

    def ended(self, code: int, reason: str, answer: bytes, failed: bool) -> None:
        session, wire = self._session, self._wire
        if self._messages:  # what came before is answered before
            self._waiter.wake()
        lost = self.phase == LOST
        self._set_ended(OVER)
        session.peer_left(code, None if wire.retiring else reason)  # a retiring server gets its own reason back
        if not lost:
            wire.end(answer, failed)
        self._waiter.wake()

    # -- out --------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake. Raises ValueError for a code or reason that may not be sent."""
        data = self.codec.close(code, reason)
        self.phase = CLOSING
        self._wire.expect_close()
        if data:
            self._wire.write(data)

    def resume_writing(self) -> None:
        """The wire takes bytes again."""
        pong, self._owed_pong = self._owed_pong, None
        if pong is not None:
            self.pinged(pong)

    def sweep(self, now: float) -> None:
        """Send a ping when one is due, or fail when the last one was not answered. Seconds of the worker's coarse
        clock.
        """
        interval, timeout = self._config.ws_ping_interval, self._config.ws_ping_timeout
        if not interval:
            return
        since = now - self._pinged_at
        if self._ping is None:
            if since >= interval:
                self._pinged_at = now
                self.ping_sent_at = self._session.loop.time()
                self._ping = random.randbytes(4)
                self._wire.write(self.codec.ping(self._ping))
        elif timeout and since > timeout and not self.full:  # else the pong may be among what was not parsed
            _log.info("%s - keepalive ping timeout", self._session.peer())
            self.codec.fail(1011, "keepalive ping timeout")
        elif not timeout and since >= interval:
            self._ping = None

    # -- the end ----------------------------------------------------------------------------------------------

    def lost(self) -> None:
        """The connection is gone. What it brought before is still parsed, as the queue takes it."""
        self._set_ended(LOST)
        if not self.full:
            self._finish()

    def _finish(self) -> None:
        """Nothing more will come, and no close frame said why."""
        self.phase = OVER
        self._session.peer_left(SERVICE_RESTART if self._wire.retiring else 1006, None)

    def _set_ended(self, phase: int) -> None:
        if self.phase < LOST:
            _log.info("connection closed")
        self.phase = phase
