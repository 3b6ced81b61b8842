"""Who may be served: a queue with a bound and a time."""

from __future__ import annotations

import pytest

from uvicorn.worker.http.admission import Admission


class Waiter:
    def admit(self) -> None: ...


@pytest.fixture
def waiters() -> list[Waiter]:
    return [Waiter() for _ in range(4)]


def test_below_the_limit_nobody_waits() -> None:
    admission = Admission(2, 2, 5)
    assert admission.has_room(0) and admission.has_room(1) and not admission.has_room(2)


def test_the_queue_has_a_bound_and_an_order(waiters: list[Waiter]) -> None:
    admission = Admission(1, 2, 5)
    assert [admission.wait(waiter, waiter.admit, 0) for waiter in waiters] == [True, True, False, False]
    assert admission.next(1) is None
    assert [admission.next(0) for _ in range(3)] == [waiters[0].admit, waiters[1].admit, None]


def test_who_comes_goes_behind_those_who_wait(waiters: list[Waiter]) -> None:
    admission = Admission(1, 2, 5)
    admission.wait(waiters[0], waiters[0].admit, 0)
    assert not admission.has_room(0)
    admission.leave(waiters[0])
    admission.leave(waiters[1])
    assert admission.has_room(0)


def test_who_waited_too_long_is_out(waiters: list[Waiter]) -> None:
    admission = Admission(1, 2, 5)
    admission.wait(waiters[0], waiters[0].admit, 100)
    admission.wait(waiters[1], waiters[1].admit, 101)
    assert not any(admission.overdue(waiter, 105) for waiter in waiters)
    assert [admission.overdue(waiter, 105.1) for waiter in waiters] == [True, False, False, False]
    assert admission.next(0) == waiters[1].admit


def test_without_places_nobody_waits(waiters: list[Waiter]) -> None:
    assert not Admission(1, 0, 5).wait(waiters[0], waiters[0].admit, 0)
