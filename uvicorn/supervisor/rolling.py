"""Which generation is wanted, and what that means for one slot.

Owns: `Epoch`. Wanted is two numbers: `generation`, which new workers carry, and `floor`, below which a
worker is to be replaced. A reload raises both; everything else follows from comparing them with the fleet,
so a reload can be repeated, overtaken by another one, or cut short by a stop, and there is nothing to undo.

What a failed reload leaves. A generation is an epoch of code and settings, and a fork imports what is on
the disk *now*: the master keeps no old code, so a worker that was replaced cannot be brought back. Therefore
nothing is retired before the first new worker is READY; the usual failure (the code does not import, the
database is away) comes with no old worker touched, and rolling back means only that the new generation is
given up. When a later worker of the roll fails, the ones that already serve are sound and stay; to retire
them would trade working processes for a start that just failed. The roll stops where it is, every old
worker that still is stays, and the summary names both generations. Numbers are never used twice.

Must not: act, or change a worker. Fails by: nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from uvicorn.supervisor.handle import WorkerHandle
from uvicorn.supervisor.table import State


@dataclass(slots=True)
class Epoch:
    """`settled` is the floor to go back to; `since` is when the running roll was asked for; `failed` says how the last
    one ended."""

    generation: int = 1
    floor: int = 1
    settled: int = 1
    last: int = 1
    since: float | None = None
    failed: bool = False

    @property
    def rolling(self) -> bool:
        return self.since is not None

    def begin(self, now: float) -> None:
        self.last += 1
        self.generation = self.floor = self.last
        self.since = now
        self.failed = False

    def concerns(self, w: WorkerHandle) -> bool:
        """Whether this worker's failure is the roll's failure."""
        return self.rolling and w.generation == self.generation

    def give_up(self, fleet: Iterable[WorkerHandle]) -> None:
        """The roll failed: what serves is what is wanted."""
        self.since = None
        self.failed = True
        self.floor = self.settled
        serving = [w.generation for w in fleet if w.state in (State.READY, State.HUNG)]
        self.generation = max(serving, default=self.settled)

    def complete(self) -> None:
        self.since = None
        self.settled = self.floor

    def superfluous(self, members: Collection[WorkerHandle], keeper: WorkerHandle | None) -> list[WorkerHandle]:
        """Who of the active workers in one slot is to leave: the older of two that serve, and starts that nobody waits
        for (neither a roll nor a worker that is to be recycled). `keeper` is the newest that serves."""
        if keeper is None:
            return []
        return [w for w in members if w is not keeper and self._outdone(w, keeper)]

    def _outdone(self, w: WorkerHandle, keeper: WorkerHandle) -> bool:
        awaited = self.concerns(w) if self.rolling else keeper.marked
        return w.state is State.READY or (w.state is State.BOOTING and not awaited)


def newest_ready(members: Iterable[WorkerHandle]) -> WorkerHandle | None:
    """Who serves in a slot; of several the one of the newest generation, started last."""
    ready = [w for w in members if w.state is State.READY]
    return max(ready, key=lambda w: (w.generation, w.serial), default=None)
