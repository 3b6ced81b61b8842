"""What the kernel waits for: descriptors, and for each the function that turns its readiness into events.

A new kind of source is one call of `add`. Sources that are ready together are asked in the order of their `Rank`, and
within a rank in the order in which they were added; poll's own order says nothing. A source that is removed while
others of the same wait are asked is not asked any more, also when its descriptor's number is in use again.

Also the list of descriptors that a child must not inherit (`private`): those of all sources, and what `keep_private`
names. The child closes them by number.

Owns: the poll object and those tables; any other descriptor is closed by its owner, after `remove`. Must
not: know what a source is. Fails by: whatever a source raises, which ends the master: a source handles its own faults.
"""

from __future__ import annotations

import enum
import select
from collections.abc import Callable, Iterable
from typing import NamedTuple

from uvicorn.supervisor.events import Event

Read = Callable[[], list[Event]]


class Rank(enum.IntEnum):
    """The order in which sources are read. A signal explains what follows it (a stop, the deaths that come with it)."""

    SIGNALS = 0
    CALLER = 1
    TERMINAL = 2
    WORKER = 3


class Source(NamedTuple):
    """`number` increases with each source, so that two of one descriptor are not equal."""

    rank: Rank
    number: int
    fd: int
    read: Read


class EpollPoll:
    """As `select.poll`, at a cost that does not grow with what is registered."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.register = self._epoll.register  # the numbers of the events are the same
        self.unregister = self._epoll.unregister
        self.fileno = self._epoll.fileno
        self.close = self._epoll.close

    def poll(self, timeout: int | None) -> list[tuple[int, int]]:
        return self._epoll.poll(None if timeout is None else timeout / 1000)


class Sources:
    def __init__(self) -> None:
        self._poll = EpollPoll() if hasattr(select, "epoll") else select.poll()
        self._sources: dict[int, Source] = {}
        self._private: set[int] = set()
        self._added = 0

    def fileno(self) -> int:
        """The descriptor behind the wait itself, -1 if it has none."""
        return self._poll.fileno() if isinstance(self._poll, EpollPoll) else -1

    def add(self, fd: int, rank: Rank, read: Read, awaited: int | None = None) -> None:
        """From the next wait on, `read` is called when `fd` is ready for what is `awaited` (reading), or at its end."""
        self._added += 1
        self._sources[fd] = Source(rank, self._added, fd, read)
        self._private.add(fd)
        self._poll.register(fd, select.POLLIN if awaited is None else awaited)

    def mute(self, fd: int) -> None:
        """Stop asking it. It stays open, and private."""
        if self._sources.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def remove(self, fd: int) -> None:
        """To be called before it is closed."""
        self.mute(fd)
        self._private.discard(fd)

    def keep_private(self, *fds: int) -> None:
        """These are not waited for, and no child has them either. Until `remove`."""
        self._private.update(fd for fd in fds if fd >= 0)

    @property
    def private(self) -> set[int]:
        return self._private

    def wait(self, timeout: int | None) -> list[Source]:
        """Block until a source is ready, for at most `timeout` milliseconds. The ready ones, in order."""
        return sorted(self._sources[fd] for fd, _ in self._poll.poll(timeout))

    def close(self) -> None:
        """There is no wait after this."""
        if isinstance(self._poll, EpollPoll):
            self._poll.close()

    def read(self, ready: Iterable[Source]) -> list[Event]:
        """What they have to say."""
        events: list[Event] = []
        for source in ready:
            if self._sources.get(source.fd) is source:
                events += source.read()
        return events
