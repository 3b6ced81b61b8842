"""The limits that the options set, and the judgement of a connection by plain numbers."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from uvicorn.config import Config
from uvicorn.worker.http.deadlines import RATE_GRACE, BodyClock
from uvicorn.worker.http.limits import NO_LIMIT, PeerLimits
from uvicorn.worker.http1.deadlines import LINGER, Awaited, Overdue, PeerClock

KEEP_ALIVE = 5.0
LIMITS = PeerLimits(header_time=30, body_time=60, write_time=60)


def verdicts(
    wait: Awaited, until: float, limits: PeerLimits = LIMITS, unsent: int = 0, received: int = 0
) -> list[float | Overdue]:
    """(time, verdict) of the first sweep, from time 0 to `until`, that wants something done; nothing else happens."""
    clock, body = PeerClock(), BodyClock(0.0)
    for tick in range(int(until * 2) + 1):
        verdict = clock.judge(tick / 2, limits, KEEP_ALIVE, wait, 0.0, unsent, received, body)
        if verdict is not Overdue.NOTHING:
            return [tick / 2, verdict]
    return []


@pytest.mark.parametrize(
    ("wait", "outcome"),
    [
        (Awaited.NOTHING, []),
        (Awaited.FIRST, [30.5, Overdue.CLOSE]),
        (Awaited.NEXT, [5.5, Overdue.CLOSE]),
        (Awaited.HEAD, [30.5, Overdue.SLOW_HEAD]),
        (Awaited.BODY, [60.5, Overdue.SLOW_BODY]),
        (Awaited.REST, [5.5, Overdue.LINGER]),
        (Awaited.END, [LINGER + 0.5, Overdue.ABORT]),
    ],
)
def test_each_wait_has_its_time(wait: Awaited, outcome: list[float | Overdue]) -> None:
    assert verdicts(wait, 1000) == outcome


@pytest.mark.parametrize("wait", list(Awaited))
def test_a_reader_that_takes_nothing_is_ended_whatever_is_waited_for(wait: Awaited) -> None:
    others = PeerLimits(header_time=inf, body_time=inf, write_time=60)
    clock = PeerClock()
    for tick in range(122):
        verdict = clock.judge(tick / 2, others, inf, wait, 0.0, 1000, 0)
        assert (verdict is Overdue.STALLED) == (tick > 120), tick


def test_a_reader_that_takes_a_little_is_not_ended() -> None:
    clock = PeerClock()
    for tick in range(1000):
        assert clock.judge(tick / 2, LIMITS, 5, Awaited.NOTHING, 0.0, 100_000 - tick // 100, 0) is Overdue.NOTHING


@pytest.mark.parametrize(("wait", "limit"), [(Awaited.NEXT, KEEP_ALIVE), (Awaited.END, LINGER)])
def test_idleness_begins_when_the_response_has_left(wait: Awaited, limit: float) -> None:
    clock = PeerClock()
    for now in (10.0, 20.0):
        assert clock.judge(now, LIMITS, KEEP_ALIVE, wait, 0.0, int(now), 0) is Overdue.NOTHING
    assert clock.judge(30.0, LIMITS, KEEP_ALIVE, wait, 0.0, 0, 0) is Overdue.NOTHING
    assert clock.judge(30.0 + limit, LIMITS, KEEP_ALIVE, wait, 0.0, 0, 0) is Overdue.NOTHING
    assert clock.judge(30.5 + limit, LIMITS, KEEP_ALIVE, wait, 0.0, 0, 0) is not Overdue.NOTHING


def body_at(rate: int, seconds: float, paused: tuple[float, float] = (0, 0)) -> list[float | Overdue]:
    """A body that arrives evenly, but not while reading is paused."""
    clock, body, limits, received = PeerClock(), BodyClock(0.0), PeerLimits(body_rate=100), 0.0
    for tick in range(1, int(seconds * 2) + 1):
        now = tick / 2
        if paused[0] < now <= paused[1]:
            wait = Awaited.NOTHING
        else:
            wait, received = Awaited.BODY, received + rate / 2
        verdict = clock.judge(now, limits, KEEP_ALIVE, wait, now, 0, int(received), body)
        if verdict is not Overdue.NOTHING:
            return [now, verdict]
    return []


def test_a_body_below_its_rate() -> None:
    assert body_at(100, 1000) == []
    assert body_at(99, 1000) == [RATE_GRACE + 0.5, Overdue.SLOW_BODY]


def test_the_time_in_which_the_application_reads_nothing_is_not_counted() -> None:
    assert body_at(101, 1000, paused=(10, 900)) == []
    assert body_at(99, 1000, paused=(0, 900)) == [900 + RATE_GRACE + 0.5, Overdue.SLOW_BODY]


def test_the_next_body_begins_anew() -> None:
    clock, body, limits = PeerClock(), BodyClock(0.0), PeerLimits(body_rate=100)
    for tick in range(1, 11):
        assert clock.judge(tick / 2, limits, 5, Awaited.BODY, tick / 2, 0, 50 * tick, body) is Overdue.NOTHING
    body = BodyClock(5.0)
    for tick in range(11, 21):
        assert clock.judge(tick / 2, limits, 5, Awaited.BODY, tick / 2, 0, 0, body) is Overdue.NOTHING
    assert clock.judge(10.5, limits, 5, Awaited.BODY, 10.5, 0, 0, body) is Overdue.SLOW_BODY


def limits_of(**settings: Any) -> PeerLimits:
    return PeerLimits.of(Config("x:y", log_config=None, **settings))


def test_the_defaults_of_the_options_are_the_defaults_here() -> None:
    assert limits_of() == PeerLimits()


def test_what_the_options_say() -> None:
    limits = limits_of(
        limit_request_line=1,
        limit_request_headers=600,
        limit_request_fields=2,
        limit_request_body=3,
        limit_body_rate=4,
        timeout_request_header=5,
        timeout_request_body=6,
        timeout_write=7,
    )
    assert limits == PeerLimits(1, 600, 2, 3, 5, 6, 4, 7)


def test_zero_switches_off() -> None:
    limits = limits_of(
        limit_request_line=0,
        limit_request_fields=0,
        limit_request_body=0,
        timeout_request_header=0,
        timeout_request_body=0,
        timeout_write=0,
    )
    assert (limits.line, limits.fields, limits.body) == (NO_LIMIT,) * 3
    assert (limits.header_time, limits.body_time, limits.write_time) == (inf,) * 3
    for wait in (Awaited.FIRST, Awaited.HEAD, Awaited.BODY):
        assert verdicts(wait, 10000, limits, unsent=1) == []


def test_the_older_name_of_the_limit_for_heads() -> None:
    assert limits_of(h11_max_incomplete_event_size=5000).head == 5000
    assert limits_of(h11_max_incomplete_event_size=5000, limit_request_headers=6000).head == 6000
    assert limits_of(h11_max_incomplete_event_size=1).head == 512


@pytest.mark.parametrize("limits", [PeerLimits(), PeerLimits(line=20), PeerLimits(head=600), PeerLimits(fields=3)])
def test_what_is_small_is_within_every_limit(limits: PeerLimits) -> None:
    assert limits.small <= min(512, limits.line, limits.head)
    assert limits.small // len(b"a:\r\n") <= limits.fields
