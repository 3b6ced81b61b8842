"""Reading a peer's bytes takes time in proportion to their number, whatever they are.

Each reader of such bytes is given n of them and 16 n, in patterns that make careless expressions and loops go over the
same bytes again and again. Linear reading takes 16 times as long, quadratic reading 256 times; above 64 it fails. This
is the one place where the tests compare times: CPU time of this thread alone, the least of several runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable
from functools import partial
from time import thread_time_ns

import pytest

from applications import idle
from uvicorn.config import Config
from uvicorn.errors import BadRequest
from uvicorn.logs import formats as accesslog
from uvicorn.middleware.proxy_headers import _TrustedHosts
from uvicorn.net import forwarded
from uvicorn.net.proxies import FIELDS, TrustedProxies, apply_headers
from uvicorn.worker.access.log import shown
from uvicorn.worker.http.limits import NO_LIMIT, PeerLimits
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.framing import header_block
from uvicorn.worker.http1.reader import Codec, Part, RequestReader, SharedParser
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.http1.request_line import request_line
from uvicorn.worker.websockets.deflate import Agreed, Deflate, negotiate
from uvicorn.worker.websockets.handshake import Refused, offer_of, wants_websocket
from uvicorn.worker.websockets.session import Session

SIZE, TIMES = 4200, 16  # more bytes than any cache takes
FAILS_ABOVE = 64

UNITS = (
    *(b" ", b"\t", b",", b";", b'"', b"\\", b"=", b"a", b"1", b"%", b":", b"[", b".", b"/", b"\xff"),
    *(b" ,", b"a,", b"a=b;", b'a="b";', b'\\"', b'",', b"10.0.0.1, ", b"1:2:3,", b"a\t ", b"for=10.0.0.1,"),
    *(b"chunked, ", b"\r\nX: y", b"\r\nUpgrade: a", b"\r\n\r\n"),
)
"""What is repeated."""
ENDS = ((b"", b""), (b"a", b"\x01"), (b"chunked", b"\t"))
"""What stands before and behind."""
LISTED = (*ENDS, (b'a="', b"a"), (b"for=a", b";x"), (b"10.0.0.1,", b", 10.0.0.1"))
"""The same in a list of a proxy's."""

Reader = Callable[[bytes], object]


def least(reader: Reader, data: bytes, runs: int) -> int:
    """Nanoseconds of this thread's CPU time."""
    best = 1 << 62
    for _ in range(runs):
        begun = thread_time_ns()
        reader(data)
        best = min(best, thread_time_ns() - begun)
    return best


def ratio(reader: Reader, make: Callable[[int], bytes]) -> float:
    """How much longer 16 times as many bytes take; a bad result is measured again, more carefully."""
    small, large = make(SIZE), make(SIZE * TIMES)
    reader(make(64))  # whatever is imported or compiled once
    for attempt in range(4):
        found = least(reader, large, 1 + attempt) / least(reader, small, 3 + 3 * attempt)
        if found <= FAILS_ABOVE:
            break
    return found


