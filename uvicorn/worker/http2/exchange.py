"""An exchange on HTTP/2's wire: one stream (RFC 9113, 8.1).

The head is sent with the first part of the body. The stream of a response that is shorter than its Content-Length, or
whose application has failed, is reset, so that the client does not take it for a complete one; the other streams of the
connection go on.

Owns: how many bytes of an announced length are left, and what the access log records of a response. Must not: know
asyncio, or in which order an application sends. Fails by: ValueError or TypeError for a head that cannot be sent,
RuntimeError for a body that is longer than Content-Length; nothing was sent then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from uvicorn._types import Message
from uvicorn.errors import BadRequest
from uvicorn.worker.access.log import CLIENT_LEFT
from uvicorn.worker.http import call
from uvicorn.worker.http.deadlines import BodyClock, WriteClock
from uvicorn.worker.http.exchange import COMPLETE, HIGH_WATER, STARTED, WAITING, Exchange
from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.heads import UNKNOWN, interim_head, response_head, trailer_block

if TYPE_CHECKING:
    from uvicorn.worker.access.entry import Entry
    from uvicorn.worker.http2.connection import Http2Connection
    from uvicorn.worker.http2.fields import Head
    from uvicorn.worker.http2.streams import Stream

TOO_LARGE = BadRequest(413, "Request body too large")
SMALL_PARTS = 64
PART_SIZE = 4096
"""Parts of a body that nobody has taken, above which small ones are joined: an object for each may take many times
their size. And the bytes of those."""

_log = logging.getLogger("uvicorn.error")


class Http2Exchange(Exchange):
    """`active_at`: when data last came for it, by the coarse clock."""

    __slots__ = ("_bodiless", "_connection", "_late", "_left", "_write_clock", "active_at", "stream")

    if TYPE_CHECKING:
        request: Head

    def __init__(self, connection: Http2Connection, stream: Stream, head: Head, scope: dict[str, Any]) -> None:
        Exchange.__init__(self, head, scope, stream.peer_ended)
        self._connection = connection
        self._bodiless = False
        self._late = False  # at the last `look` its head waited for its body
        self._left = UNKNOWN
        self.stream = stream
        self._write_clock: WriteClock | None = None
        self.active_at = connection.now

    # -- what the connection calls (see `occupant`) ----------------------------------------------------------------

    def begin(self) -> bool:
        if self.phase == COMPLETE:  # it was refused
            return True
        call.serve(self._connection, self)
        return not self.in_flight and (self.phase == COMPLETE or self.is_lost)

    @property
    def is_over(self) -> bool:
        if self.phase == COMPLETE:  # work after the response, a background task, does not count
            return not (self.in_flight and self.hung_up)
        return not self.in_flight and self.is_lost

    def arrived(self, data: bytes) -> None:
        stream = self.stream
        if self.phase == COMPLETE:
            self._connection.machine.intake.taken(stream, stream.owed)
            return
        if data:
            connection = self._connection
            self.active_at = connection.now
            if stream.received > connection.limits.body:
                self.refuse(TOO_LARGE)
                return
            if len(self._body) > SMALL_PARTS and len(self._body[-1]) < PART_SIZE:
                self._body[-1] += data
                self._body_size += len(data)
            else:
                self.feed(data)
        if stream.peer_ended:
            self.feed_end()

    def lost(self) -> None:
        connection = self._connection
        call.forget(connection, self)
        if connection.logs_access and self.phase in (WAITING, STARTED) and not connection.gave_up:
            connection.log_access(self, CLIENT_LEFT)
        super().lost()

    def eof(self) -> None:
        self.hang_up()

    def retire(self) -> None:
        """Requests that have begun are finished."""

    def refuse(self, fault: BadRequest) -> None:
        """Answer in place of the application, or reset the stream if it has begun to answer."""
        connection = self._connection
        connection.log_refusal(str(fault.status), fault.reason)
        call.forget(connection, self)
        if self.phase in (WAITING, STARTED):
            self._respond(fault.status, fault.body, fault.fields)
        else:
            connection.machine.reset(self.stream, Code.CANCEL)
            connection.wake()
        super().lost()

    def look(self, now: float) -> None:
        connection, stream = self._connection, self.stream
        admission = connection.admission
        if admission is not None and admission.overdue(self, now):
            call.refuse(self)
            return
        late = self.phase == STARTED
        if late and self._late:
            self.announce()
        self._late = late
        if self.body_clock is None or self._write_clock is None:
            if self.body_complete and not stream.queued:
                return  # the usual case
            self.body_clock, self._write_clock = BodyClock(now), WriteClock()
        limits = connection.limits
        waits = not (self.body_complete or self.continue_due or stream.owed)
        is_late = self.body_clock.is_late(now, limits, waits, self.active_at, stream.received)
        unsent = stream.queued if connection.writable else 0
        patience = 0.0 if connection.at_eof else limits.write_time  # a peer that says no more opens no window
        if self._write_clock.is_stalled(now, unsent, patience):
            connection.log_refusal(f"stream {stream.id}", "client does not read its response")
            connection.machine.reset(stream, Code.CANCEL)
            connection.wake()
            self.lost()
        elif is_late:
            self.refuse(BadRequest(408, "Request body too slow"))

    def in_work(self, now: float) -> str:
        if self.phase == COMPLETE:
            return ""
        return f"{self._connection.line(self)}, {now - self.active_at:.1f} s"

    # -- the wire of an exchange -----------------------------------------------------------------------------------

    def part(self, start: Message | None, body: bytes, more: bool) -> bool:
        connection = self._connection
        stream = self.stream
        size = len(body)
        head = b""
        if start is not None:
            head, self._bodiless, self._left = response_head(
                self.request.method, start["status"], start.get("headers", ()), connection.default, size, more
            )
            self.continue_due = False
            if self._left == size and not more and not self._bodiless and self.entry is None:  # nearly always
                self._left = 0
                if connection.logs_access:
                    connection.log_access(self, self.status_to_tell)
                connection.machine.sender.respond(stream, head, body, True)
                if not connection.feeding:
                    connection.wake()
                return True
        if self._bodiless:
            body = b""
        elif self._left >= 0:
            left = self._left - size
            if left < 0:
                raise RuntimeError("Response content longer than Content-Length")
            self._left = left
        ends = not more
        short = ends and self._is_short
        sender = connection.machine.sender
        if head:
            if connection.logs_access:
                connection.log_access(self, self.status_to_tell)
            sender.respond(stream, head, body, ends and not short)
        else:
            sender.send(stream, body, ends and not short)
        if short:
            self._reset_short()
        if not connection.feeding:
            connection.wake()
        if self.entry is not None:
            self._follow(self.entry, start, size, more, not short)
        return connection.writable and stream.queued <= HIGH_WATER

    def trail(self, trailers: list[tuple[bytes, bytes]]) -> None:
        short = self._is_short
        sender = self._connection.machine.sender
        if short:
            self._reset_short()
        elif trailers and not self._bodiless:
            sender.end_with(self.stream, trailer_block(trailers))
        else:
            sender.send(self.stream, b"", True)
        self._connection.wake()
        if self.entry is not None:
            self.entry.end(whole=not short and self.entry.status != CLIENT_LEFT)

    @property
    def _is_short(self) -> bool:
        """Whether less was sent than Content-Length has announced."""
        return self._left > 0 and not self._bodiless

    def _reset_short(self) -> None:
        _log.error("Response content shorter than Content-Length: resetting the stream.")
        self._connection.machine.reset(self.stream, Code.INTERNAL_ERROR)

    def _follow(self, entry: Entry, start: Message | None, size: int, more: bool, whole: bool) -> None:
        """Record for the access log what was sent."""
        if start is not None:
            entry.status = self.status_to_tell
            lines = [b"%b: %b\r\n" % (name, value) for name, value in start.get("headers", ())]
            entry.head = b"HTTP/2 %d\r\n%b\r\n" % (start["status"], b"".join(lines))
        if not self._bodiless:
            entry.sent += size
        if not more:
            entry.end(whole=whole and entry.status != CLIENT_LEFT)

    def completed(self) -> None:
        connection = self._connection
        if connection.ending and not connection.feeding:
            connection.soon(connection.go_on_ending)

    def go_on(self) -> None:
        self._connection.machine.sender.headers(self.stream, interim_head(None))
        self._connection.wake()

    def hint(self, links: Iterable[bytes]) -> None:
        self._connection.machine.sender.headers(self.stream, interim_head(links))
        self._connection.wake()

    def body_wanted(self) -> None:
        self.active_at = self._connection.now  # the time until now was the application's
        if self.stream.owed:
            self._connection.machine.intake.taken(self.stream, self.stream.owed)
            self._connection.wake()

    def _take(self) -> Message:
        message = super()._take()
        if self.stream.owed:  # the last part: free the connection's window for other streams
            self.body_wanted()
        return message

    def answer(self, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        if self._connection.logs_access:
            self._connection.log_access(self, status)
        self._respond(status, text, extra)

    def _respond(self, status: int, text: str, extra: Sequence[tuple[bytes, bytes]]) -> None:
        """Send a response of ours. To a gRPC client it has no body: behind one, without trailers, such a client may
        report an internal error in place of the status.
        """
        request = self.request
        if any(name == b"content-type" and value.startswith(b"application/grpc") for name, value in request.fields):
            text = ""
        self._connection.respond(self.stream, request.method, status, text, extra)
        self.answered(status, len(text))

    def cut(self) -> None:
        self._connection.machine.reset(self.stream, Code.INTERNAL_ERROR)
        self._connection.wake()
        super().lost()

    def unanswered(self) -> None:
        if not self.stream.closed:  # it ends because the drain's time is over
            self.answer(503, "Service Unavailable")

    def named(self) -> str:
        return self._connection.named(self)
