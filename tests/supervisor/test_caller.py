"""Signals that come two ways, and a caller that goes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

from uvicorn.supervisor import events as ev
from uvicorn.supervisor.caller import WINDOW, Caller, DuplicateFilter
from uvicorn.supervisor.kernel import Kernel

TERM, INT = 15, 2
TERM_RECEIVED = ev.SignalReceived(ev.Signal.TERM)


@pytest.mark.parametrize("passed_on", [True, False])
def test_what_comes_both_ways_counts_once(passed_on: bool) -> None:
    pairs = DuplicateFilter()
    assert pairs.is_new(INT, passed_on, 10.0)
    assert not pairs.is_new(INT, not passed_on, 10.0 + WINDOW)


def test_two_of_one_way_are_two() -> None:
    pairs = DuplicateFilter()
    assert pairs.is_new(TERM, True, 10.0) and pairs.is_new(TERM, True, 10.1)


def test_a_signal_twice_to_the_whole_group_is_two() -> None:
    pairs = DuplicateFilter()
    news = [pairs.is_new(INT, way, 10.0 + at / 10) for at, way in enumerate([False, False, True, True])]
    assert news == [True, True, False, False]


def test_different_signals_are_no_pair_and_nor_are_late_ones() -> None:
    pairs = DuplicateFilter()
    assert pairs.is_new(TERM, False, 10.0)
    assert pairs.is_new(INT, True, 10.0)
    assert pairs.is_new(TERM, True, 10.1 + WINDOW)


@pytest.fixture
def pipe() -> Iterator[tuple[Kernel, int]]:
    """(the kernel, what its caller writes to)"""
    reader, writer = os.pipe()
    kernel = Kernel(Caller(reader))
    yield kernel, writer
    kernel.close()
    try:
        os.close(writer)
    except OSError:
        pass  # the test has
    with pytest.raises(OSError):
        os.fstat(reader)


def test_a_signal_that_is_passed_on_is_an_event(pipe: tuple[Kernel, int]) -> None:
    kernel, writer = pipe
    os.write(writer, bytes([signal.SIGTERM, signal.SIGHUP, 250]))
    assert kernel.wait(None) == [TERM_RECEIVED, ev.SignalReceived(ev.Signal.HUP)]


def test_the_kernel_takes_both_ways_for_one(pipe: tuple[Kernel, int]) -> None:
    kernel, writer = pipe
    os.write(writer, bytes([signal.SIGTERM]))
    signal.raise_signal(signal.SIGTERM)
    assert kernel.wait(None) == [TERM_RECEIVED]


def test_a_caller_that_is_gone_means_term_once(pipe: tuple[Kernel, int], caplog: pytest.LogCaptureFixture) -> None:
    kernel, writer = pipe
    os.close(writer)
    assert kernel.wait(None) == [TERM_RECEIVED]
    assert "is gone" in caplog.text
    assert kernel.wait(kernel.now()) == [ev.Tick()]


def test_without_a_caller_every_signal_counts() -> None:
    kernel = Kernel()
    try:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert kernel.wait(None) == [TERM_RECEIVED, TERM_RECEIVED]
    finally:
        kernel.close()
