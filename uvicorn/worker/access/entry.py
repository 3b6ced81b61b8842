"""The entry of a request in an access log with durations and sizes.

Imported only for such a log: without one, requests pay nothing. An exchange, or a WebSocket session, notes in its entry
what it sends. Owns: what is remembered until the line is written, and when that is: when the response has ended, or
when the client has left, with the status and the bytes so far, or 499 if there was no status yet. Must not: format a
line, or import anything of HTTP. Fails by: nothing.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn.logs.formats import AccessRecord

if TYPE_CHECKING:
    from uvicorn.worker.access.log import AccessLog
    from uvicorn.worker.http.request import Request

REQUEST_ID = "uvicorn.request_id"
"""The key of the scope's extension with the request id that is in the log."""


class Entry:
    """What is known about a request before its line is written."""

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
        """Write the line: the response is complete (`whole`), or it was cut. Only the first call counts."""
        access, self._access = self._access, None
        if access is not None:
            request = self._request
            access.tell(
                AccessRecord(
                    self._scope.get("client"),
                    request.method,
                    self._target,
                    request.http_version,
                    b"",
                    request.fields,
                    self.status or access.CLIENT_LEFT,
                    self.head,
                    self.sent,
                    monotonic() - self._began,
                    whole,
                    self.request_id,
                )
            )

    def answered(self, status: int, sent: int, head: bytes = b"") -> None:
        """The server has sent a response of its own."""
        self.status, self.head = status, head
        self.sent = 0 if self._request.method == "HEAD" else sent
        self.end(whole=True)
