"""An HTTP response in place of the handshake (ASGI specification, WebSocket denial response).

Owns: the bytes of that response over HTTP/1.1, one part of its body after the other. Must not: write, or know asyncio.
Fails by: what `framing` raises for what cannot be put on the wire.
"""

from __future__ import annotations

from typing import Any

from uvicorn.worker.http.defaults import DefaultFields
from uvicorn.worker.http1.framing import CHUNKED, LENGTH, chunk, response_head
from uvicorn.worker.http1.request_head import RequestHead


class Denial:
    """Begun by `websocket.http.response.start`; it is the last response of its connection."""

    __slots__ = ("_default", "_ending", "_left", "_request", "_start", "status")

    def __init__(self, request: RequestHead, start: Any, default: DefaultFields) -> None:
        self._request = request
        self._start: Any = start
        self._default = default
        self._ending = self._left = 0
        self.status: int = start["status"]

    @property
    def begun(self) -> bool:
        """Whether its head is on the wire."""
        return self._start is None

    def encode(self, body: bytes, more: bool) -> bytes:
        """A part of the body, behind the head if it is the first one. Raises RuntimeError above Content-Length."""
        head, ending, left = b"", self._ending, self._left
        if self._start is not None:
            headers = self._start.get("headers", ())
            head, ending, left, _ = response_head(
                self._request, self.status, headers, self._default, False, len(body), more
            )
        if ending == LENGTH:
            left -= len(body)
            if left < 0:
                raise RuntimeError("Response content longer than Content-Length")
        elif ending == CHUNKED:
            body = chunk(body, more)
        else:
            body = b""
        self._start, self._ending, self._left = None, ending, left
        return head + body

    @property
    def short(self) -> bool:
        """Whether less was given than Content-Length announced."""
        return self._ending == LENGTH and self._left > 0