def check(reader: Reader, ends: tuple[tuple[bytes, bytes], ...] = ENDS) -> None:
    for unit in UNITS:
        for before, behind in ends:
            found = ratio(reader, lambda n, u=unit, a=before, b=behind: a + u * (n // len(u)) + b)  # type: ignore[misc]
            assert found <= FAILS_ABOVE, f"{before!r} + {unit!r} * n + {behind!r}"


# -- heads and bodies ------------------------------------------------------------------------------------------


MakeCodec = Callable[[], Codec]


@pytest.fixture(params=["h11", "httptools"])
def codec(request: pytest.FixtureRequest) -> MakeCodec:
    pytest.importorskip(request.param)
    module = importlib.import_module(f"uvicorn.worker.http1.codec_{request.param}")
    made: MakeCodec = getattr(module, f"{request.param.capitalize()}Codec")
    return made


def read(codec: MakeCodec, data: bytes, piece: int = 0) -> None:
    """Let a reader read `data`, at once or in pieces of `piece` bytes."""
    reader = RequestReader(SharedParser(codec(), PeerLimits(head=NO_LIMIT, fields=NO_LIMIT)))
    piece = piece or len(data)
    with contextlib.suppress(BadRequest):
        for at in range(0, len(data), piece):
            reader.pending += data[at : at + piece]
            while reader.pending:
                part = reader.part
                if part is Part.HEAD:
                    if reader.head() is None:
                        break
                else:
                    reader.body()
                    if reader.part is not Part.HEAD:
                        break


_POST = "POST / HTTP/1.1\r\nHost: a\r\n"
HEADS = (
    *("…", "… / HTTP/1.1", "GET …", "GET / …", "GET /… HTTP/1.1\r\nHost: a", "GET http://…/ HTTP/1.1\r\nHost: a"),
    *("GET / HTTP/1.1\r\nHost: …", "GET / HTTP/1.1\r\nHost: a\r\n…", "GET / HTTP/1.1\r\nHost: a\r\n…: x"),
    *(_POST + f"{name}:…" for name in ("X", "Connection", "Content-Length", "Expect", "Transfer-Encoding")),
    _POST + "Connection: upgrade\r\nUpgrade:…",
    *(_POST + f"Transfer-Encoding: chunked\r\n\r\n{body}" for body in ("…", "1;…", "1\r\na\r\n0\r\nX: …")),
)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_or_a_chunk(codec: MakeCodec, head: str) -> None:
    before, behind = (part.encode() for part in (head + "\r\n\r\n").split("…"))
    check(lambda data: read(codec, before + data + behind))


PUMPED = (
    "",
    "GET /",
    "GET / HTTP/1.1\r\nHost: a\r\nX: ",
    "GET / HTTP/1.1\r\n",
    _POST + "Content-Length: 900000\r\n\r\n",
)


@pytest.mark.parametrize("begin", PUMPED)
@pytest.mark.parametrize("unit", ["a", " ", "X: y\r\n"])
def test_a_head_that_comes_byte_by_byte(codec: MakeCodec, begin: str, unit: str) -> None:
    found = ratio(lambda data: read(codec, begin.encode() + data, 1), lambda n: (unit * n)[:n].encode())
    assert found <= FAILS_ABOVE


@pytest.mark.parametrize("unit", ["1\r\na\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
@pytest.mark.parametrize("piece", [0, 1])
def test_chunks_and_pipelined_requests(codec: MakeCodec, unit: str, piece: int) -> None:
    begin = _POST + "Transfer-Encoding: chunked\r\n\r\n" if unit.startswith("1") else ""
    found = ratio(lambda data: read(codec, begin.encode() + data, piece), lambda n: (unit * n)[:n].encode())
    assert found <= FAILS_ABOVE


# -- what proxies say ------------------------------------------------------------------------------------------


def _believe(trusted: TrustedProxies, name: bytes, value: bytes) -> None:
    fields = [(b"host", b"a"), *((name, part) for part in value.split(b"\r\n"))]
    apply_headers(trusted, {"type": "http", "scheme": "http", "path": "/", "raw_path": b"/", "headers": fields})


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("hosts", ["*", "127.0.0.1,10.0.0.0/8"])
def test_a_forwarded_field(name: bytes, hosts: str) -> None:
    check(partial(_believe, TrustedProxies(hosts, frozenset((name,))), name), LISTED)


def test_elements_of_forwarded() -> None:
    check(lambda data: list(forwarded.elements(data.decode("latin-1"))), LISTED)


def test_a_host_in_the_middleware_of_others() -> None:
    check(lambda data: _TrustedHosts("10.0.0.0/8").get_trusted_client_host(data.decode("latin-1")))


# -- WebSockets ------------------------------------------------------------------------------------------------


HANDSHAKE = ((b"host", b"a"), (b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="))


def _offer(name: bytes, value: bytes) -> None:
    request = RequestHead(request_line(b"GET / HTTP/1.1"), [*HANDSHAKE, (b"connection", b"upgrade"), (name, value)])
    wants_websocket(request)
    with contextlib.suppress(Refused):
        negotiate(offer_of(request).extensions)


@pytest.mark.parametrize("name", ["sec-websocket-protocol", "sec-websocket-extensions", "sec-websocket-key", "upgrade"])
def test_a_handshake(name: str) -> None:
    check(partial(_offer, name.encode()))


def test_parameters_of_an_extension() -> None:
    check(lambda data: negotiate("permessage-deflate;" + data.decode("latin-1")))


class Heard:
    """A sink that takes everything."""

    full = False

    def message(self, content: str | bytes) -> None: ...

    def pinged(self, payload: bytes) -> None: ...

    def ponged(self, payload: bytes) -> None: ...

    def ended(self, code: int, reason: str, answer: bytes, failed: bool) -> None: ...


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    else:
        length = b"\xfe" + size.to_bytes(2, "big") if size < 65536 else b"\xff" + size.to_bytes(8, "big")
    return bytes((first,)) + length + bytes(4) + payload


FRAMES: dict[str, Callable[[int], bytes]] = {
    "one": lambda n: _frame(0x82, bytes(n)),
    "text": lambda n: _frame(0x81, b"a" * n),
    "many": lambda n: _frame(0x82, b"a") * (n // 7),
    "pings": lambda n: _frame(0x89, b"") * (n // 6),
    "fragments": lambda n: _frame(0x01, b"a") + _frame(0x00, b"a") * (n // 7),
    "empty fragments": lambda n: _frame(0x02, b"a") + _frame(0x00, b"") * (n // 6),
    "compressed fragments": lambda n: _frame(0x42, b"\x00\x01\x00\xfe\xffa") + _frame(0x00, b"") * (n // 6),
}


@pytest.mark.parametrize("library", ["websockets", "wsproto"])
@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize("kind", FRAMES)
def test_frames(library: str, piece: int, kind: str) -> None:
    pytest.importorskip(library)
    made = importlib.import_module(f"uvicorn.worker.websockets.codec_{library}").Codec

    def take(data: bytes) -> None:
        deflate = Deflate(Agreed(12, 12, False, False)) if "compressed" in kind else None
        frames = made(Heard(), 1 << 30, deflate)
        for at in range(0, len(data), piece or len(data)):
            frames.receive(data[at : at + (piece or len(data))])

    assert ratio(take, FRAMES[kind]) <= FAILS_ABOVE


class Quiet(asyncio.Transport):
    """A transport that is connected to nothing."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def test_messages_that_wait_for_the_application() -> None:
    pytest.importorskip("websockets")
    from uvicorn.worker.websockets.websockets_session import WebSocketsSansIOProtocol

    config = Config(app=idle, log_config=None, ws_max_queue=1 << 20)
    config.loaded_app = idle
    loop = asyncio.get_running_loop()
    request = RequestHead(request_line(b"GET / HTTP/1.1"), [*HANDSHAKE, (b"connection", b"upgrade")])

    def take(data: bytes) -> None:
        state = ServerState()
        state.alone = False
        protocol = WebSocketsSansIOProtocol(config, state, {}, loop)
        protocol.transport = Quiet()
        session = Session(protocol, request, offer_of(request), protocol._ends, protocol.codec_class, config, loop)
        with pytest.raises(StopIteration):
            session.send({"type": "websocket.accept"}).send(None)
        protocol.data_received(data)
        for _ in range(1 + len(data) // len(frame)):  # websocket.connect, and the messages
            with pytest.raises(StopIteration):  # it has not to wait
                session.receive().send(None)

    frame = _frame(0x82, bytes(120))
    found = ratio(take, lambda n: frame * (n // 16))  # more than the queue takes: the rest is parsed as it is emptied
    assert found <= FAILS_ABOVE


# -- what is logged, and what an application repeats of it -----------------------------------------------------


@pytest.mark.parametrize("form", ["json", "combined", '%({x}i)s "%(r)s"', "%({x}o)s"])
def test_a_line_of_the_access_log(form: str) -> None:
    formatter = accesslog.RequestFormatter(form)

    def tell(value: bytes) -> None:
        fields = [(b"x", value), (b"referer", value), (b"user-agent", value)]
        head = b"HTTP/1.1 200 OK\r\nx: " + value.replace(b"\r\n", b"") + b"\r\n\r\n"
        text = value.decode("latin-1")
        formatter.line(
            accesslog.AccessRecord(
                (text, 1), "GET", f"/?{value.hex()}", "1.1", value, fields, 200, head, 1, 0.1, True, ""
            )
        )

    check(tell)


def test_a_clients_address() -> None:
    check(lambda data: shown((data.decode("latin-1"), 1)))


def test_fields_of_a_response() -> None:
    def make(data: bytes) -> None:
        with contextlib.suppress(ValueError):
            header_block(((b"connection", data), (b"x", data)))

    check(make)
