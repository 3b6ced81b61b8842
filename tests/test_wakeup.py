"""Signals as bytes on a socket, and what is there again afterwards."""

from __future__ import annotations

import select
import signal
import sys
from types import FrameType

import pytest

from uvicorn.process.wakeup import SignalSocket

if sys.platform == "win32":
    pytest.skip("there are no such signals", allow_module_level=True)

NAMES = ("SIGUSR1", "SIGUSR2")


def test_signals_are_bytes_in_their_order() -> None:
    signals = SignalSocket.install(NAMES)
    try:
        assert signals.read() == b""
        for number in (signal.SIGUSR2, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR1):
            signal.raise_signal(number)
        wanted = bytes([signal.SIGUSR2, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR1])
        assert select.select([signals], [], [], 0)[0] == [signals]
        assert signals.read() == wanted
        assert select.select([signals], [], [], 0)[0] == []
    finally:
        signals.restore()


def test_more_than_the_socket_takes_end_the_wait_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    signals = SignalSocket.install(NAMES)
    try:
        sent = 0
        while select.select([], [signals.writer], [], 0)[1]:
            sent += signals.writer.send(bytes(4096))
        signal.raise_signal(signal.SIGCHLD)
        assert select.select([signals], [], [], 0)[0] == [signals]
        assert len(signals.read()) <= sent + 1
        signal.raise_signal(signal.SIGCHLD)
        assert signals.read() == bytes([signal.SIGCHLD])
    finally:
        signals.restore()
    assert capfd.readouterr().err == ""


def test_handlers_and_the_wakeup_descriptor_are_put_back() -> None:
    heard: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGUSR1, handler)
    outer = SignalSocket.install(["SIGUSR2"])
    signals = SignalSocket.install(NAMES)
    signal.raise_signal(signal.SIGUSR1)
    assert heard == [] and signals.previous[signal.SIGUSR1] is handler
    signals.restore()
    signal.raise_signal(signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]
    assert outer.read() == bytes([signal.SIGUSR1]), "the descriptor is the one of before"
    outer.restore()
    assert signal.set_wakeup_fd(-1) == -1
    signal.signal(signal.SIGUSR1, before)
