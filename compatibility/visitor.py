"""Somebody who visits a program as its clients do: pages, JSON, event streams, WebSockets. Connections stay open.

Owns: the connections, which are open until `close`, since a browser's are while somebody types Ctrl-C. Must not: know a
program. Fails by: FAULTS, when it was not served.
"""

from __future__ import annotations

import contextlib
import http.client
import json

from compatibility.wire import CLOSE, HOST, PATIENCE, PING, PONG, TEXT, Connection

FAULTS = (OSError, EOFError, ValueError, KeyError, http.client.HTTPException)


class Visitor:
    """A visitor of what listens on one port of loopback. Cookies are kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}
        self.fields: http.client.HTTPMessage = http.client.HTTPMessage()
        """Those of the last answer."""
        self._open = contextlib.ExitStack()
        self._pages = self._connection()

    def _connection(self) -> http.client.HTTPConnection:
        made = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        return self._open.enter_context(contextlib.closing(made))

    def close(self) -> None:
        self._open.close()

    def _request(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: object, fields: dict[str, str]
    ) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        cookies = {"Cookie": self._cookie()} if self.cookies else {}
        connection.request(method, target, data, {**kind, **cookies, **fields})
        answer = connection.getresponse()
        self.fields = answer.headers
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def _cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def ask(self, method: str, target: str, body: object = None, **fields: str) -> tuple[int, str]:
        """Status and text of one answer. A body is sent as JSON."""
        answer = self._request(self._pages, method, target, body, fields)
        return answer.status, answer.read().decode(errors="replace")

    def get(self, target: str) -> str:
        """The text of a page that is there."""
        status, text = self.ask("GET", target)
        if status != 200:
            raise ValueError(f"GET {target}: {status} {text[:200]}")
        return text

    def post(self, target: str, body: object, **fields: str) -> str:
        """The text of an answer that is none of a failure."""
        status, text = self.ask("POST", target, body, **fields)
        if not 200 <= status < 300:
            raise ValueError(f"POST {target}: {status} {text[:200]}")
        return text

    def events(self, target: str, *marks: str, **fields: str) -> str:
        """What a stream of server-sent events says up to one of the marks; nothing without a mark. It stays open."""
        answer = self._request(self._connection(), "GET", target, None, {"Accept": "text/event-stream", **fields})
        if answer.status != 200:
            raise ValueError(f"GET {target}: {answer.status} {answer.read(200)!r}")
        text = ""
        while marks and not any(mark in text for mark in marks):
            line = answer.readline()
            if not line:
                raise EOFError(f"GET {target} ended after {text!r}")
            text += line.decode()
        return text

    def websocket(self, target: str, *fields: str) -> Socket:
        connection = self._open.enter_context(Connection(self.port))
        here = f"{HOST}:{self.port}"
        cookies = [f"Cookie: {self._cookie()}"] if self.cookies else []
        fact = connection.handshake(target, f"Host: {here}", f"Origin: http://{here}", *cookies, *fields)
        if not fact["status"].startswith("HTTP/1.1 101"):
            raise ValueError(f"the WebSocket {target}: {fact['status']} {fact.get('body', '')[:200]}")
        return Socket(connection)


class Socket:
    """An open WebSocket."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def send(self, message: object, opcode: int = TEXT) -> None:
        """Bytes as they are, anything else as JSON."""
        self.connection.frame(opcode, message if isinstance(message, bytes) else json.dumps(message).encode())

    def until(self, *marks: str) -> str:
        """All messages up to one with one of the marks, as one text. Pings are answered."""
        text = ""
        while not any(mark in text for mark in marks):
            first, payload = self.connection.one_frame()
            if first & 15 == PING:
                self.connection.frame(PONG, payload)
            elif first & 15 == CLOSE:
                raise EOFError(f"the WebSocket was closed with {payload!r} after {text[-300:]!r}")
            else:
                text += payload.decode(errors="replace")
        return text
