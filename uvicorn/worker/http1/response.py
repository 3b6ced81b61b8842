"""An exchange on HTTP/1.1 (RFC 9112): the head of the response, the framing of its body, keep-alive.

This is a subclass of `Exchange`, not a separate object: creating one more object for each request costs 3 % of the
instructions of a small GET.

Owns: when the head is made (with the first part of the body, so that both are written together), how much of the
announced length is left, interim responses (100, 103), and what the access log is told. `framing` makes the bytes, and
the connection writes them. Must not: know asyncio, or the order of ASGI messages. Fails by: ValueError or TypeError for
a head that cannot be sent, RuntimeError for a body that is longer than its Content-Length; nothing was written then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn._types import Message
from uvicorn.worker.access.log import CLIENT_LEFT, named, shown, shown_target
from uvicorn.worker.familiar.cycle import CycleNames
from uvicorn.worker.http.exchange import SENDING, TRAILING, Exchange
from uvicorn.worker.http1.framing import (
    BODILESS,
    CHUNKED,
    LENGTH,
    UNTIL_CLOSE,
    chunk,
    early_hints,
    last_chunk,
    response_head,
    text_response,
)
from uvicorn.worker.transport.outbox import JOIN_LIMIT

if TYPE_CHECKING:
    import asyncio

    from uvicorn.worker.access.entry import Entry
    from uvicorn.worker.http.scope import Endpoints
    from uvicorn.worker.http.state import ServerState
    from uvicorn.worker.http1.request_head import RequestHead


class ExchangeCarrier(Protocol):
    """What an exchange needs of its connection."""

    transport: asyncio.Transport
    writable: bool
    """Whether the transport is below its high-water mark."""
    closing: bool
    """Whether the next response is the last one."""
    eof: bool
    """Whether the peer has closed its half."""
    logs_access: bool
    """Whether a line is wanted when the response begins."""
    _ends: Endpoints
    _state: ServerState

    def write(self, data: bytes) -> None: ...

    def write_large(self, head: bytes, body: bytes, more: bool) -> None: ...

    def ends_here(self) -> bool:
        """Whether the response that begins now is the last one, since the connection shall end."""

    def body_wanted(self) -> None:
        """The application has taken what there was of the body: read on."""

    def response_complete(self, exchange: Http1Exchange) -> None: ...

    def end_behind(self, exchange: Http1Exchange) -> None:
        """Close after the last response."""

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Http1Exchange(CycleNames, Exchange):
    """One exchange on HTTP/1.1.

    `left`: the bytes of the Content-Length that were not sent yet; if some are left at the end, the connection cannot
    be reused. `keep_alive`: whether it can be reused otherwise.
    """

    __slots__ = ("_connection", "_framing", "keep_alive", "left")

    if TYPE_CHECKING:
        request: RequestHead

    def __init__(
        self, connection: ExchangeCarrier, request: RequestHead, scope: dict[str, Any], complete: bool
    ) -> None:
        Exchange.__init__(self, request, scope, complete)
        self._connection = connection
        self._framing = self.left = 0
        self.keep_alive = request.keep_alive

    def part(self, start: Message | None, body: bytes, more: bool) -> bool:
        connection = self._connection
        size = len(body)
        if start is None and more and self._framing == CHUNKED and size < JOIN_LIMIT and self.entry is None:
            if body:  # a shortcut for most parts of a stream, with the result of the code below
                connection.write(b"%x\r\n%b\r\n" % (size, body))
            return connection.writable
        head = b""
        if start is not None:
            # Without a 100 the client may send its body or not.
            if (connection.closing and connection.ends_here()) or self.continue_due:
                self.keep_alive = self.continue_due = False
            head, self._framing, self.left, self.keep_alive = response_head(
                self.request,
                start["status"],
                start.get("headers", ()),
                connection._state.default,
                self.keep_alive,
                size,
                more,
            )
        framing = self._framing
        if framing == LENGTH:
            left = self.left - size
            if left < 0:
                raise RuntimeError("Response content longer than Content-Length")
            self.left = left
        elif framing == CHUNKED:
            body = chunk(body, more)
        elif framing == BODILESS:
            body = b""
        if head and connection.logs_access:
            self.log(self.status_to_tell)
        if len(body) < JOIN_LIMIT:
            connection.write(head + body)
        else:
            connection.write_large(head, body, more)
        if self.entry is not None:
            self._follow(self.entry, head, size, more)
        return connection.writable

    def _follow(self, entry: Entry, head: bytes, size: int, more: bool) -> None:
        """Note for the access log what was sent."""
        if head:
            entry.status, entry.head = self.status_to_tell, head
        if self._framing != BODILESS:
            entry.sent += size
        if not more:
            entry.end(whole=not self.left and entry.status != CLIENT_LEFT)

    def trail(self, trailers: list[tuple[bytes, bytes]]) -> None:
        if self._framing == CHUNKED:
            self._connection.write(last_chunk(trailers))
        if self.entry is not None:
            self.entry.end(whole=not self.left and self.entry.status != CLIENT_LEFT)

    def completed(self) -> None:
        self._connection.response_complete(self)

    def go_on(self) -> None:
        self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def hint(self, links: Iterable[bytes]) -> None:
        self._connection.write(early_hints(links))

    def body_wanted(self) -> None:
        self._connection.body_wanted()

    def answer(self, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        connection = self._connection
        connection.closing = True
        if connection.logs_access:
            self.log(status)
        connection.write(text_response(self.request, status, text, connection._state.default, extra))
        self.answered(status, len(text))
        connection.response_complete(self)

    def answered(self, status: int, size: int) -> None:
        self.left = 0  # the application's response was not sent
        self.keep_alive = False
        super().answered(status, size)

    def cut(self) -> None:
        connection = self._connection
        connection.closing = True
        if self.entry is not None:
            self.entry.end(whole=False)
        if self.unbounded:
            connection.abort()
        else:
            connection.end_behind(self)

    def unanswered(self) -> None:
        connection = self._connection
        connection.closing = True
        if connection.eof:
            connection.close()
        else:  # the server told it to end, because the time to drain is over
            self.answer(503, "Service Unavailable")

    @property
    def unbounded(self) -> bool:
        """Whether the body that is being sent ends when the connection closes (RFC 9112, 6.3)."""
        return self.phase in (SENDING, TRAILING) and self._framing == UNTIL_CLOSE

    # -- for logs and reports -----------------------------------------------------------------------------------

    def log(self, status: int) -> None:
        """Write a line to the access log, without duration and size."""
        connection, request = self._connection, self.request
        path = shown_target(connection._ends.root_path, request.target)
        connection._state.access.line(self._peer(), request.method, path, request.http_version, status)

    def named(self) -> str:
        ends, request = self._connection._ends, self.request
        line = f"{request.method} {shown_target(ends.root_path, request.target)} HTTP/{request.http_version}"
        return named(self.entry, request, self._peer(), line, ends.believed())

    def in_short(self) -> str:
        """The request, in a report about a worker that hangs."""
        target = shown_target(self._connection._ends.root_path, self.request.target)
        return f"{self.request.method} {target} from {self._peer()}"

    def _peer(self) -> str:
        """The client's address; a trusted proxy may have named it."""
        return shown(self.scope.get("client"))
