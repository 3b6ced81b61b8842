"""The clients: requests and WebSocket frames as bytes on a socket, answers as facts that can be compared.

Owns: sending exactly what a case says, reading one answer, telling how a connection ended.
Must not: know a server, retry, or leave loopback. Fails by: OSError (`TimeoutError` after PATIENCE) and `ValueError`.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator

HOST = "127.0.0.1"
PATIENCE = 20.0
SHOWN = 1000
"""Bytes of a body above which its digest is compared instead."""

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

Fact = dict[str, str]


class Connection:
    """One connection, and what was read of it and not used yet."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection((HOST, port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # bytes

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def more(self) -> bool:
        """False at the end of the stream; a reset is an end too."""
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionError:
            return False
        self.data += data
        return bool(data)

    def exactly(self, size: int) -> bytes:
        while len(self.data) < size:
            if not self.more():
                raise EOFError
        data, self.data = self.data[:size], self.data[size:]
        return data

    def through(self, mark: bytes) -> bytes:
        """Everything up to the mark, and the mark."""
        while mark not in self.data:
            if not self.more():
                raise EOFError
        return self.exactly(self.data.index(mark) + len(mark))

    def ended(self) -> str:
        """ "closed" when the peer closes and has nothing more to say; waits for it."""
        while self.more():
            pass
        return "closed" if not self.data else f"closed after {self.data[:80]!r}"

    # HTTP

    def ask(self, method: str, target: str, body: bytes = b"", *fields: str, version: str = "1.1") -> Fact:
        self.send(request(method, target, body, *fields, version=version))
        return self.answer(method)

    def head(self) -> Fact:
        """The status line and the fields of a response, each field once: repeated ones are joined in their order."""
        try:
            status, *lines = self.through(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        except EOFError:
            return {"status": f"closed without an answer, after {self.data!r}"}
        fact = {"status": status}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            fact[name] = f"{fact[name]} | {value}" if name in fact else value
        return fact

    def answer(self, method: str = "GET") -> Fact:
        """One response: its head, its body, and how the body ended."""
        fact = self.head()
        code = fact["status"].split(" ")[1]
        if code in ("100", "204", "304") or method == "HEAD" or "HTTP/" not in fact["status"]:
            return fact
        body, end = b"", "complete"
        try:
            for part in self.body(fact):
                body += part
        except EOFError:
            end = "cut short"
        fact["body"] = body.decode("latin-1") if len(body) <= SHOWN else digest(body)
        fact["end"] = end
        return fact

    def body(self, fact: Fact) -> Iterator[bytes]:
        if fact.get("transfer-encoding") == "chunked":
            while size := int(self.through(b"\r\n"), 16):
                yield self.exactly(size)
                self.exactly(2)
            self.through(b"\r\n")
        elif "content-length" in fact:
            yield self.exactly(int(fact["content-length"]))
        else:
            while self.more():
                pass
            yield self.exactly(len(self.data))

    # WebSockets

    def handshake(self, target: str, *fields: str) -> Fact:
        """The answer to a request for a WebSocket: its head, and the body if it is denied."""
        wanted = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        self.send(request("GET", target, b"", *wanted, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *fields))
        while True:
            head = self.data.partition(b"\r\n\r\n")[0]
            if b"\r\n\r\n" in self.data or not self.more():
                break
        return self.head() if b" 101 " in head.partition(b"\r\n")[0] else self.answer()

    def frame(self, opcode: int, payload: bytes, final: bool = True) -> None:
        length = len(payload)
        if length < 126:
            size = bytes([128 | length])
        elif length < 1 << 16:
            size = bytes([128 | 126]) + length.to_bytes(2, "big")
        else:
            size = bytes([128 | 127]) + length.to_bytes(8, "big")
        mask = os.urandom(4)
        pad = (mask * (length // 4 + 1))[:length]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")
        self.send(bytes([opcode | (128 if final else 0)]) + size + mask + masked)

    def one_frame(self) -> tuple[int, bytes]:
        """The first byte of a frame, and its payload. EOFError at the end of the stream."""
        first, second = self.exactly(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(self.exactly(2 if size == 126 else 8), "big")
        return first, self.exactly(size)

    def frames(self, number: int = 1) -> Fact:
        """The next so many frames, each as text; after the last there is "closed"."""
        fact = {}
        for index in range(number):
            try:
                first, payload = self.one_frame()
            except EOFError:
                fact[f"frame {index}"] = "closed"
                break
            shown = payload.decode("latin-1") if len(payload) <= SHOWN else digest(payload)
            if first & 15 == CLOSE:
                shown = f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}"
            fact[f"frame {index}"] = f"{first:#x} {shown}"
        return fact


def request(method: str, target: str, body: bytes = b"", *fields: str, version: str = "1.1") -> bytes:
    """A request's bytes. A body has its length, unless a field says how else it is framed."""
    host = [] if any(field.lower().startswith("host:") for field in fields) else ["Host: test.example"]
    lines = [f"{method} {target} HTTP/{version}", *host, *fields]
    if body and not any(field.lower().startswith(("transfer-encoding:", "content-length:")) for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def digest(data: bytes) -> str:
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()}"
