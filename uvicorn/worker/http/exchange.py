"""ONE ASGI exchange: a request on its way in, a response on its way out, whatever wire carries them.

States of the response: WAITING ──start──▶ STARTED ──first body──▶ SENDING ──last body──▶ COMPLETE. The head waits in
STARTED for the first body part, so that both leave in one write. A stream of events may begin long before its first
event: so the head leaves alone (`announce`) when the application waits in `receive`, mostly for its peer to leave, and
else at the second sweep of the connection that finds it waiting. The request's body: parts arrive by `feed`, its end by
`feed_end`; `receive` hands them out. The peer's end: `hang_up` (it will send nothing more: `receive` says so, `send`
goes on, because a client may close its half and still read) and `lost` (nobody is there: `send` raises).

A connection may carry many exchanges. Each has its own back-pressure: `receive` asks for more of its own body, and
`send` waits when its own response has no room (`part`), until `resume_writing`.

Owns: the ASGI messages of this exchange and what the application may do when. Nothing is allocated until something
must wait: one future, made by the first `receive` or `send` that cannot go on. Must not: know a wire, a clock or a
socket: a subclass for each wire has these (`part` and the methods behind it). Fails by: `RuntimeError` in the
application for messages out of order, `ClientDisconnected` once the peer has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn._types import Message
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.access.log import CLIENT_LEFT
from uvicorn.worker.http.payload import TURN, as_bytes
from uvicorn.worker.http.request import Request
from uvicorn.worker.http.scope import EARLY_HINT

if TYPE_CHECKING:
    from uvicorn.worker.access.entry import Entry
    from uvicorn.worker.http.deadlines import BodyClock

WAITING, STARTED, SENDING, COMPLETE = range(4)
_OPEN = (STARTED, SENDING)

HIGH_WATER = 65536
"""Bytes of unread body above which reading from the socket pauses."""

_log = logging.getLogger("uvicorn.error")


class Exchange:
    """`receive` and `send` of one request. A wire is a class derived from this one (`http1/response`).

    `continue_due`: the client waits for a 100 before it sends its body. `heard_end`: `receive` has said http.disconnect
    while the response was not complete. `in_flight`: `call` counts it as load. `entry` is its line in an access log
    that follows requests to their end, None in others. `body_clock`: what the deadlines remember of its body.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_end_told",
        "_parts",
        "_start",
        "_waiter",
        "_write_waiter",
        "body_clock",
        "body_complete",
        "continue_due",
        "entry",
        "heard_end",
        "hung_up",
        "in_flight",
        "is_lost",
        "phase",
        "request",
        "scope",
    )

    def __init__(self, request: Request, scope: dict[str, Any], body_complete: bool) -> None:
        self.request = request
        self.scope = scope
        self._parts = 0
        self.phase = WAITING
        self.body_complete = body_complete
        self.continue_due = request.expect_continue
        self.hung_up = self.heard_end = self.is_lost = self.in_flight = self._end_told = False
        self._start: Message | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self.entry: Entry | None = None
        self.body_clock: BodyClock | None = None

    # -- what a wire does --------------------------------------------------------------------------------------

    def part(self, start: Message | None, body: bytes, more: bool) -> bool:
        """Send a part of the body; `start` is the message that began the response, with its first part, None with the
        others. Whether there is room for more: if not, the application waits until `resume_writing`.

        Raises ValueError or TypeError for a head that cannot be put on the wire, RuntimeError for a body that is longer
        than was announced; then nothing was sent.
        """
        raise NotImplementedError

    def completed(self) -> None:
        """The last part of the response was sent."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Tell the client to send the body of its request: a 100 (RFC 9110, 10.1.1)."""
        raise NotImplementedError

    def hint(self, links: Iterable[bytes]) -> None:
        """Send a 103 with these Link values (RFC 8297)."""
        raise NotImplementedError

    def body_wanted(self) -> None:
        """The application has taken what there was of the body, or waits for its first part: read on."""
        raise NotImplementedError

    def answer(self, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send a response of ours in the application's place, which has not begun one, and call `answered`."""
        raise NotImplementedError

    def cut(self) -> None:
        """End a response of which the rest will never come, so that its client does not take it for the whole."""
        raise NotImplementedError

    def unanswered(self) -> None:
        """The application has ended without a response, because its client left or because it was told so."""
        raise NotImplementedError

    def named(self) -> str:
        """The request, as a line about a fault names it."""
        raise NotImplementedError

    # -- what the connection says ------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """A part of the request's body. True while the application should be read for, False above HIGH_WATER."""
        self.continue_due = False
        self._body.append(data)
        self._body_size += len(data)
        self._wake()
        return self._body_size < HIGH_WATER

    def feed_end(self) -> None:
        """The request's body is complete."""
        self.body_complete = True
        self._wake()

    def hang_up(self) -> None:
        """The peer will send nothing more, or the server wants the application to end."""
        self.hung_up = True
        self._wake()

    def lost(self) -> None:
        """Nobody is there to read a response."""
        self.hung_up = self.is_lost = True
        self._wake()
        self.resume_writing()
        if self.entry is not None:
            self.entry.end(whole=False)

    def answered(self, status: int, size: int) -> None:
        """The connection has answered in the application's place, with a body of `size` bytes, and ends."""
        self.phase = COMPLETE
        self.hang_up()
        if self.entry is not None:
            self.entry.answered(status, size)

    def announce(self) -> None:
        """Send the head of a response whose body is late: a client takes a stream of events for open then."""
        if self.phase == STARTED and not self.continue_due:  # a 100 may yet be asked for, and comes before the head
            try:
                self.part(self._start, b"", True)
            except Exception:
                return  # what is wrong with the head, the application hears with its first body part
            self.phase = SENDING

    def resume_writing(self) -> None:
        """The transport takes data again (or never will)."""
        waiter, self._write_waiter = self._write_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- what the application calls ----------------------------------------------------------------------------

    async def receive(self) -> Message:
        """`http.request` until the body was told to its end, then `http.disconnect` (ASGI specification, HTTP)."""
        while True:
            if self.is_lost or self.phase == COMPLETE:
                return {"type": "http.disconnect"}
            if self._body_size or (self.body_complete and not self._end_told):
                return self._take()
            if self.hung_up:
                self.heard_end = True
                return {"type": "http.disconnect"}
            if self.continue_due:  # RFC 9110, 10.1.1: when the application first asks for the body
                self.continue_due = False
                self.go_on()
                self.body_wanted()
            if self.phase == STARTED:
                self.announce()
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)

    def _take(self) -> Message:
        parts = self._body
        data = b"" if not parts else parts[0] if len(parts) == 1 else b"".join(parts)
        if parts:
            self._body = []
            self._body_size = 0
        more = not self.body_complete
        if more:
            self.body_wanted()
        else:
            self._end_told = True
        return {"type": "http.request", "body": data, "more_body": more}

    async def send(self, message: Message) -> None:
        """`http.response.start`, then `http.response.body` until `more_body` is false (ASGI specification, HTTP).

        Before the start `http.response.early_hint`, to HTTP/1.1 (ASGI specification, Extensions).
        Raises ClientDisconnected (an OSError) once the peer has left, RuntimeError for a message out of order,
        ValueError for what cannot be put on the wire.
        """
        if self.is_lost:
            raise ClientDisconnected("The client has closed the connection.")
        kind = message["type"]
        phase = self.phase
        if kind == "http.response.body":
            if phase in _OPEN:
                body = message.get("body", b"")
                more = message.get("more_body", False)
                if type(body) is not bytes:
                    body = as_bytes(body, "The body of a response must be bytes")
                try:
                    room = self.part(self._start if phase == STARTED else None, body, more)
                except (ValueError, TypeError):
                    if phase == STARTED:  # nothing is on the wire yet: the application, or a 500, may start again
                        self.phase = WAITING
                    raise
                if not more:
                    self.phase = COMPLETE
                    self.completed()
                    if self._waiter is not None:
                        self._wake()
                    return
                self.phase = SENDING
                if not self.is_lost:
                    self._parts += 1
                    if not room:
                        await self._writable()
                    elif not self._parts % TURN:
                        await asyncio.sleep(0)
                return
        elif kind == "http.response.start" and phase == WAITING:
            self._start = message
            self.phase = STARTED
            if self._waiter is not None:
                self.announce()
            return
        elif kind == EARLY_HINT and phase == WAITING and self.request.http_version != "1.0":
            self.hint(message.get("links", ()))
            return
        raise RuntimeError(_out_of_order(kind, phase))

    async def _writable(self) -> None:
        if self._write_waiter is None:
            self._write_waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._write_waiter)
        if self.is_lost:
            raise ClientDisconnected("The client has closed the connection.")

    @property
    def status_to_tell(self) -> int:
        """What the access log has of the response that has begun. A framework that hears of its client's end answers,
        with an error, somebody who is gone."""
        assert self._start is not None
        status: int = self._start["status"]
        return CLIENT_LEFT if self.heard_end and status >= 500 else status

    # -- the application's end (see `call`) --------------------------------------------------------------------

    SETTLED: ClassVar[int] = COMPLETE

    @property
    def client_gone(self) -> bool:
        return self.is_lost or self.heard_end

    def unavailable(self) -> None:
        self.answer(503, "Service Unavailable", [(b"retry-after", b"1")])

    def returned(self) -> bool:
        gone = self.client_gone
        if not gone:
            what = "starting" if self.phase == WAITING else "completing"
            _log.error("ASGI callable returned without %s response.", what)
        else:
            _log.debug("The client left before the response was complete.")
        self.failed(gone)
        return True

    def failed(self, departed: bool) -> None:
        """Answer 500 while nothing was sent, else cut: a second head is never sent. An application that was told that
        its client has left owes it no answer."""
        if self.is_lost or self.phase == COMPLETE:
            return
        if self.phase == SENDING:
            self.cut()
        elif departed:
            self.unanswered()
        else:
            self.answer(500, "Internal Server Error")


def _out_of_order(kind: str, phase: int) -> str:
    if phase == COMPLETE:
        return f"Unexpected ASGI message '{kind}' sent, after response already completed."
    wanted = "http.response.start" if phase == WAITING else "http.response.body"
    return f"Expected ASGI message '{wanted}', but got '{kind}'."
