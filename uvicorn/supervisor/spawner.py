"""How a process of the fleet is made: by a fork of the master.

The kernel is given a `Spawner` and prepares what a new process is handed (`ChildSetup`). Another kind of spawner can
take the place of this one, as long as what it makes is a child of this process, which the kernel reaps.

All signals are blocked around the fork, so that none that is meant for a worker runs the master's handlers. What the
child must not have (the master's ends of all channels, above all: their end of file is the lifeline) it closes by
number. The objects behind these numbers are never used there, and never collected either: the frames of the master are
below the child's until it ends.

Owns: the fork. Must not: keep anything. Fails by: OSError or MemoryError, before there is a process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from typing import Protocol

from uvicorn.supervisor.child import ChildSetup, Run, run_child

_ALL_SIGNALS = signal.valid_signals()


class Spawner(Protocol):
    """What the kernel needs to make a process."""

    def spawn(self, setup: ChildSetup, private: Collection[int], run: Run) -> int:
        """The pid of a new child of this process, which calls `run` without the descriptors in `private`. Raises
        OSError or MemoryError."""
        ...


class ForkSpawner:
    """Forks this process. In the child `spawn` does not return."""

    def spawn(self, setup: ChildSetup, private: Collection[int], run: Run) -> int:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                run_child(setup, private, run)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid
