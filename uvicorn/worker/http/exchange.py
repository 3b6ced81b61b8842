"""One ASGI exchange: a request and its response, on any wire.

States of the response: WAITING ──start──▶ STARTED ──first body──▶ SENDING ──last body──▶ COMPLETE. If the start has
promised trailers: SENDING ──last body──▶ TRAILING ──last trailers──▶ COMPLETE. In STARTED the head waits for the first
part of the body, so that both are written together. An event stream may have its first event much later; so the head is
sent alone (`announce`) when the application waits in `receive`, usually for the disconnect, or when the connection's
second sweep finds it still waiting. The body of the request arrives by `feed` and `feed_end`; `receive` passes it on.
`hang_up` means that the peer sends nothing more: `receive` reports it, and `send` still works, because a client may
close its half of the connection and read on. `lost` means that the connection is gone: `send` raises.

A connection may carry many exchanges. Each has its own back-pressure: `receive` asks for more of its own body, and
`send` waits until its own response has room again (`part`, `resume_writing`).

A subclass for each wire implements the methods from `part` to `named`.

Owns: the ASGI messages of one request, and their order. It allocates nothing until something must wait; then it makes
one future. Must not: know a wire, a clock or a socket. Fails by: `RuntimeError` in the application for a message out of
order, `ClientDisconnected` once the client has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn._types import Message
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.access.log import CLIENT_LEFT
from uvicorn.worker.http.headers import checked_trailers
from uvicorn.worker.http.payload import TURN, as_bytes
from uvicorn.worker.http.request import Request
from uvicorn.worker.http.scope import EARLY_HINT, TRAILERS

if TYPE_CHECKING:
    from uvicorn.worker.access.entry import Entry
    from uvicorn.worker.http.deadlines import BodyClock

WAITING, STARTED, SENDING, TRAILING, COMPLETE = range(5)
_OPEN = (STARTED, SENDING)

HIGH_WATER = 65536
"""Bytes of unread body above which reading from the socket pauses."""

_log = logging.getLogger("uvicorn.error")


class Exchange:
    """`receive` and `send` of one request. Each wire has a subclass (`http1/response`).

    `continue_due`: the client waits for a 100 (Continue) before it sends the body. `heard_end`: `receive` has returned
    http.disconnect before the response was complete. `in_flight`: see `call`. `entry`: its entry in an access log with
    durations or sizes, else None. `body_clock`: measures how fast the body arrives (`deadlines`).
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_end_told",
        "_parts",
        "_start",
        "_trailers",
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
        self._trailers: list[tuple[bytes, bytes]] | None = None  # those that were sent so far, where some are promised
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

    def trail(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """Send the end of a response whose body was sent to its end, with `trailers` where its wire can carry them."""
        raise NotImplementedError

    def completed(self) -> None:
        """The response is complete."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Tell the client to send the body of its request: a 100 (RFC 9110, 10.1.1)."""
        raise NotImplementedError

    def hint(self, links: Iterable[bytes]) -> None:
        """Send a 103 with these Link values (RFC 8297)."""
        raise NotImplementedError

    def body_wanted(self) -> None:
        """The application has received what there was of the body, or waits for its first part: read on."""
        raise NotImplementedError

    def answer(self, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send a response of the server's own, because the application has not sent one, and call `answered`."""
        raise NotImplementedError

    def cut(self) -> None:
        """End a response whose rest will never come, in a way that shows the client that it is not complete."""
        raise NotImplementedError

    def unanswered(self) -> None:
        """The application has ended without a response because its client left, or because it was told so."""
        raise NotImplementedError

    def named(self) -> str:
        """The request, as a line about a fault names it."""
        raise NotImplementedError

    # -- what the connection calls ----------------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """A part of the request's body. False when HIGH_WATER is reached: then reading should pause."""
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
        """The peer will send nothing more, or the server wants the application to end soon."""
        self.hung_up = True
        self._wake()

    def lost(self) -> None:
        """The connection is lost."""
        self.hung_up = self.is_lost = True
        self._wake()
        self.resume_writing()
        if self.entry is not None:
            self.entry.end(whole=False)

    def answered(self, status: int, size: int) -> None:
        """The server has sent a response of its own, with a body of `size` bytes."""
        self.phase = COMPLETE
        self.hang_up()
        if self.entry is not None:
            self.entry.answered(status, size)

    def announce(self) -> None:
        """Send the head before the body: this opens an event stream for its client."""
        if self.phase == STARTED and not self.continue_due:  # a 100 may still be sent, which has to precede the head
            try:
                self.part(self._start, b"", True)
            except Exception:
                return  # the application gets the exception when it sends the first part of the body
            self.phase = SENDING

    def resume_writing(self) -> None:
        """There is room again, or the connection is lost."""
        waiter, self._write_waiter = self._write_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- what the application calls ----------------------------------------------------------------------------

    async def receive(self) -> Message:
        """`http.request` until the end of the body, then `http.disconnect` (ASGI specification, HTTP)."""
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

        Before the start `http.response.early_hint`, not to HTTP/1.0; behind the last body, if the start has promised
        them, `http.response.trailers` until `more_trailers` is false (ASGI specification, Extensions).
        Raises ClientDisconnected (an OSError) once the peer has left, RuntimeError for a message out of order,
        ValueError for what cannot be put on the wire.
        """
        if self.is_lost:
            raise ClientDisconnected("The client has closed the connection.")
        kind = message["type"]
        phase = self.phase
        if kind == "http.response.body" and phase in _OPEN:
            body = message.get("body", b"")
            more = goes_on = message.get("more_body", False)
            if self._trailers is not None:
                goes_on = True
            if type(body) is not bytes:
                body = as_bytes(body, "The body of a response must be bytes")
            try:
                room = self.part(self._start if phase == STARTED else None, body, goes_on)
            except (ValueError, TypeError):
                if phase == STARTED:  # nothing was sent: the application may start again, or a 500 is sent
                    self.phase = WAITING
                raise
            if not goes_on:
                self.phase = COMPLETE
                self.completed()
                if self._waiter is not None:
                    self._wake()
                return
            self.phase = SENDING if more else TRAILING
            if not self.is_lost:
                self._parts += 1
                if not room:
                    await self._writable()
                elif not self._parts % TURN:
                    await asyncio.sleep(0)
        elif kind == "http.response.start" and phase == WAITING:
            self._start = message
            if "trailers" in message:
                self._trailers = [] if message["trailers"] else None
            self.phase = STARTED
            if self._waiter is not None:
                self.announce()
        elif kind == EARLY_HINT and phase == WAITING and self.request.http_version != "1.0":
            self.hint(message.get("links", ()))
        elif kind == TRAILERS and phase == TRAILING and self._trailers is not None:
            self._trailers += checked_trailers(message.get("headers", ()))
            if not message.get("more_trailers", False):
                self.trail(self._trailers if self.request.takes_trailers else [])
                self.phase = COMPLETE
                self.completed()
                if self._waiter is not None:
                    self._wake()
        else:
            raise RuntimeError(_out_of_order(kind, phase))

    async def _writable(self) -> None:
        if self._write_waiter is None:
            self._write_waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._write_waiter)
        if self.is_lost:
            raise ClientDisconnected("The client has closed the connection.")

    @property
    def status_to_tell(self) -> int:
        """The status for the access log. A framework that notices the disconnect may still send an error, which nobody
        receives: this is logged as 499."""
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
        """Answer 500 if nothing was sent yet, else cut the response: a second head is never sent. No answer is due if
        the application was told that its client has left."""
        if self.is_lost or self.phase == COMPLETE:
            return
        if self.phase >= SENDING:
            self.cut()
        elif departed:
            self.unanswered()
        else:
            self.answer(500, "Internal Server Error")


_WANTED = {
    WAITING: "http.response.start",
    STARTED: "http.response.body",
    SENDING: "http.response.body",
    TRAILING: TRAILERS,
}


def _out_of_order(kind: str, phase: int) -> str:
    hint = " Trailers follow the last body, if http.response.start has 'trailers': True." if kind == TRAILERS else ""
    if phase == COMPLETE:
        return f"Unexpected ASGI message '{kind}' sent, after response already completed.{hint}"
    return f"Expected ASGI message '{_WANTED[phase]}', but got '{kind}'.{hint}"
