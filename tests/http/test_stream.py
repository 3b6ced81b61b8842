"""One ASGI exchange against a fake outlet: which messages an application gets, and what its own do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from applications import Message
from http_peers import START, body
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.access.log import AccessLog
from uvicorn.worker.http.exchange import COMPLETE, HIGH_WATER, SENDING, STARTED, WAITING
from uvicorn.worker.http.payload import TURN
from uvicorn.worker.http.scope import Endpoints
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.http1.request_line import request_line
from uvicorn.worker.http1.response import Http1Exchange
from uvicorn.worker.transport.outbox import JOIN_LIMIT

Result = TypeVar("Result")


class ToldLines(AccessLog):
    """An access log that keeps the statuses of its lines."""

    __slots__ = ("statuses",)

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[int] = []

    def line(self, client: str, method: str, path: str, http_version: str, status: int) -> None:
        self.statuses.append(status)


class FakeOutlet:
    """A connection that keeps what it is told."""

    def __init__(self) -> None:
        access = ToldLines()
        self._state = ServerState()
        self._state.access = access
        self._ends = Endpoints(None, None, "http", "", "3.0", {})
        self.transport = asyncio.Transport()
        self.writable = True
        self.closing = self.eof = False
        self.logs_access = True
        self.writes: list[bytes] = []
        self.wanted = 0
        self.logged = access.statuses
        self.completed: list[Http1Exchange] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def write_large(self, head: bytes, body: bytes, more: bool) -> None:
        self.writes += [head, body] if head else [body]

    def ends_here(self) -> bool:
        return True

    def body_wanted(self) -> None:
        self.wanted += 1

    def response_complete(self, stream: Http1Exchange) -> None:
        self.completed.append(stream)

    def end_behind(self, stream: Http1Exchange) -> None:
        raise AssertionError("nothing ends here")

    def close(self) -> None:
        raise AssertionError("nothing closes here")

    abort = close

    @property
    def body(self) -> bytes:
        return b"".join(self.writes).partition(b"\r\n\r\n")[2]


@pytest.fixture
def outlet() -> FakeOutlet:
    return FakeOutlet()


def make(
    outlet: FakeOutlet, *fields: tuple[bytes, bytes], line: bytes = b"POST / HTTP/1.1", complete: bool = False
) -> Http1Exchange:
    """`complete`: the request has no body, or it is there."""
    request = RequestHead(request_line(line), [(b"host", b"a"), *fields])
    return Http1Exchange(outlet, request, {"type": "http"}, complete)


def part(data: bytes, more: bool) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


async def waiting(awaitable: Coroutine[object, None, Result]) -> asyncio.Task[Result]:
    """A task that has come to where it waits."""
    task = asyncio.create_task(awaitable)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


# -- receive ---------------------------------------------------------------------------------------------------


async def test_an_empty_body_is_told_once_then_receive_waits(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    assert await stream.receive() == part(b"", False)
    task = await waiting(stream.receive())
    stream.lost()
    assert await task == GONE


async def test_a_body_that_was_there_before(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    stream.feed(b"ab")
    stream.feed(b"cd")
    stream.feed_end()
    assert await stream.receive() == part(b"abcd", False)


async def test_a_body_in_parts(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    task = await waiting(stream.receive())
    stream.feed(b"ab")
    assert await task == part(b"ab", True)
    assert outlet.wanted == 1
    task = await waiting(stream.receive())
    stream.feed_end()
    assert await task == part(b"", False)


async def test_the_end_with_the_last_part(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    stream.feed(b"ab")
    assert await stream.receive() == part(b"ab", True)
    stream.feed(b"cd")
    stream.feed_end()
    assert await stream.receive() == part(b"cd", False)


async def test_above_the_high_water_mark_no_more_is_wanted(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    assert stream.feed(b"x" * (HIGH_WATER - 1))
    assert not stream.feed(b"x")
    assert outlet.wanted == 0
    await stream.receive()
    assert outlet.wanted == 1
    assert stream.feed(b"x")


async def test_two_tasks_may_wait(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    first, second = await waiting(stream.receive()), await waiting(stream.receive())
    stream.feed(b"ab")
    stream.feed_end()
    assert sorted([(await first)["type"], (await asyncio.wait_for(waiting_or_done(second, stream), 5))["type"]]) == [
        "http.disconnect",
        "http.request",
    ]


async def waiting_or_done(task: asyncio.Task[Result], stream: Http1Exchange) -> Result:
    """The second one has nothing to tell but the end of the connection."""
    for _ in range(5):
        await asyncio.sleep(0)
    stream.lost()
    return await task


async def test_a_cancelled_receive_leaves_the_stream_usable(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    task = await waiting(stream.receive())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stream.feed(b"ab")
    assert await stream.receive() == part(b"ab", True)


async def test_what_arrived_is_told_before_the_end_of_the_peer(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    stream.feed(b"ab")
    stream.hang_up()
    assert await stream.receive() == part(b"ab", True)
    assert await stream.receive() == GONE
    assert await stream.receive() == GONE


async def test_nothing_is_told_once_nobody_is_there(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    stream.feed(b"ab")
    stream.lost()
    assert await stream.receive() == GONE


async def test_after_the_response_receive_says_disconnect(outlet: FakeOutlet) -> None:
    stream = make(outlet)
    await stream.send(dict(START))
    task = await waiting(stream.receive())
    await stream.send(body())
    assert await task == GONE
    assert await stream.receive() == GONE


# -- 100-continue ----------------------------------------------------------------------------------------------

EXPECT = ((b"expect", b"100-continue"), (b"content-length", b"2"))


async def test_100_is_said_once_when_the_body_is_asked_for(outlet: FakeOutlet) -> None:
    stream = make(outlet, *EXPECT)
    assert outlet.writes == []
    task = await waiting(stream.receive())
    assert outlet.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    stream.feed(b"ab")
    stream.feed_end()
    assert await task == part(b"ab", False)
    await stream.send(dict(START))
    await stream.send(body())
    assert len(outlet.writes) == 2 and stream.keep_alive


async def test_100_is_not_said_when_the_body_is_there(outlet: FakeOutlet) -> None:
    stream = make(outlet, *EXPECT)
    stream.feed(b"a")
    await stream.receive()
    task = await waiting(stream.receive())
    assert outlet.writes == []
    task.cancel()


async def test_100_is_not_said_after_the_head_and_the_connection_ends(outlet: FakeOutlet) -> None:
    stream = make(outlet, *EXPECT)
    await stream.send(dict(START))
    await stream.send(body(b"no", more=True))
    task = await waiting(stream.receive())
    assert len(outlet.writes) == 1 and b"100 Continue" not in outlet.writes[0]
    assert b"connection: close\r\n" in outlet.writes[0] and not stream.keep_alive
    task.cancel()


async def test_100_is_not_said_to_somebody_who_left(outlet: FakeOutlet) -> None:
    stream = make(outlet, *EXPECT)
    stream.hang_up()
    assert await stream.receive() == GONE
    assert outlet.writes == []


# -- send ------------------------------------------------------------------------------------------------------


async def test_head_and_first_part_are_one_write(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send(dict(START))
    assert (outlet.writes, stream.phase) == ([], STARTED)
    await stream.send(body(b"hello", more=True))
    assert stream.phase == SENDING
    assert outlet.writes == [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    await stream.send(body(b"!"))
    assert outlet.writes[1:] == [b"1\r\n!\r\n0\r\n\r\n"]
    assert (stream.phase, outlet.completed) == (COMPLETE, [stream])


async def test_a_head_whose_body_is_late_leaves_alone(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    stream.announce()
    assert outlet.writes == []
    await stream.send(dict(START))
    stream.announce()
    stream.announce()
    assert outlet.writes == [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
    assert (stream.phase, outlet.logged) == (SENDING, [200])
    await stream.send(body(b"ab"))
    assert outlet.writes[1:] == [b"2\r\nab\r\n0\r\n\r\n"]
    stream.announce()
    assert (stream.phase, len(outlet.writes)) == (COMPLETE, 2)


@pytest.mark.parametrize("listens_first", [True, False])
async def test_a_head_leaves_when_the_application_listens_for_the_end_of_its_peer(
    outlet: FakeOutlet, listens_first: bool
) -> None:
    stream = make(outlet, complete=True)
    await stream.receive()
    if not listens_first:
        await stream.send(dict(START))
    task = await waiting(stream.receive())
    if listens_first:
        assert outlet.writes == []
        await stream.send(dict(START))
    assert outlet.writes == [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
    stream.hang_up()
    assert await task == GONE


async def test_a_length_is_kept_by_a_head_that_leaves_alone(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send({**START, "headers": [(b"content-length", b"2")]})
    stream.announce()
    await stream.send(body(b"ab"))
    assert outlet.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"ab"]
    assert stream.keep_alive and not stream.left


async def test_no_head_leaves_before_a_100_that_may_be_asked_for(outlet: FakeOutlet) -> None:
    stream = make(outlet, *EXPECT)
    await stream.send(dict(START))
    stream.announce()
    assert outlet.writes == []
    task = await waiting(stream.receive())
    assert outlet.writes[0] == b"HTTP/1.1 100 Continue\r\n\r\n" and outlet.writes[1].startswith(b"HTTP/1.1 200 ")
    task.cancel()


@pytest.mark.parametrize("start", [{**START, "headers": [(b"x", b"a\r\nb")]}, {"type": "http.response.start"}])
async def test_the_application_hears_what_is_wrong_with_a_late_head(outlet: FakeOutlet, start: Message) -> None:
    stream = make(outlet, complete=True)
    await stream.send(start)
    stream.announce()
    assert (stream.phase, outlet.writes, outlet.logged) == (STARTED, [], [])
    with pytest.raises((ValueError, KeyError)):
        await stream.send(body(b"ab"))
    assert outlet.writes == []


async def test_a_large_first_part_is_not_copied(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    data = b"x" * JOIN_LIMIT
    await stream.send(dict(START))
    await stream.send(body(data))
    assert outlet.writes[0].endswith(b"\r\n\r\n") and outlet.writes[1] is data


async def test_headers_and_body_may_be_left_out(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send({"type": "http.response.start", "status": 200})
    await stream.send({"type": "http.response.body"})
    assert outlet.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]


@pytest.mark.parametrize("kind", ["bytearray", "memoryview"])
async def test_other_kinds_of_bytes(outlet: FakeOutlet, kind: str) -> None:
    convert: Any = {"bytearray": bytearray, "memoryview": memoryview}[kind]
    stream = make(outlet, complete=True)
    await stream.send(dict(START))
    await stream.send(body(convert(b"hello"), more=True))
    await stream.send(body(convert(b"x" * JOIN_LIMIT)))
    assert outlet.body.startswith(b"5\r\nhello\r\n8000\r\nxxx")


async def test_head_sends_no_body(outlet: FakeOutlet) -> None:
    stream = make(outlet, line=b"HEAD / HTTP/1.1", complete=True)
    await stream.send(dict(START))
    await stream.send(body(b"hello", more=True))
    await stream.send(body(b"hello"))
    assert (outlet.body, stream.left) == (b"", 0)


async def test_too_much_raises_and_nothing_of_it_is_written(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send({**START, "headers": [(b"content-length", b"3")]})
    await stream.send(body(b"ab", more=True))
    with pytest.raises(RuntimeError, match="longer than Content-Length"):
        await stream.send(body(b"cd"))
    assert outlet.body == b"ab"


async def test_too_much_at_once_leaves_the_wire_and_the_log_untouched(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send({**START, "headers": [(b"content-length", b"3")]})
    with pytest.raises(RuntimeError, match="longer than Content-Length"):
        await stream.send(body(b"abcd"))
    assert (outlet.writes, outlet.logged) == ([], [])


async def test_too_little_is_short(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send({**START, "headers": [(b"content-length", b"3")]})
    await stream.send(body(b"ab"))
    assert stream.left == 1


async def test_bad_headers_raise_and_the_response_may_start_again(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send({**START, "headers": [(b"x", b"a\r\nb")]})
    with pytest.raises(ValueError, match="Invalid value of header"):
        await stream.send(body(b"ab"))
    assert (stream.phase, outlet.writes, outlet.logged) == (WAITING, [], [])
    await stream.send(dict(START))
    await stream.send(body(b"ab"))
    assert outlet.logged == [200]


@pytest.mark.parametrize(
    ("before", "message", "sentence"),
    [
        ([], body(), "Expected ASGI message 'http.response.start', but got 'http.response.body'."),
        ([], {"type": "websocket.accept"}, "Expected ASGI message 'http.response.start', but got 'websocket.accept'."),
        ([START], dict(START), "Expected ASGI message 'http.response.body', but got 'http.response.start'."),
        (
            [START, body(more=True)],
            dict(START),
            "Expected ASGI message 'http.response.body', but got 'http.response.start'.",
        ),
        (
            [START, body()],
            body(),
            "Unexpected ASGI message 'http.response.body' sent, after response already completed.",
        ),
        (
            [START, body()],
            dict(START),
            "Unexpected ASGI message 'http.response.start' sent, after response already completed.",
        ),
    ],
)
async def test_messages_out_of_order(
    outlet: FakeOutlet, before: list[Message], message: Message, sentence: str
) -> None:
    stream = make(outlet, complete=True)
    for earlier in before:
        await stream.send(dict(earlier))
    with pytest.raises(RuntimeError) as caught:
        await stream.send(message)
    assert str(caught.value) == sentence


async def test_send_waits_until_the_transport_takes_more(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send(dict(START))
    outlet.writable = False
    task = await waiting(stream.send(body(b"a", more=True)))
    assert outlet.body == b"1\r\na\r\n"  # it was taken; the application is held back from making more
    outlet.writable = True
    stream.resume_writing()
    await task


@pytest.mark.parametrize("line", [b"HEAD / HTTP/1.1", b"GET / HTTP/1.1"])
@pytest.mark.parametrize("body", [b"", b"x"])
async def test_an_endless_response_that_never_waits_gives_others_a_turn(
    outlet: FakeOutlet, line: bytes, body: bytes
) -> None:
    stream = make(outlet, line=line, complete=True)
    endless = True

    async def send_all() -> None:
        await stream.send(START)
        for _ in range(100_000):  # in place of for ever
            if not endless:
                break
            await stream.send({"type": "http.response.body", "body": body, "more_body": True})

    task = asyncio.create_task(send_all())
    await asyncio.sleep(0)
    endless = False
    await task
    assert stream._parts == TURN


async def test_the_last_send_does_not_wait(outlet: FakeOutlet) -> None:
    """After it the exchange is over, and nobody would wake it."""
    stream = make(outlet, complete=True)
    await stream.send(dict(START))
    outlet.writable = False
    await asyncio.wait_for(stream.send(body(b"a")), 5)


async def test_a_waiting_send_learns_that_the_peer_left(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send(dict(START))
    outlet.writable = False
    task = await waiting(stream.send(body(b"a", more=True)))
    stream.lost()
    with pytest.raises(ClientDisconnected):
        await task


async def test_a_cancelled_send_can_be_followed_by_another(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send(dict(START))
    outlet.writable = False
    task = await waiting(stream.send(body(b"a", more=True)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outlet.writable = True
    stream.resume_writing()
    await stream.send(body(b"b"))
    assert outlet.body == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"


@pytest.mark.parametrize("messages", [[], [START], [START, body(b"a", more=True)]])
async def test_send_raises_an_oserror_once_nobody_is_there(outlet: FakeOutlet, messages: list[Message]) -> None:
    stream = make(outlet, complete=True)
    for message in messages:
        await stream.send(dict(message))
    stream.lost()
    with pytest.raises(OSError, match="closed the connection") as caught:
        await stream.send(dict(START))
    assert type(caught.value) is ClientDisconnected


async def test_a_peer_that_closed_its_half_still_reads(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    stream.hang_up()
    await stream.send(dict(START))
    await stream.send(body(b"a"))
    assert outlet.body == b"a"


async def test_the_last_response_of_a_connection_says_so(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    outlet.closing = True
    await stream.send(dict(START))
    await stream.send(body())
    assert b"connection: close\r\n" in outlet.writes[0] and not stream.keep_alive


async def test_the_access_log_is_written_with_the_head(outlet: FakeOutlet) -> None:
    stream = make(outlet, complete=True)
    await stream.send({**START, "status": 201})
    assert outlet.logged == []
    await stream.send(body(b"a", more=True))
    await stream.send(body(b"a"))
    assert outlet.logged == [201]
