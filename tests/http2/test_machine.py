"""Windows, turns, bounds and drains of the pure machine."""

from __future__ import annotations

import pytest

import http2 as h2
from http2_floods import FLOODS
from http2_machine import ANSWER, METHODS, Driven
from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.receiving import CONNECTION_WINDOW
from uvicorn.worker.http2.streams import Terms

LARGEST = 16384


def begun(
    *, answers: bool = False, takes: bool = True, window: int = 1 << 18, streams: int = 128, first: int = 65535
) -> Driven:
    driven = Driven(Terms(methods=METHODS, window=window, streams=streams), answers=answers, takes=takes)
    driven.feed(h2.hello((h2.INITIAL_WINDOW_SIZE, first)), h2.frame(h2.SETTINGS, h2.ACK))
    return driven


# -- what we say of ourselves ----------------------------------------------------------------------------------


def test_what_a_server_begins_with() -> None:
    driven = Driven()
    first, second = driven.frames
    values = dict(zip(*[iter(_pairs(first.payload))] * 2, strict=True))
    assert (first.kind, first.stream, second.kind, second.number) == (
        h2.SETTINGS,
        0,
        h2.WINDOW_UPDATE,
        CONNECTION_WINDOW - 65535,
    )
    assert values == {3: 128, 4: 1 << 18, 6: 65536, 9: 1}
    driven.feed(h2.hello())
    assert driven.frames[2] == h2.Frame(h2.SETTINGS, h2.ACK, 0, b"")


def _pairs(payload: bytes) -> list[int]:
    return [
        int.from_bytes(payload[at : at + size], "big")
        for begin in range(0, len(payload), 6)
        for at, size in ((begin, 2), (begin + 2, 4))
    ]


def test_a_ping_is_answered_with_what_it_carries() -> None:
    assert begun().feed(h2.frame(h2.PING, 0, 0, b"12345678")) == [h2.Frame(h2.PING, h2.ACK, 0, b"12345678")]


# -- windows for what is received ------------------------------------------------------------------------------


def test_a_peer_hears_of_room_when_half_a_window_was_taken() -> None:
    driven = begun(window=1000)
    driven.feed(h2.post(1))
    assert driven.feed(h2.data(1, b"x" * 499)) == []
    assert driven.feed(h2.data(1, b"x")) == [h2.Frame(h2.WINDOW_UPDATE, 0, 1, (500).to_bytes(4, "big"))]


def test_a_first_window_below_that_of_everybody_holds_once_it_is_acknowledged() -> None:
    driven = Driven(Terms(methods=METHODS, window=1000), answers=False, takes=False)
    driven.feed(h2.hello(), h2.post(1), h2.data(1, b"x" * 10_000))
    assert driven.gone is None and not driven.resets
    driven.feed(h2.frame(h2.SETTINGS, h2.ACK), h2.data(1, b"x"))
    assert driven.resets == {1: Code.FLOW_CONTROL_ERROR}


