"""Requests that are followed to the end of their response, for access logs that have durations and sizes.

Imported only when such a log is wanted: other requests pay nothing for it. Owns: what is remembered of a request until
its line can be told, and when that is. A response that its client did not wait for is told when the client has left:
with its status and the bytes so far, or 499 when there was none yet. Must not: format a line, or know a codec or a
transport. Fails by: nothing of its own.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn.errors import BadRequest
from uvicorn.logs.formats import Exchange
from uvicorn.worker.access.log import CLIENT_LEFT, AccessLog
from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http.exchange import STARTED, Outlet, Stream
from uvicorn.worker.http1.framing import BODILESS
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.http1.request_line import request_line

if TYPE_CHECKING:
    from uvicorn.worker.http.request import Request

REQUEST_ID = "uvicorn.request_id"
"""The extension of a scope that tells an application what its request is called in the log."""


class Entry:
    """What is known of a request until it is told."""

    __slots__ = ("_access", "_began", "_request", "_scope", "_target", "head", "request_id", "sent", "status")

    def __init__(self, access: AccessLog, request: Request, scope: dict[str, Any], trusted: bool) -> None:
        self._began = monotonic()
        self._access: AccessLog | None = access
        self._request = request
        self._scope = scope
        self._target: str = scope["root_path"] + request.target.decode("ascii")
        self.status = self.sent = 0
        self.head = b""
        self.request_id = ""
        if access.names_requests:
            self.request_id = access.request_id(request, trusted)
            scope["extensions"][REQUEST_ID] = {"id": self.request_id}

    def end(self, whole: bool) -> None:
        """The response is complete, or was cut short. Only the first call counts."""
        access, self._access = self._access, None
        if access is not None:
            request = self._request
            access.tell(
                Exchange(
                    self._scope.get("client"),
                    request.method,
                    self._target,
                    request.http_version,
                    b"",
                    request.fields,
                    self.status or CLIENT_LEFT,
                    self.head,
                    self.sent,
                    monotonic() - self._began,
                    whole,
                    self.request_id,
                )
            )

    def answered(self, status: int, sent: int, head: bytes = b"") -> None:
        """A whole answer of ours in the application's place."""
        self.status, self.head = status, head
        self.sent = 0 if self._request.method == "HEAD" else sent
        self.end(whole=True)


class FollowedStream(Stream):
    """A stream that tells the access log of its end."""

    __slots__ = ("_entry",)

    def __init__(
        self,
        access: AccessLog,
        outlet: Outlet,
        request: RequestHead,
        scope: dict[str, Any],
        default: DefaultFields,
        body_complete: bool,
    ) -> None:
        super().__init__(outlet, request, scope, default, body_complete)
        self._entry = Entry(access, request, scope, outlet.trusted)

    def _head(self, size: int, more: bool) -> bytes:
        head = super()._head(size, more)
        self._entry.status, self._entry.head = self.status_to_tell, head
        return head

    def _send_body(self, body: bytes, more: bool, phase: int) -> None:
        super()._send_body(body, more, phase)
        entry = self._entry
        if self._ending != BODILESS:
            entry.sent += len(body) if type(body) is bytes else memoryview(body).nbytes
        if not more:
            entry.end(whole=not self.left and entry.status != CLIENT_LEFT)

    def answered(self, status: int, size: int) -> None:
        super().answered(status, size)
        self._entry.answered(status, size)

    def lost(self) -> None:
        super().lost()
        if self.phase <= STARTED:  # a head that was made and never written
            self._entry.status = 0
        self._entry.end(whole=False)


def unread(client: tuple[str, Any] | None, begin: bytes, status: int, sent: int) -> Exchange:
    """What can be said of bytes that were no acceptable request: their line, in parts if it is one at all."""
    first = begin.lstrip(b"\r\n").partition(b"\n")[0].removesuffix(b"\r")
    method = target = version = ""
    try:
        line = request_line(first)
        shown = line.target.decode("ascii")
    except (BadRequest, UnicodeDecodeError):
        pass  # then it is told as it is
    else:
        if shown.isprintable():
            method, target, version = line.method, shown, line.http_version
    return Exchange(client, method, target, version, first, [], status, b"", sent, 0.0, True, "")
