"""What every application is asked, the same bytes each time; each case is an account of what came back.

Owns: the cases, by kind. Must not: judge what came back, or know which server it asks. A case that an application has
no route for is in `LACKING`, with the reason. Fails by: what `wire` fails by.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from compatibility.servers import Server
from compatibility.wire import BINARY, CLOSE, PING, PONG, TEXT, Connection, Fact, request

Account = list[Fact]
LIMIT = 10_000_000


@dataclass(frozen=True)
class Case:
    kind: str
    name: str
    run: Callable[[Server], Account]


CASES: list[Case] = []
SOCKETIO: list[Case] = []
"""Cases for the application with Socket.IO, whose routes are its own."""


def case(kind: str, name: str, to: list[Case] = CASES) -> Callable[[Callable[[Server], Account]], None]:
    return lambda run: to.append(Case(kind, name, run))


def asking(kind: str, name: str, *requests: bytes, to: list[Case] = CASES) -> None:
    """A case that sends these requests one after the other on one connection, as long as it is open."""

    def run(server: Server) -> Account:
        account = []
        with Connection(server.port) as connection:
            for data in requests:
                connection.send(data)
                account.append(connection.answer(data.partition(b" ")[0].decode()))
                if account[-1].get("connection") == "close" or account[-1].get("end") == "cut short":
                    account.append({"after": connection.ended()})
                    break
        return account

    to.append(Case(kind, name, run))


def get(target: str, *fields: str, version: str = "1.1") -> bytes:
    return request("GET", target, b"", *fields, version=version)


FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
MULTIPART = "Content-Type: multipart/form-data; boundary=frontier"


def multipart(data: bytes) -> bytes:
    title = b'--frontier\r\nContent-Disposition: form-data; name="title"\r\n\r\nt\xc3\xadtulo\r\n'
    file = b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: image/png\r\n'
    return title + file + b"\r\n" + data + b"\r\n--frontier--\r\n"


def chunked(data: bytes, size: int) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def some_bytes(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


asking("requests", "GET", get("/"))
asking("requests", "HEAD", request("HEAD", "/"), get("/"))
asking("requests", "what the application sees", get("/request", "X-Two: 1", "X-Two: 2", "Accept: a/b", "X-L1: caf\xe9"))
asking("requests", "query", get("/request?x=1&y=%20%C3%A9&x=2&empty="))
asking("requests", "percent-encoded path", get("/request/a%20b/%C3%A9/c%2Bd"))
asking("requests", "absolute target", get("http://test.example/request?x=1"))
asking("requests", "unknown path", get("/nowhere"), get("/"))
asking("requests", "method not allowed", request("DELETE", "/"), get("/"))
asking("requests", "OPTIONS", request("OPTIONS", "/"))
asking("requests", "three on one connection", get("/"), get("/request"), get("/"))
asking("requests", "Connection: close", get("/", "Connection: close"))
asking("requests", "HTTP/1.0", get("/", version="1.0"))
asking("requests", "204", get("/empty"), get("/"))
asking("requests", "304", get("/unmodified"), get("/"))
asking("requests", "redirect", get("/redirect"))
asking("requests", "cookies", get("/cookies", "Cookie: a=1; b=2"))
asking("requests", "file", get("/file"))
asking("requests", "file, a range", get("/file", "Range: bytes=6-9"))
asking("requests", "10 MB", get("/large"), get("/"))
asking("requests", "body", request("POST", "/body", b'{"a": 1}', "Content-Type: application/octet-stream"), get("/"))
asking("requests", "empty body", request("POST", "/body", b"", "Content-Length: 0"), get("/"))
asking(
    "requests", "chunked body", request("POST", "/body", chunked(some_bytes(5000), 999), "Transfer-Encoding: chunked")
)
asking("requests", "body nobody reads", request("POST", "/nowhere", some_bytes(100_000)), get("/"))
asking("forms", "urlencoded", request("POST", "/form", b"a=1&b=x+y&b=%C3%A9", FORM), get("/"))
asking("forms", "not valid", request("POST", "/form", b"", FORM, "Content-Length: 0"), get("/"))
asking("uploads", "1 byte", request("POST", "/upload", multipart(b"x"), MULTIPART), get("/"))
asking("uploads", "10 MB", request("POST", "/upload", multipart(some_bytes(LIMIT)), MULTIPART), get("/"))
asking(
    "uploads",
    "10 MB in chunks",
    request("POST", "/upload", chunked(multipart(some_bytes(LIMIT)), 70_000), MULTIPART, "Transfer-Encoding: chunked"),
)
asking("streams", "HTTP/1.1", get("/stream"), get("/"))
asking("streams", "HTTP/1.0", get("/stream", version="1.0"))
asking("streams", "HEAD", request("HEAD", "/stream"), get("/"))
asking("errors", "an HTTP error", get("/refused"), get("/"))
asking("errors", "before the start", get("/fails"), get("/"))
asking("errors", "after the start", get("/fails-late"))
asking("lifespan", "state", get("/state"))
asking("requests", "JSON to a model", request("POST", "/items", b'{"name": "a", "price": 2}', JSON), get("/"))
asking("errors", "validation", request("POST", "/items", b'{"name": 1}', JSON), get("/"))


@case("requests", "three pipelined")
def pipelined(server: Server) -> Account:
    with Connection(server.port) as connection:
        connection.send(get("/") + get("/request") + get("/"))
        return [connection.answer() for _ in range(3)]


@case("requests", "HTTP/1.0 kept alive")
def old_and_kept(server: Server) -> Account:
    with Connection(server.port) as connection:
        first = connection.ask("GET", "/", b"", "Connection: keep-alive", version="1.0")
        return [first, connection.ask("GET", "/", version="1.0"), {"after": connection.ended()}]


@case("requests", "body in pieces, expected")
def expected(server: Server) -> Account:
    data = some_bytes(3000)
    with Connection(server.port) as connection:
        connection.send(request("POST", "/body", b"", "Content-Length: 3000", "Expect: 100-continue"))
        account = [connection.answer()]
        for at in range(0, len(data), 1000):
            connection.send(data[at : at + 1000])
        return [*account, connection.answer(), connection.ask("GET", "/")]


@case("uploads", "the client leaves in the middle")
def abandoned(server: Server) -> Account:
    whole = request("POST", "/upload", multipart(some_bytes(100_000)), MULTIPART)
    with Connection(server.port) as connection:
        connection.send(whole[:50_000])
    with Connection(server.port) as connection:
        return [connection.ask("GET", "/")]


@case("server-sent events", "the client leaves")
def events(server: Server) -> Account:
    with Connection(server.port) as connection:
        connection.send(get("/events"))
        head = connection.head()
        text = b""
        for part in connection.body(head):
            text += part
            if text.count(b"\n\n") + text.count(b"\r\n\r\n") >= 3:
                break
    return [head, {"note": server.note()}]


@case("background tasks", "a dependency is closed after the response")
def dependency(server: Server) -> Account:
    with Connection(server.port) as connection:
        return [connection.ask("GET", "/session"), {"note": server.note()}, connection.ask("GET", "/")]


@case("background tasks", "does not hold up its connection")
def background(server: Server) -> Account:
    with Connection(server.port) as connection:
        return [connection.ask("GET", "/background"), connection.ask("GET", "/release"), {"note": server.note()}]


@case("disconnects", "noticed while the application works")
def left(server: Server) -> Account:
    with Connection(server.port) as connection:
        connection.send(get("/waits"))
        said = server.note()
    return [{"note": said}, {"note": server.note()}]


def conversation(name: str, *messages: tuple[int, bytes], leave: bool = True) -> None:
    """Messages to the echo, each answered; then the client leaves with a code and a reason, or just drops it."""

    def run(server: Server) -> Account:
        with Connection(server.port) as connection:
            account = [connection.handshake("/ws/echo")]
            for opcode, payload in messages:
                connection.frame(opcode, payload)
                account.append(connection.frames())
            if leave:
                connection.frame(CLOSE, (4002).to_bytes(2, "big") + b"bye")
                account += [connection.frames(2)]
        return [*account, {"note": server.note()}]

    CASES.append(Case("WebSockets", name, run))


conversation("text", (TEXT, b"one"), (TEXT, "zw\u00f6lf".encode()), (TEXT, b""))
conversation("binary", (BINARY, bytes(range(256))), (BINARY, some_bytes(200_000)))
conversation("ping", (PING, b"are you there"), (TEXT, b"yes"))
conversation("the client is lost", (TEXT, b"one"), leave=False)


@case("WebSockets", "fragments around a ping")
def fragments(server: Server) -> Account:
    with Connection(server.port) as connection:
        account = [connection.handshake("/ws/echo")]
        connection.frame(TEXT, b"one, ", final=False)
        connection.frame(PONG, b"unasked")
        connection.frame(0, b"two, ", final=False)
        connection.frame(PING, b"?")
        connection.frame(0, b"three")
        account.append(connection.frames(2))
        connection.frame(CLOSE, b"")
        return [*account, connection.frames(2), {"note": server.note()}]


def socket_case(name: str, target: str, *fields: str, frames: int = 2, answer_close: bool = True) -> None:
    """A handshake, and what the application says by itself."""

    def run(server: Server) -> Account:
        with Connection(server.port) as connection:
            head = connection.handshake(target, *fields)
            if " 101 " not in head["status"]:
                return [head]
            account = [head, connection.frames(frames - 1)]
            connection.frame(CLOSE, (1000).to_bytes(2, "big"))
            return [*account, connection.frames()]

    CASES.append(Case("WebSockets", name, run))


socket_case("subprotocol", "/ws/subprotocol", "Sec-WebSocket-Protocol: chat.v1, chat.v2", frames=3)
socket_case("no subprotocol in common", "/ws/subprotocol", "Sec-WebSocket-Protocol: other", frames=3)
socket_case("denied", "/ws/denied")
socket_case("denied with a response", "/ws/denial")
socket_case("unknown path", "/ws/nowhere")
socket_case("closed with code and reason", "/ws/closes")
socket_case("fails after the accept", "/ws/fails")
socket_case("fails before the accept", "/ws/fails-early")


# Socket.IO, as its clients speak: Engine.IO 4 by polling and by WebSocket.

POLL = "/socket.io/?EIO=4&transport=polling"
asking("requests", "GET", get("/"), get("/elsewhere"), to=SOCKETIO)
asking("requests", "static file", get("/static/poem.txt"), request("HEAD", "/static/poem.txt"), to=SOCKETIO)
asking("requests", "CORS", request("OPTIONS", POLL, b"", "Origin: http://other.example"), to=SOCKETIO)
asking("errors", "unknown session", get(POLL + "&sid=nobody"), get("/"), to=SOCKETIO)
asking("errors", "wrong version", get("/socket.io/?EIO=2&transport=polling"), to=SOCKETIO)


def polled(connection: Connection, sid: str, packet: bytes) -> Account:
    posted = connection.ask("POST", f"{POLL}&sid={sid}", packet, "Content-Type: text/plain;charset=UTF-8")
    return [posted, connection.ask("GET", f"{POLL}&sid={sid}", b"", "Origin: http://other.example")]


def opened(connection: Connection, target: str = POLL) -> tuple[Fact, str]:
    fact = connection.ask("GET", target)
    return fact, str(json.loads(fact["body"][1:])["sid"])


@case("requests", "long polling", SOCKETIO)
def polling(server: Server) -> Account:
    with Connection(server.port) as connection:
        fact, sid = opened(connection)
        account = [fact, *polled(connection, sid, b"40"), {"note": server.note()}]
        account += polled(connection, sid, b'42["echo",{"a":"\xc3\xa9"}]')
        account += polled(connection, sid, b'42["leave"]')
        return [*account, {"note": server.note()}]


@case("errors", "connection refused", SOCKETIO)
def refused(server: Server) -> Account:
    with Connection(server.port) as connection:
        fact, sid = opened(connection, POLL + "&refuse")
        return [fact, *polled(connection, sid, b"40")]


@case("background tasks", "emits later", SOCKETIO)
def later(server: Server) -> Account:
    with Connection(server.port) as connection:
        fact, sid = opened(connection)
        account = [fact, *polled(connection, sid, b"40"), {"note": server.note()}]
        account += polled(connection, sid, b'42["later"]')
        connection.ask("POST", f"{POLL}&sid={sid}", b"41")
        return [*account, {"note": server.note()}]


@case("WebSockets", "from the beginning", SOCKETIO)
def direct(server: Server) -> Account:
    with Connection(server.port) as connection:
        account = [connection.handshake("/socket.io/?EIO=4&transport=websocket"), connection.frames()]
        connection.frame(TEXT, b"40")
        account += [connection.frames(), {"note": server.note()}]
        connection.frame(TEXT, b'421["echo","hello"]')
        account.append(connection.frames(2))
        connection.frame(CLOSE, (1001).to_bytes(2, "big"))
        return [*account, connection.frames(2), {"note": server.note()}]


@case("WebSockets", "upgrade from polling", SOCKETIO)
def upgrade(server: Server) -> Account:
    with Connection(server.port) as first, Connection(server.port) as second:
        fact, sid = opened(first)
        account = [fact, *polled(first, sid, b"40"), {"note": server.note()}]
        account.append(second.handshake(f"/socket.io/?EIO=4&transport=websocket&sid={sid}"))
        second.frame(TEXT, b"2probe")
        account.append(second.frames())
        second.frame(TEXT, b"5")
        second.frame(TEXT, b'42["echo","upgraded"]')
        account.append(second.frames())
        second.frame(BINARY, b"")
    return [*account, {"note": server.note()}]


@case("disconnects", "lost in a WebSocket", SOCKETIO)
def lost(server: Server) -> Account:
    with Connection(server.port) as connection:
        account = [connection.handshake("/socket.io/?EIO=4&transport=websocket"), connection.frames()]
        connection.frame(TEXT, b"40")
        account += [connection.frames(), {"note": server.note()}]
    return [*account, {"note": server.note()}]


ITS_OWN = "it is FastAPI's"
FASTAPI_ONLY = {
    "JSON to a model": ITS_OWN,
    "validation": ITS_OWN,
    "a dependency is closed after the response": ITS_OWN,
}
NO_LIFESPAN = "it takes no part in the lifespan"
LACKING: dict[str, dict[str, str]] = {
    "starlette": FASTAPI_ONLY,
    "quart": FASTAPI_ONLY,
    "litestar": {**FASTAPI_ONLY, "denied with a response": "it has no call for it"},
    "django": {**FASTAPI_ONLY, "denied with a response": "Channels has no call for it", "state": NO_LIFESPAN},
}
"""For each framework the cases that it is not asked."""

ONE_PROCESS = ("upgrade from polling",)
"""Cases whose connections have to reach the same process, because it remembers the client."""


def cases_of(framework: str, workers: int = 1) -> list[Case]:
    if framework == "socketio":
        return [case for case in SOCKETIO if workers == 1 or case.name not in ONE_PROCESS]
    return [case for case in CASES if case.name not in LACKING.get(framework, {})]
