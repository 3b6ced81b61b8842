"""The one timer of a worker: which duties are called at which tick."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uvicorn.worker.loop.pulse import EACH_TICK, INTERVAL, Pulse


class Clock:
    """Stands for `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", clock)
        yield clock


def ticks(pulse: Pulse, clock: Clock, count: int, called: list[str]) -> list[str]:
    """What is called at each of so many ticks."""
    result = []
    for _ in range(count):
        clock.now += INTERVAL
        pulse.tick()
        result.append("".join(called))
        called.clear()
    return result


def noting(called: list[str], name: str) -> Callable[[float], None]:
    return lambda now: called.append(name)


def test_duties_are_called_at_their_intervals_in_the_order_of_their_registration(clock: Clock) -> None:
    pulse, called = Pulse(), list[str]()
    pulse.every(0.3, noting(called, "c"))
    pulse.every(EACH_TICK, noting(called, "a"))
    pulse.every(0.2, noting(called, "b"))
    assert ticks(pulse, clock, 6, called) == ["a", "ab", "ca", "ab", "a", "cab"]


def test_an_interval_can_be_changed(clock: Clock) -> None:
    pulse, called = Pulse(), list[str]()
    duty = pulse.every(0.3, noting(called, "a"))
    assert ticks(pulse, clock, 3, called) == ["", "", "a"]
    duty.seconds = EACH_TICK
    assert ticks(pulse, clock, 2, called) == ["a", "a"]


def test_a_duty_is_given_the_time_of_the_tick(clock: Clock) -> None:
    pulse, given = Pulse(), list[float]()
    pulse.every(EACH_TICK, given.append)
    pulse.tick()
    clock.now += INTERVAL
    pulse.tick()
    assert given == [1000.0, 1000.0 + INTERVAL] and pulse.now == given[-1]


def test_intervals_start_anew_after_the_loop_was_blocked(clock: Clock) -> None:
    pulse, called = Pulse(), list[str]()
    pulse.every(0.3, noting(called, "a"))
    assert ticks(pulse, clock, 2, called) == ["", ""]
    clock.now += 60
    assert ticks(pulse, clock, 3, called) == ["", "", "a"]


async def test_a_duty_that_raises_keeps_neither_the_others_nor_the_next_tick(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    pulse, called, told = Pulse(), list[float](), list[dict[str, Any]]()
    loop = asyncio.get_running_loop()
    reports = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))

    def fails(now: float) -> None:
        raise LookupError("no such figure")

    pulse.every(EACH_TICK, fails)
    pulse.every(EACH_TICK, called.append)
    pulse.start()
    try:
        await pulse.beat()
        await asyncio.sleep(0)
    finally:
        pulse.stop()
        loop.set_exception_handler(reports)
    assert len(called) == len(told) >= 2
    assert all(isinstance(context["exception"], LookupError) for context in told)
