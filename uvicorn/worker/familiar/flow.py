"""Flow control for asyncio protocols of programs, with the interface of uvicorn 0.54's class.

Our own connections do not use it (`transport/carrier`). Owns: two flags and one event. Must not: know a request.
"""

from __future__ import annotations

import asyncio

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.worker.http.exchange import HIGH_WATER

CLOSE_HEADER = (b"connection", b"close")
HIGH_WATER_LIMIT = HIGH_WATER


class FlowControl:
    """Pauses and resumes reading, however often it is asked to; `drain` waits while writing is paused."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._writable = asyncio.Event()
        self._writable.set()

    async def drain(self) -> None:
        await self._writable.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._writable.set()


async def service_unavailable(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """An application that answers 503 and closes the connection."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"19"), CLOSE_HEADER]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"Service Unavailable"})