def test_what_a_stream_owes_when_it_closes_is_given_back() -> None:
    """Else a connection whose requests nobody reads would run out of its window."""
    driven = begun(takes=False)
    number = 1
    for _ in range(3 * CONNECTION_WINDOW // (8 * LARGEST)):
        driven.feed(h2.post(number), h2.data(number, b"x" * LARGEST) * 8, h2.rst_stream(number))
        number += 2
    assert driven.gone is None


def test_more_than_the_connections_window_is_its_end() -> None:
    driven = begun(takes=False)
    for number in range(1, 11, 2):
        driven.feed(h2.post(number), h2.data(number, b"x" * LARGEST) * 15)
    assert driven.gone == Code.FLOW_CONTROL_ERROR


def test_padding_counts_and_is_given_back() -> None:
    driven = begun(window=1000)
    driven.feed(h2.post(1))
    frames = driven.feed(*[h2.data(1, b"\xff" + b"a" + b"\x00" * 255, h2.PADDED)] * 10)
    assert driven.bodies[1] == b"a" * 10
    assert sum(one.number for one in frames if one.kind == h2.WINDOW_UPDATE and one.stream == 1) > 2000


# -- windows for what is sent ----------------------------------------------------------------------------------


def respond(driven: Driven, number: int, body: bytes, ends: bool = True) -> None:
    driven.machine.sender.respond(driven.streams[number], ANSWER, body, ends)
    driven.collect()


def test_a_body_waits_for_its_window() -> None:
    driven = begun(first=10)
    driven.feed(h2.get(1))
    respond(driven, 1, b"a" * 25)
    assert driven.sent(1) == b"a" * 10
    driven.feed(h2.window_update(1, 10))
    assert driven.sent(1) == b"a" * 20 and driven.machine.streams
    driven.feed(h2.window_update(1, 10))
    assert driven.sent(1) == b"a" * 25 and not driven.machine.streams


def test_a_window_may_become_negative() -> None:
    driven = begun(first=100)
    driven.feed(h2.get(1))
    respond(driven, 1, b"a" * 150)
    driven.feed(h2.settings((h2.INITIAL_WINDOW_SIZE, 20)))  # 80 below nothing
    driven.feed(h2.window_update(1, 80))
    assert len(driven.sent(1)) == 100
    driven.feed(h2.window_update(1, 1))
    assert len(driven.sent(1)) == 101
    driven.feed(h2.settings((h2.INITIAL_WINDOW_SIZE, 69)))
    assert len(driven.sent(1)) == 150 and not driven.machine.streams


def test_the_connections_window_is_for_all_in_turn() -> None:
    driven = begun(first=1 << 20)
    for number in (1, 3, 5):
        driven.feed(h2.get(number))
        respond(driven, number, bytes([number]) * 40_000)
    sizes = [len(driven.sent(number)) for number in (1, 3, 5)]
    assert sizes[0] == 40_000 and sum(sizes) == 65_535
    driven.feed(h2.window_update(0, 2 * LARGEST))
    assert (len(driven.sent(3)), len(driven.sent(5))) == (40_000, 65_535 + 2 * LARGEST - 80_000)
    driven.feed(h2.window_update(0, 1 << 20))
    assert [len(driven.sent(number)) for number in (1, 3, 5)] == [40_000] * 3


def test_what_is_urgent_goes_first() -> None:
    driven = begun(first=1 << 20)
    driven.feed(h2.get(1, (b"priority", b"u=5")), h2.get(3, (b"priority", b"u=0")), h2.get(5))
    respond(driven, 1, b"1" * 65_535)
    for number in (1, 3, 5):
        driven.machine.sender.send(driven.streams[number], b"x" * 20_000, True) if number == 1 else respond(
            driven, number, b"x" * 20_000
        )
    driven.feed(h2.window_update(0, 20_000))
    assert (len(driven.sent(3)), len(driven.sent(5))) == (20_000, 0)


def test_an_urgency_may_change() -> None:
    driven = begun(first=1 << 20)
    driven.feed(h2.get(1), h2.get(3), h2.get(5))
    respond(driven, 1, b"1" * 65_535)
    driven.feed(h2.frame(h2.PRIORITY_UPDATE, 0, 0, (5).to_bytes(4, "big") + b"u=0"))
    respond(driven, 3, b"3" * 10_000)
    respond(driven, 5, b"5" * 10_000)
    driven.feed(h2.window_update(0, 10_000))
    assert (len(driven.sent(3)), len(driven.sent(5))) == (0, 10_000)


def test_trailers_come_behind_all_data() -> None:
    driven = begun(first=10)
    driven.feed(h2.get(1))
    respond(driven, 1, b"a" * 25, ends=False)
    driven.machine.sender.end_with(driven.streams[1], b"\x88")
    driven.collect()
    assert driven.machine.streams
    driven.feed(h2.window_update(1, 100))
    last = driven.frames[-1]
    assert (last.kind, last.flags, last.payload) == (h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, b"\x88")
    assert driven.sent(1) == b"a" * 25 and not driven.machine.streams


def test_a_full_transport_holds_bodies_and_no_heads() -> None:
    driven = begun()
    driven.feed(h2.get(1))
    driven.machine.sender.written(True)
    driven.machine.sender.respond(driven.streams[1], ANSWER, b"abc", True)
    held = b"".join(driven.machine.sender.out)
    driven.machine.sender.out.clear()
    assert [one.kind for one in h2.split(held)] == [h2.HEADERS]
    driven.machine.sender.written(False)
    driven.collect()
    assert driven.sent(1) == b"abc" and driven.machine.streams == {}


def test_a_large_head_is_cut_into_frames() -> None:
    driven = begun()
    driven.feed(h2.get(1))
    driven.machine.sender.headers(driven.streams[1], b"\x88" * 40_000, ends=True)
    driven.collect()
    parts = [one for one in driven.frames if one.stream == 1]
    assert [(one.kind, one.flags) for one in parts] == [(h2.HEADERS, 1), (h2.CONTINUATION, 0), (h2.CONTINUATION, 4)]
    assert b"".join(one.payload for one in parts) == b"\x88" * 40_000


def test_a_peer_with_a_smaller_table_is_told_that_it_is_not_used() -> None:
    driven = Driven(answers=True)
    driven.feed(h2.hello((h2.HEADER_TABLE_SIZE, 0)), h2.get(1), h2.get(3))
    heads = [one.payload for one in driven.frames if one.kind == h2.HEADERS]
    assert heads == [b"\x20" + ANSWER, ANSWER]


# -- what a peer may cost --------------------------------------------------------------------------------------


def test_a_stream_counts_until_its_application_has_returned() -> None:
    """Rapid reset (CVE-2023-44487): what was reset still runs."""
    driven = begun(streams=4)
    driven.machine.finished = lambda: None  # type: ignore[method-assign]
    for number in range(1, 9, 2):
        driven.feed(h2.get(number), h2.rst_stream(number))
    driven.feed(h2.get(9))
    assert driven.resets == {9: Code.REFUSED_STREAM}
    driven.machine.running -= 1
    driven.feed(h2.get(11))
    assert 11 in driven.requests


def test_a_stream_counts_until_it_is_closed() -> None:
    """Responses that nobody takes are bounded as well."""
    driven = begun(streams=2, first=0)
    for number in (1, 3):
        driven.feed(h2.get(number))
        respond(driven, number, b"x" * 1000)
        driven.machine.finished()
    driven.feed(h2.get(5))
    assert driven.resets == {5: Code.REFUSED_STREAM}


@pytest.mark.parametrize("name", list(FLOODS))
def test_a_flood_ends_its_connection(name: str) -> None:
    driven = begun()
    for one in FLOODS[name]:
        driven.feed(one)
        if driven.gone is not None:
            break
    assert driven.gone == Code.ENHANCE_YOUR_CALM
    assert driven.failure is not None and driven.failure[1]


def test_answers_that_nobody_reads_end_the_connection() -> None:
    driven = begun()
    driven.machine.sender.written(True)
    for _ in range(65536 // 17 + 1):
        driven.now += 1  # slowly: it is no flood
        driven.machine.feed(h2.frame(h2.PING, 0, 0, b"12345678"), driven.now)
    assert driven.failure is not None and "unread answers" in driven.failure[1]


def test_a_client_that_lives_long_never_meets_a_bound() -> None:
    """A ping each second for a day, a window update for each small answer, settings now and then, some resets."""
    driven = begun(answers=True)
    number = 1
    for second in range(86_400 // 8):
        driven.now += 8
        sent = [h2.frame(h2.PING, 0, 0, b"12345678")] * 8
        for _ in range(2):
            sent += [h2.get(number), h2.window_update(0, 13)]
            number += 2
        if not second % 10:
            sent += [h2.settings(), h2.post(number), h2.rst_stream(number)]
            number += 2
        driven.feed(b"".join(sent))
        driven.frames.clear()
    assert driven.failure is None and not driven.machine.streams


def test_a_busy_client_never_meets_a_bound() -> None:
    """Two small window updates for each part of each answer, all in an instant."""
    driven = begun(answers=False, first=1 << 20)
    for number in range(1, 20_001, 2):
        driven.feed(h2.get(number))
        respond(driven, number, b"Hello, world!")
        driven.machine.finished()
        driven.feed(h2.window_update(0, 13))
        driven.frames.clear()
    assert driven.failure is None


# -- ends ------------------------------------------------------------------------------------------------------


def test_a_drain_has_two_steps() -> None:
    driven = begun(answers=True)
    driven.feed(h2.post(1))
    driven.machine.drain()
    driven.collect()
    goaway, ping = driven.frames[-2:]
    assert goaway.goaway == (2**31 - 1, Code.NO_ERROR) and ping.kind == h2.PING
    driven.feed(h2.get(3))  # it was on its way
    assert 3 in driven.requests
    driven.feed(h2.frame(h2.PING, h2.ACK, 0, ping.payload))
    assert driven.frames[-1].goaway == (3, Code.NO_ERROR)
    driven.feed(h2.get(5), h2.data(1, b"x", h2.END_STREAM))
    assert driven.resets == {5: Code.REFUSED_STREAM} and driven.bodies[1] == b"x"
    assert 1 in driven.ended and driven.failure is None


def test_a_drain_that_nobody_answers_is_ended_by_whoever_waits() -> None:
    driven = begun(answers=True)
    driven.machine.drain()
    driven.machine.drained()
    driven.collect()
    assert driven.frames[-1].goaway == (0, Code.NO_ERROR)
    driven.machine.drained()
    driven.collect()
    assert [one.kind for one in driven.frames].count(h2.GOAWAY) == 2


def test_a_fault_is_told_once_and_named() -> None:
    driven = begun()
    driven.feed(h2.get(1), h2.get(3), h2.frame(h2.PING, 0, 0, b"x"))
    assert driven.failure == (Code.FRAME_SIZE_ERROR, "PING with a wrong length")
    last = driven.frames[-1]
    assert last.goaway == (3, Code.FRAME_SIZE_ERROR) and last.payload[8:] == b"PING with a wrong length"


def test_a_fault_of_one_stream_is_no_other_streams() -> None:
    driven = begun(answers=True)
    driven.feed(h2.post(1), h2.post(3), h2.window_update(1, 0), h2.data(3, b"x", h2.END_STREAM))
    assert driven.lost == [1] and driven.bodies[3] == b"x"
    assert driven.faults == [(1, Code.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")]


def test_heads_that_nobody_reads_count_as_streams() -> None:
    """A full transport takes them all the same, and a client that reads nothing could ask for ever."""
    driven = begun(answers=True, streams=4)
    driven.machine.sender.block()
    for number in range(1, 11, 2):
        driven.machine.feed(h2.get(number), 0.0)
    driven.collect()
    assert driven.resets == {9: Code.REFUSED_STREAM} and driven.ended == {1, 3, 5, 7}
    driven.feed(h2.get(11))
    assert 11 in driven.ended


def test_a_client_that_resets_what_was_answered_never_meets_a_bound() -> None:
    """As many do that have read as much of a response as they wanted."""
    driven = begun(answers=True)
    for number in range(1, 20_001, 2):
        driven.feed(h2.get(number), h2.rst_stream(number))
        driven.frames.clear()
    assert driven.failure is None


def test_a_stream_that_was_reset_waits_for_no_turn() -> None:
    """They would add up while the connection's window is shut."""
    driven = begun()
    driven.feed(h2.get(1))
    respond(driven, 1, b"x" * 65_535)
    for number in range(3, 203, 2):
        driven.feed(h2.get(number))
        respond(driven, number, b"x")
        urgency = b"u=%d" % (number % 8)
        driven.feed(h2.frame(h2.PRIORITY_UPDATE, 0, 0, number.to_bytes(4, "big") + urgency), h2.rst_stream(number))
    assert driven.machine.sender._turns.size == 0
