"""A request that is followed to the end of its response, for access logs that have durations and sizes.

Imported only when such a log is wanted: other requests pay nothing for it. An exchange, or a session, has its entry and
says what it sends. Owns: what is remembered of a request until its line can be told, and when that is. A response that
its client did not wait for is told when the client has left: with its status and the bytes so far, or 499 when there
was none yet. Must not: format a line, or import anything of HTTP. Fails by: nothing of its own.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn.logs.formats import AccessRecord

if TYPE_CHECKING:
    from uvicorn.worker.access.log import AccessLog
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
        """A whole answer of ours in the application's place."""
        self.status, self.head = status, head
        self.sent = 0 if self._request.method == "HEAD" else sent
        self.end(whole=True)
