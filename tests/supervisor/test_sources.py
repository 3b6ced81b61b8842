"""The registry of what the kernel waits for: who is asked, in which order, and what no child has."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator

import pytest

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

from uvicorn.supervisor import events as ev
from uvicorn.supervisor.child import close_descriptors
from uvicorn.supervisor.events import Event
from uvicorn.supervisor.sources import Rank, Sources


class Pipe:
    """A source that says its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fd, self.writer = os.pipe()

    def ready(self) -> None:
        os.write(self.writer, b"x")

    def read(self) -> list[Event]:
        os.read(self.fd, 10)
        return [ev.WorkerFailed(1, 0, self.name)]

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.writer)


@pytest.fixture(params=["epoll", "poll"], autouse=True)
def _poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to wait: the second is that of systems without the first."""
    if request.param == "poll":
        monkeypatch.delattr(select, "epoll", raising=False)


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    made = [Pipe(name) for name in ("worker 1", "worker 2", "caller", "signals")]
    yield made
    for pipe in made:
        pipe.close()


def said(events: list[Event]) -> list[str]:
    return [event.cause for event in events if isinstance(event, ev.WorkerFailed)]


def test_who_is_ready_is_asked_by_rank_and_then_by_age(pipes: list[Pipe]) -> None:
    sources = Sources()
    ranks = (Rank.WORKER, Rank.WORKER, Rank.CALLER, Rank.SIGNALS)
    for pipe, rank in zip(pipes, ranks, strict=True):
        sources.add(pipe.fd, rank, pipe.read)
    for pipe in reversed(pipes):
        pipe.ready()
    assert said(sources.read(sources.wait(None))) == ["signals", "caller", "worker 1", "worker 2"]
    assert sources.wait(0) == []


def test_only_who_is_ready_is_asked(pipes: list[Pipe]) -> None:
    sources = Sources()
    for pipe in pipes:
        sources.add(pipe.fd, Rank.WORKER, pipe.read)
    pipes[2].ready()
    assert said(sources.read(sources.wait(None))) == ["caller"]


def test_who_is_removed_by_another_is_not_asked_and_nor_is_who_has_its_number_then(pipes: list[Pipe]) -> None:
    sources = Sources()
    first, second, third, fourth = pipes

    def replace() -> list[Event]:
        sources.remove(second.fd)
        sources.mute(third.fd)
        sources.add(second.fd, Rank.WORKER, lambda: [ev.WorkerFailed(2, 0, "the new one")])
        return first.read()

    sources.add(first.fd, Rank.SIGNALS, replace)
    for pipe in (second, third, fourth):
        sources.add(pipe.fd, Rank.WORKER, pipe.read)
    for pipe in pipes:
        pipe.ready()
    assert said(sources.read(sources.wait(None))) == [first.name, fourth.name]
    assert said(sources.read(sources.wait(None))) == ["the new one"]


def test_the_end_of_a_source_is_told_whatever_is_awaited(pipes: list[Pipe]) -> None:
    sources = Sources()
    reader, writer = os.pipe()
    sources.add(reader, Rank.TERMINAL, lambda: [ev.Tick()], 0)
    os.close(writer)
    assert sources.read(sources.wait(None)) == [ev.Tick()]
    sources.mute(reader)
    assert sources.wait(0) == []
    os.close(reader)


def test_what_no_child_has(pipes: list[Pipe]) -> None:
    sources = Sources()
    first, second, third, _ = pipes
    for pipe in (first, second):
        sources.add(pipe.fd, Rank.WORKER, pipe.read, select.POLLIN)
    sources.keep_private(third.fd, -1)
    assert sources.private == {first.fd, second.fd, third.fd}
    sources.mute(first.fd)
    sources.remove(second.fd)
    assert sources.private == {first.fd, third.fd}
    sources.remove(third.fd)
    assert sources.private == {first.fd}


@pytest.mark.parametrize("holes", [(), (0,), (3, 4, 9), (1, 3, 5, 7), range(10)])
def test_descriptors_are_closed_but_for_those_between_them(holes: tuple[int, ...]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    fds = [os.dup(null) for _ in range(10)]
    close_descriptors({fd for index, fd in enumerate(fds) if index not in holes})
    still = []
    for index, fd in enumerate(fds):
        try:
            os.close(fd)
            still.append(index)
        except OSError:
            pass
    os.close(null)
    assert still == sorted(holes)
