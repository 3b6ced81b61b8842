"""ONE ASGI exchange: a request on its way in, a response on its way out.

States of the response: WAITING ──start──▶ STARTED ──first body──▶ SENDING ──last body──▶ COMPLETE. The head waits in
STARTED for the first body part, so that both leave in one write. A stream of events may begin long before its first
event: so the head leaves alone (`announce`) when the application waits in `receive`, mostly for its peer to leave, and
else at the second sweep of the connection that finds it waiting. The request's body: parts arrive by `feed`, its end by
`feed_end`; `receive` hands them out. The peer's end: `hang_up` (it will send nothing more: `receive` says so, `send`
goes on, because a client may close its half and still read) and `lost` (nobody is there: `send` raises).

Owns: the ASGI messages of this exchange and what the application may do when. Nothing is allocated until something
must wait: one future, made by the first `receive` or `send` that cannot go on. Must not: know a codec, a clock or a
socket; it talks to its `Outlet` (the connection). Fails by: `RuntimeError` in the application for messages out of
order, `ClientDisconnected` once the peer has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from uvicorn._types import ASGI3Application, Message
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.access.log import CLIENT_LEFT
from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http.scope import EARLY_HINT
from uvicorn.worker.http1.framing import (
    BODILESS,
    CHUNKED,
    LENGTH,
    UNTIL_CLOSE,
    chunk,
    early_hints,
    response_head,
)
from uvicorn.worker.transport.outbox import JOIN_LIMIT

WAITING, STARTED, SENDING, COMPLETE = range(4)
_OPEN = (STARTED, SENDING)

TURN = 64
"""Parts of a response after which the others get a turn of the loop, if nothing else made this one wait: a client that
takes everything at once, or a response of which nothing is written (to HEAD), must not hold them up for ever."""
HIGH_WATER = 65536
"""Bytes of unread body above which reading from the socket pauses."""


if TYPE_CHECKING:
    from uvicorn.worker.http1.request_head import RequestHead

_log = logging.getLogger("uvicorn.error")


class Outlet(Protocol):
    """What a stream needs of its connection."""

    writable: bool
    """Whether the transport is below its high-water mark."""
    closing: bool
    """Whether the connection shall end."""
    logs_access: bool
    """Whether a plain line is wanted when the response begins."""

    @property
    def trusted(self) -> bool:
        """Whether the peer is a proxy that is believed."""

    def write(self, data: bytes) -> None: ...

    def write_large(self, head: bytes, body: bytes, more: bool) -> None: ...

    def body_wanted(self) -> None: ...

    def ends_here(self) -> bool: ...

    def log_access(self, stream: Stream, status: int) -> None: ...

    def answer(self, stream: Stream, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer in the application's place, which has not begun to."""

    def cut(self, stream: Stream) -> None:
        """End a response of which the rest will never come."""

    def unanswered(self, stream: Stream) -> None:
        """The application has ended without a response, because its client left or because it was told so."""

    def response_complete(self, stream: Stream) -> None: ...

    def named(self, stream: Stream) -> str: ...


class Stream:
    """`receive` and `send` of one request.

    `left`: the bytes that Content-Length announced and that were not sent yet. Some are left after the last part of a
    response that is too short: its connection cannot be used again. `heard_end`: `receive` has said http.disconnect
    while the response was not complete.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_end_told",
        "_ending",
        "_outlet",
        "_parts",
        "_start",
        "_waiter",
        "_write_waiter",
        "body_complete",
        "continue_due",
        "default",
        "heard_end",
        "hung_up",
        "in_flight",
        "is_lost",
        "keep_alive",
        "left",
        "phase",
        "request",
        "scope",
    )

    def __init__(
        self,
        outlet: Outlet,
        request: RequestHead,
        scope: dict[str, Any],
        default: DefaultFields,
        body_complete: bool,
    ) -> None:
        self._outlet = outlet
        self.request = request
        self.scope = scope
        self.default = default
        self.keep_alive = request.keep_alive
        self._ending = self._parts = self.left = 0
        self.in_flight = False
        self.phase = WAITING
        self.body_complete = body_complete
        self.continue_due = request.expect_continue
        self.hung_up = False
        self.heard_end = False
        self.is_lost = False
        self._start: Message | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        self._end_told = False
        self._waiter: asyncio.Future[None] | None = None
        self._write_waiter: asyncio.Future[None] | None = None

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

    def answered(self, status: int, size: int) -> None:
        """The connection has answered in the application's place, with a body of `size` bytes, and ends."""
        self.phase = COMPLETE
        self.left = 0  # of the application's response, which was never sent
        self.keep_alive = False
        self.hang_up()

    def announce(self) -> None:
        """Send the head of a response whose body is late: a client takes a stream of events for open then."""
        if self.phase == STARTED and not self.continue_due:  # a 100 may yet be asked for, and comes before the head
            try:
                self._send_body(b"", True, STARTED)
            except Exception:
                self.phase = STARTED  # what is wrong with the head, the application hears with its first body part

    def named(self) -> str:
        """The request, as a line about a fault names it."""
        return self._outlet.named(self)

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
                self._outlet.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._outlet.body_wanted()
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
            self._outlet.body_wanted()
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
                self._send_body(message.get("body", b""), message.get("more_body", False), phase)
                if self.phase == SENDING and not self.is_lost:  # never after the last part: nobody would wake it
                    self._parts += 1
                    if not self._outlet.writable:
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
        elif kind == EARLY_HINT and phase == WAITING and self.request.http_version == "1.1":
            self._outlet.write(early_hints(message.get("links", ())))
            return
        raise RuntimeError(_out_of_order(kind, phase))

    def _send_body(self, body: bytes, more: bool, phase: int) -> None:
        if type(body) is not bytes:
            body = _as_bytes(body)
        outlet = self._outlet
        head = self._head(len(body), more) if phase == STARTED else b""
        ending = self._ending
        if ending == LENGTH:
            left = self.left - len(body)
            if left < 0:
                raise RuntimeError("Response content longer than Content-Length")
            self.left = left
        elif ending == CHUNKED:
            body = chunk(body, more)
        elif ending == BODILESS:
            body = b""
        if head and outlet.logs_access:
            outlet.log_access(self, self.status_to_tell)
        if len(body) < JOIN_LIMIT:
            outlet.write(head + body)
        else:
            outlet.write_large(head, body, more)
        if more:
            self.phase = SENDING
        else:
            self.phase = COMPLETE
            outlet.response_complete(self)
            if self._waiter is not None:
                self._wake()

    def _head(self, size: int, more: bool) -> bytes:
        start = self._start
        assert start is not None
        # Without a 100 nobody knows whether the body will come.
        if (self._outlet.closing and self._outlet.ends_here()) or self.continue_due:
            self.keep_alive = self.continue_due = False
        try:
            head, self._ending, self.left, self.keep_alive = response_head(
                self.request, start["status"], start.get("headers", ()), self.default, self.keep_alive, size, more
            )
        except (ValueError, TypeError):
            self.phase = WAITING  # nothing is on the wire yet: the application, or a 500, may start again
            raise
        return head

    # -- the application's end (see `call`) --------------------------------------------------------------------

    SETTLED: ClassVar[int] = COMPLETE

    @property
    def client_gone(self) -> bool:
        return self.is_lost or self.heard_end

    def unavailable(self) -> None:
        self._outlet.answer(self, 503, "Service Unavailable", [(b"retry-after", b"1")])

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
            self._outlet.cut(self)
        elif departed:
            self._outlet.unanswered(self)
        else:
            self._outlet.answer(self, 500, "Internal Server Error")

    # -- what programs know of a request, by the names that they know ------------------------------------------

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Have `app` answer. Called where a program has changed how that is done (`cycle`); the server is shorter."""
        await app(self.scope, self.receive, self.send)

    async def send_500_response(self) -> None:
        """The answer to a request whose application has failed. The server has its own."""
        body = b"Internal Server Error"
        fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": 500, "headers": [*fields, (b"connection", b"close")]})
        await self.send({"type": "http.response.body", "body": body})

    @property
    def transport(self) -> Any:
        return getattr(self._outlet, "transport", None)

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger("uvicorn.error")

    @property
    def access_logger(self) -> logging.Logger:
        return logging.getLogger("uvicorn.access")

    @property
    def access_log(self) -> bool:
        return self._outlet.logs_access

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return self.default.pairs

    @property
    def body(self) -> bytes:
        """What has arrived of the request's body and was not received yet."""
        return b"".join(self._body)

    @property
    def more_body(self) -> bool:
        return not self.body_complete

    @property
    def disconnected(self) -> bool:
        return self.hung_up

    @property
    def response_started(self) -> bool:
        return self.phase != WAITING

    @property
    def response_complete(self) -> bool:
        return self.phase == COMPLETE

    @property
    def waiting_for_100_continue(self) -> bool:
        return self.continue_due

    @property
    def status_to_tell(self) -> int:
        """What the access log has of the response that has begun. A framework that hears of its client's end answers,
        with an error, somebody who is gone."""
        assert self._start is not None
        status: int = self._start["status"]
        return CLIENT_LEFT if self.heard_end and status >= 500 else status

    @property
    def unbounded(self) -> bool:
        """Whether only the end of the connection ends the body that is being sent."""
        return self.phase == SENDING and self._ending == UNTIL_CLOSE

    async def _writable(self) -> None:
        if self._write_waiter is None:
            self._write_waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._write_waiter)
        if self.is_lost:
            raise ClientDisconnected("The client has closed the connection.")


def _as_bytes(body: Any) -> bytes:
    """Other bytes-like objects are taken too, and None, which is empty. Raises TypeError for anything else, before a
    byte is on the wire.
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if body is None:
        return b""
    raise TypeError(f"The body of a response must be bytes, not {type(body).__name__}.")


def _out_of_order(kind: str, phase: int) -> str:
    if phase == COMPLETE:
        return f"Unexpected ASGI message '{kind}' sent, after response already completed."
    wanted = "http.response.start" if phase == WAITING else "http.response.body"
    return f"Expected ASGI message '{wanted}', but got '{kind}'."
