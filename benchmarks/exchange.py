"""One HTTP/1.1 exchange on a raw socket, and what can go wrong with it.

Owns: a request's bytes, the collection of one response, the classes of failure, and the two smallest clients: one that
finds out who answers, and one whose answer is read later.
Must not: retry (but for `first_answers`, which asks a server that may still be starting), or leave loopback.
Fails by: the exceptions that `classify` has names for.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time

from benchmarks.processes import HOST

LIMIT = 5.0
KINDS = ("refused", "reset", "short", "5xx", "over 5 s", "wrong")


class Short(Exception):
    """The connection ended before the response was complete."""


class Wrong(Exception):
    """A response that is not the expected one. Its status decides whether it counts as 5xx."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def request_bytes(path: str, *, close: bool) -> bytes:
    connection = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{connection}\r\n".encode()


class Response:
    """Collects one response, with a Content-Length or in chunks; `feed` is true once it is complete. What follows it is
    `rest` then.
    """

    __slots__ = ("body_at", "buffer", "chunked", "close", "length", "rest", "status")

    def __init__(self) -> None:
        self.buffer = self.rest = b""
        self.chunked = False
        self.body_at = 0
        self.length = 0
        self.status = 0
        self.close = False

    def feed(self, data: bytes) -> bool:
        self.buffer += data
        if not self.body_at:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            self.body_at = end + 4
            lines = self.buffer[:end].lower().split(b"\r\n")
            self.status = int(lines[0].split()[1])
            fields = dict(line.split(b":", 1) for line in lines[1:])
            self.length = int(fields.get(b"content-length", b"0"))
            self.chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
            self.close = b"close" in fields.get(b"connection", b"")
        end = self._end_of_chunks() if self.chunked else self.body_at + self.length
        if not end or len(self.buffer) < end:
            return False
        self.buffer, self.rest = self.buffer[:end], self.buffer[end:]
        return True

    def _end_of_chunks(self) -> int:
        """Where the body ends; 0 while that is not there yet. (No chunk of the drills holds this text.)"""
        last = self.buffer.find(b"0\r\n\r\n", self.body_at)
        while last > self.body_at and self.buffer[last - 2 : last] != b"\r\n":
            last = self.buffer.find(b"0\r\n\r\n", last + 1)
        return last + 5 if last >= 0 else 0

    @property
    def body(self) -> bytes:
        return self.buffer[self.body_at :]

    @property
    def pid(self) -> int:
        """Who answers, as far as is known: 0 while nothing is."""
        lines = self.body.split(b"\r\n") if self.body_at else []
        if self.chunked:
            lines = lines[1:]
        return int(lines[0]) if lines and lines[0].strip().isdigit() else 0


def ended(sock: socket.socket) -> bool:
    """Whether the peer's end or reset has already arrived: what a pool asks before it reuses one."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def classify(error: BaseException) -> str:
    match error:
        case Short():
            return "short"
        case Wrong():
            return "5xx" if error.status >= 500 else "wrong"
        case TimeoutError() | asyncio.TimeoutError():
            return "over 5 s"
        case ConnectionRefusedError():
            return "refused"
        case OSError(errno=errno.ETIMEDOUT):
            return "over 5 s"
        case OSError():
            return "reset"
        case _:
            return "wrong"


async def connect(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def exchange(sock: socket.socket, request: bytes) -> Response:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request)
    response = Response()
    while True:
        data = await loop.sock_recv(sock, 65536)
        if not data:
            raise Short
        if response.feed(data):
            break
    if response.status != 200:
        raise Wrong(response.status)
    return response


async def first_answers(port: int, wanted: int, seconds: float) -> dict[int, float]:
    """When each server process was first heard from, until so many were or the time is over.

    A few new connections at a time ask for /busy, which holds a worker's loop for a moment: the next
    connection goes to another worker. A connection that fails is tried again: a server that is starting
    owes nothing yet.
    """
    heard: dict[int, float] = {}
    deadline = time.monotonic() + seconds
    request = request_bytes("/busy", close=True)

    async def ask() -> None:
        while len(heard) < wanted and time.monotonic() < deadline:
            sock = None
            try:
                sock = await connect(port)
                response = await asyncio.wait_for(exchange(sock, request), max(0.01, deadline - time.monotonic()))
                heard.setdefault(int(response.body), time.monotonic())
            except (OSError, Short, Wrong, asyncio.TimeoutError):
                await asyncio.sleep(0.002)
            finally:
                if sock is not None:
                    sock.close()

    tasks = [asyncio.create_task(ask()) for _ in range(8)]
    while len(heard) < wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.002)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return heard


class Pending:
    """One request on a blocking socket whose answer is read later."""

    def __init__(self, port: int, path: str, seconds: float = 10.0) -> None:
        self.sock = socket.create_connection((HOST, port), timeout=seconds)
        self.sock.sendall(request_bytes(path, close=False))

    def finish(self) -> int | None:
        """The pid that answered, or None when no complete 200 came."""
        response = Response()
        try:
            with self.sock:
                while True:
                    data = self.sock.recv(65536)
                    if not data:
                        return None
                    if response.feed(data):
                        return int(response.body) if response.status == 200 else None
        except OSError:
            return None

    def abandon(self) -> None:
        self.sock.close()
