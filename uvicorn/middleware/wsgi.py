"""WSGI applications (PEP 3333) behind the ASGI 3 call, in a bounded pool of threads.

The package a2wsgi is the adapter: it makes the environment, owns the threads and keeps the order of what an application
sends. This module adds what it lacks at both ends. A response whose client has left ends, closes its iterable and gives
its thread back; the adapter alone would keep the thread for ever. The body of a request is a
whole file object, ends where the message ends (also without Content-Length), and an upload that was cut short is an
error and not an end. `start_response` may be called again, with `exc_info`, until something was sent.

Must not: know a server; it works below any ASGI application. Fails by: `ImportError` without the package; the
application's exception is raised on, and so is one that `send` has raised.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_to_bytes

from uvicorn._types import (
    ASGIReceiveCallable,
    ASGISendCallable,
    Environ,
    ExcInfo,
    Message,
    Scope,
    StartResponse,
    WSGIApp,
)
from uvicorn.errors import ClientDisconnected

MISSING = "A WSGI application needs the package a2wsgi. Run: pip install a2wsgi"

READ_SIZE = 65536
"""The most bytes of a body that are read ahead of the application."""

_KEY = "uvicorn.exchange"


class WSGIMiddleware:
    """Serves `app` with up to `workers` threads; further requests wait for one, in their order."""

    def __init__(self, app: WSGIApp, workers: int = 10) -> None:
        try:
            from a2wsgi import WSGIMiddleware as Adapter
        except ImportError:
            raise ImportError(MISSING) from None
        self.app = app
        self.workers = workers
        call: Any = self._call
        self._adapter: Any = Adapter(call, workers=workers)

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The threads."""
        executor: ThreadPoolExecutor = self._adapter.executor
        return executor

    @executor.setter
    def executor(self, executor: ThreadPoolExecutor) -> None:
        self._adapter.executor = executor

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":  # a lifespan is completed, a WebSocket refused
            await self._adapter(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        # HTTP_X_FORWARDED_FOR must not be what a client has sent as X_Forwarded_For, past every proxy.
        fields = [field for field in scope["headers"] if b"_" not in field[0]]
        inner = {**scope, "headers": fields, _KEY: exchange}
        task = asyncio.ensure_future(self._adapt(inner, receive, exchange))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # The thread cannot be stopped: it ends at its next part, which has to be taken from it.
            exchange.fault = exchange.fault or ClientDisconnected("The request was cancelled.")
            task.add_done_callback(_forget)
            raise
        if exchange.fault is not None:
            raise exchange.fault

    async def _adapt(self, scope: Any, receive: ASGIReceiveCallable, exchange: _Exchange) -> None:
        """The adapter's call. SystemExit and KeyboardInterrupt are kept: a task that raises one ends its loop."""
        try:
            await self._adapter(scope, receive, exchange.send)
        except (SystemExit, KeyboardInterrupt) as exc:
            exchange.fault = exc

    def _call(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        """The application that the adapter calls; runs in a thread."""
        exchange: _Exchange = environ["asgi.scope"].pop(_KEY)
        exchange.start_response = start_response
        scope = environ["asgi.scope"]
        if "\ufffd" in scope["path"] and scope.get("raw_path"):  # not UTF-8: the application may use another encoding
            path = unquote_to_bytes(scope["raw_path"]).decode("latin-1")
            environ["PATH_INFO"] = path.removeprefix(environ["SCRIPT_NAME"])
        environ["wsgi.input"] = io.BufferedReader(_Body(exchange), READ_SIZE)
        environ["wsgi.input_terminated"] = True
        environ["wsgi.errors"] = sys.stderr
        start: Any = exchange.start
        parts: Any = self.app(environ, start)
        try:
            for part in parts:
                if part:
                    exchange.begin()
                    yield part
                exchange.check()
            exchange.begin()
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()


class _WSGIMiddleware(WSGIMiddleware):
    """The other package's second name for it."""


def build_environ(scope: Scope, message: Message, body: io.IOBase) -> Environ:
    """The environment of a request whose body is `body`; `message` is not looked at."""
    from a2wsgi.wsgi import build_environ as adapters

    make: Any = adapters  # its own types for the same
    environ: Environ = make(scope, body)
    return environ


class _Exchange:
    """One request between the loop and its thread. Written in the loop: `fault`; in the thread: everything else."""

    def __init__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self.loop = asyncio.get_running_loop()
        self.receive: Any = receive
        self.fault: BaseException | None = None
        self.start_response: Any = None
        self._send: Any = send
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._write: Any = None

    async def send(self, message: Message) -> None:
        """The server's `send`, but it accepts every message, so that the adapter's queue is emptied."""
        if self.fault is None:
            try:
                await self._send(message)
            except Exception as exc:
                self.fault = exc

    def check(self) -> None:
        """Raise the exception of `send`, to end the response in the application's thread."""
        if self.fault is not None:
            raise self.fault

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Any:
        """`start_response` of PEP 3333: with `exc_info` it may replace a head that was not sent yet."""
        if exc_info is not None and self._write is not None and exc_info[1] is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self._head is not None:
            raise AssertionError("start_response was called a second time, and without exc_info.")
        self._head = (status, headers)
        return self.write

    def begin(self) -> None:
        """Send the head."""
        if self._write is None:
            if self._head is None:
                raise AssertionError("The WSGI application has not called start_response.")
            self._write = self.start_response(*self._head)

    def write(self, data: bytes) -> None:
        self.check()
        self.begin()
        self._write(data)


class _Body(io.RawIOBase):
    """The body of a request, fetched through the loop as it is read; runs in a thread."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._data = memoryview(b"")
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        exchange = self._exchange
        while not self._data and self._more:
            message = asyncio.run_coroutine_threadsafe(exchange.receive(), exchange.loop).result()
            if message["type"] != "http.request":
                raise ClientDisconnected("The client left before its request was complete.")
            self._data = memoryview(message.get("body", b""))
            self._more = message.get("more_body", False)
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def _forget(task: asyncio.Future[None]) -> None:
    """Retrieve the exception of a call whose response was ended by us: it is expected."""
    if not task.cancelled():
        task.exception()
