"""A session over a wire that has no transport, as a stream of HTTP/2 has none: `Wire` is all that a session needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import websocket_wire as forms
from applications import App, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.worker.http import call
from uvicorn.worker.http.admission import Admission
from uvicorn.worker.http.scope import Endpoints
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.http1.request_line import request_line
from uvicorn.worker.websockets.codec import Codec
from uvicorn.worker.websockets.frames import Frames
from uvicorn.worker.websockets.handshake import Offer
from uvicorn.worker.websockets.session import Session
from uvicorn.worker.websockets.wire import Wire

Fields = Sequence[tuple[bytes, bytes]]


class Stream:
    """A wire that notes what it is told. `sent`: the bytes of frames."""

    def __init__(self, app: App) -> None:
        self.loop = asyncio.get_running_loop()
        self.writable = self._reading = True
        self.retiring = False
        self.denial_begun = False
        self.sent = b""
        self.told: list[Any] = []
        self.frames: Frames | None = None
        self._app = app
        self._state = ServerState()

    def accept(self, offer: Offer, subprotocol: str | None, extension: str | None, fields: Fields) -> bytes:
        self.told.append(("accept", subprotocol, extension, list(fields)))
        return b""

    def carry(self, frames: Frames) -> None:
        self.frames = frames

    def refuse(self, status: int, text: str, fields: Fields = ()) -> None:
        self.told.append(("refuse", status, *fields))

    def begin_denial(self, start: Message) -> None:
        self.told.append(("begin_denial", start["status"]))

    def deny(self, body: bytes, more: bool) -> None:
        self.denial_begun = True
        self.told.append(("deny", body, more))

    def write(self, data: bytes) -> None:
        self.sent += data

    def reads(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def expect_close(self) -> None:
        self.told.append("expect_close")

    def end(self, last: bytes, failed: bool) -> None:
        self.told.append(("end", last, failed))

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def soon(self, callback: Callable[..., object], *arguments: object) -> None:
        self.loop.call_soon(callback, *arguments)


def begin(stream: Stream, codec_class: type[Codec], admitted: bool = True, **settings: Any) -> Session:
    """Call the application, at once if it was `admitted`."""
    wire: Wire = stream  # mypy compares them
    request = RequestHead(request_line(b"GET /chat HTTP/1.1"), [(b"host", b"a")])
    ends = Endpoints(("192.0.2.1", 1), ("192.0.2.2", 443), "https", "", "3.0", {})
    config = Config("app:app", log_config=None, **settings)
    session = Session(wire, request, Offer(b"", ["one", "two"], ""), ends, codec_class, config, stream.loop)
    call.serve(stream, session, admitted)
    return session


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x", b"y")]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def test_an_echo_and_the_peers_close(codec_class: type[Codec]) -> None:
    stream = Stream(echo)
    session = begin(stream, codec_class)
    await settle()
    assert stream.told == [("accept", "two", None, [(b"x", b"y")])] and not session.in_flight
    assert session.scope["scheme"] == "wss" and session.scope["subprotocols"] == ["one", "two"]
    assert stream.frames is not None
    for text in ("short", "x" * 300):
        stream.sent = b""
        stream.frames.receive(forms.frame(forms.TEXT, text.encode()))
        await settle()
        assert stream.sent.endswith(text.encode())
    stream.frames.receive(forms.close(1000))
    await settle()
    assert stream.told[1:] == [("end", b"\x88\x02\x03\xe8", False)]
    assert not stream._state.tasks and stream._state.in_flight == 0


async def test_a_full_queue_stops_the_codec_and_then_the_wire(codec_class: type[Codec]) -> None:
    go = asyncio.Event()
    taken: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            taken.append(message["text"])

    stream = Stream(slow)
    session = begin(stream, codec_class, ws_max_queue=4)
    await settle()
    assert stream.frames is not None
    stream.frames.receive(forms.frame(forms.TEXT, b"x" * 1000) * 100)
    assert len(session.messages) == 4 and stream.frames.full and not stream.reads()
    go.set()
    await settle()
    assert len(taken) == 100 and stream.reads()
    session.lost()
    await settle()
    assert not stream._state.tasks


@pytest.mark.parametrize("room", [True, False])
async def test_send_waits_for_room(codec_class: type[Codec], room: bool) -> None:
    ended: list[object] = []

    async def push(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        stream.writable = False
        try:
            await send({"type": "websocket.send", "bytes": b"x"})
        except OSError as exc:
            ended.append(type(exc).__name__)
        else:
            ended.append("sent")

    stream = Stream(push)
    session = begin(stream, codec_class)
    await settle()
    assert stream.sent == b"\x82\x01x" and ended == []
    stream.writable = True
    if room:
        session.resume_writing()
    else:
        session.lost()
    await settle()
    assert ended == ["sent" if room else "ClientDisconnected"]


async def test_a_denial_and_a_missing_answer(codec_class: type[Codec]) -> None:
    async def deny(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"entry"})

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    denied, missing = Stream(deny), Stream(nothing)
    for stream in (denied, missing):
        begin(stream, codec_class)
    await settle()
    assert denied.told == [("begin_denial", 401), ("deny", b"no ", True), ("deny", b"entry", False), "close"]
    assert missing.told == [("refuse", 500), "close"]


async def test_one_that_waits_for_admission(codec_class: type[Codec]) -> None:
    """Sessions over a connection that has others as well wait for their place as requests do."""
    stream = Stream(echo)
    admission = stream._state.admission = Admission(limit=1, places=1, seconds=5)
    stream._state.in_flight = 1
    begin(stream, codec_class, admitted=False).lost()
    assert not admission.waiting
    begin(stream, codec_class, admitted=False)
    begin(stream, codec_class, admitted=False)
    assert stream.told == [("refuse", 503, (b"retry-after", b"1")), "close"] and len(admission.waiting) == 1
    stream._state.left(stream.soon)
    await settle()
    assert stream.told[2][0] == "accept" and stream._state.in_flight == 0
