"""Exchanges on a wire of the test's own, which is not HTTP/1.1: many on one connection. On HTTP/1.1: test_stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest

from applications import Message
from http_peers import START, body
from uvicorn.worker.http.exchange import COMPLETE, SENDING, WAITING, Exchange
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.http1.request_line import request_line


class Tagged(Exchange):
    """Writes (its number, what) to a list that stands for the connection."""

    __slots__ = ("number", "room", "written")

    def __init__(self, number: int, written: list[tuple[int, object]], *fields: tuple[bytes, bytes]) -> None:
        request = RequestHead(request_line(b"POST / HTTP/1.1"), [(b"host", b"a"), (b"content-length", b"9"), *fields])
        super().__init__(request, {"type": "http"}, False)
        self.number, self.written, self.room = number, written, True

    def put(self, what: object) -> None:
        self.written.append((self.number, what))

    def part(self, start: Message | None, body: bytes, more: bool) -> bool:
        if start is not None and start["status"] == 999:
            raise ValueError("no status")
        self.put((None if start is None else start["status"], body, more))
        return self.room

    def completed(self) -> None:
        self.put("completed")

    def go_on(self) -> None:
        self.put("go on")

    def hint(self, links: Iterable[bytes]) -> None:
        self.put(("hint", *links))

    def body_wanted(self) -> None:
        self.put("wants more")

    def answer(self, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.put(("answer", status))
        self.answered(status, len(text))

    def cut(self) -> None:
        self.put("cut")

    def unanswered(self) -> None:
        self.put("unanswered")

    def named(self) -> str:
        return f"number {self.number}"


@pytest.fixture
def written() -> list[tuple[int, object]]:
    return []


async def test_two_on_one_connection_do_not_hold_each_other_up(written: list[tuple[int, object]]) -> None:
    slow, fast = Tagged(1, written), Tagged(2, written)
    slow.room = False
    for one in (slow, fast):
        await one.send(START)
    waiting = asyncio.create_task(slow.send(body(b"a", more=True)))
    await asyncio.sleep(0)
    await fast.send(body(b"b", more=True))
    await fast.send(body(b"c"))
    assert not waiting.done() and (slow.phase, fast.phase) == (SENDING, COMPLETE)
    slow.resume_writing()
    await waiting
    assert written == [(1, (200, b"a", True)), (2, (200, b"b", True)), (2, (None, b"c", False)), (2, "completed")]


async def test_each_asks_for_more_of_its_own_body(written: list[tuple[int, object]]) -> None:
    one, two = Tagged(1, written), Tagged(2, written)
    one.feed(b"part")
    two.feed(b"whole")
    two.feed_end()
    assert (await one.receive(), await two.receive()) == (
        {"type": "http.request", "body": b"part", "more_body": True},
        {"type": "http.request", "body": b"whole", "more_body": False},
    )
    assert written == [(1, "wants more")]


async def test_a_100_is_the_wires(written: list[tuple[int, object]]) -> None:
    one = Tagged(1, written, (b"expect", b"100-continue"))
    receiving = asyncio.create_task(one.receive())
    await asyncio.sleep(0)
    assert written == [(1, "go on"), (1, "wants more")]
    one.feed(b"x")
    assert (await receiving)["body"] == b"x"


async def test_a_head_that_cannot_be_sent_may_be_replaced(written: list[tuple[int, object]]) -> None:
    one = Tagged(1, written)
    await one.send({**START, "status": 999})
    with pytest.raises(ValueError, match="no status"):
        await one.send(body(b"a"))
    assert one.phase == WAITING
    one.failed(departed=False)
    assert written == [(1, ("answer", 500))] and one.phase == COMPLETE


@pytest.mark.parametrize(
    ("messages", "departed", "outcome"),
    [
        ([], False, ("answer", 500)),
        ([], True, "unanswered"),
        ([START], False, ("answer", 500)),
        ([START, body(b"a", more=True)], False, "cut"),
        ([START, body(b"a", more=True)], True, "cut"),
    ],
)
async def test_what_a_failure_means(
    written: list[tuple[int, object]], messages: list[Message], departed: bool, outcome: object
) -> None:
    one = Tagged(1, written)
    for message in messages:
        await one.send(dict(message))
    one.failed(departed)
    assert written[-1] == (1, outcome)


async def test_a_failure_after_the_end_means_nothing(written: list[tuple[int, object]]) -> None:
    done, gone = Tagged(1, written), Tagged(2, written)
    await done.send(START)
    await done.send(body(b"a"))
    gone.lost()
    before = written[:]
    for one in (done, gone):
        one.failed(departed=False)
    assert written == before
