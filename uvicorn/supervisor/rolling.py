"""Which generation is wanted, and the next step of a roll towards it.

Owns: `Epoch`. Wanted is two numbers: `generation`, which new workers carry, and `floor`, below which a
worker is to be replaced. A reload raises both; everything else follows from comparing them with the fleet,
so a reload can be repeated, overtaken by another one, or cut short by a stop, and there is nothing to undo.

What a failed reload leaves. A generation is an epoch of code and settings, and a fork imports what is on
the disk *now*: the master keeps no old code, so a worker that was replaced cannot be had back. Therefore
nothing is retired before the first new worker is READY; the usual failure (the code does not import, the
database is away) comes with no old worker touched, and rolling back means only that the new generation is
given up. When a later worker of the roll fails, the ones that already serve are sound and stay; to retire
them would trade working processes for a start that just failed. The roll stops where it is, every old
worker that still is stays, and the summary names both generations. Numbers are never used twice.

Must not: act, or touch a worker. Fails by: nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from uvicorn.supervisor.policy import recycled_at_once
from uvicorn.supervisor.table import State, WorkerHandle


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

    def give_up(self, fleet: Collection[WorkerHandle]) -> None:
        """The roll failed: what serves is what is wanted."""
        self.since = None
        self.failed = True
        self.floor = self.settled
        serving = [w.generation for w in fleet if w.state in (State.READY, State.HUNG)]
        self.generation = max(serving, default=self.settled)

    def complete(self) -> None:
        self.since = None
        self.settled = self.floor

    def done(self, fleet: Collection[WorkerHandle], target: int) -> bool:
        """Whether every slot is served by the wanted generation and no older worker is left in any of
        them."""
        fresh = {w.slot for w in fleet if w.state is State.READY and w.generation >= self.floor}
        return fresh.issuperset(range(target)) and not any(w.active and w.generation < self.floor for w in fleet)

    def next_slot(self, fleet: Collection[WorkerHandle], target: int) -> int | None:
        """Where to start the next new worker: surge one, so none while one is on its way beside an old
        one."""
        booting = {w.slot for w in fleet if w.state is State.BOOTING}
        occupied = {w.slot for w in fleet if w.state in (State.READY, State.HUNG)}
        if booting & occupied:
            return None
        stale = {w.slot for w in fleet if w.active and w.generation < self.floor} & occupied
        return min((slot for slot in stale if slot < target), default=None)

    def superfluous(self, fleet: Collection[WorkerHandle], target: int) -> list[WorkerHandle]:
        """Who is to leave: slots above the target, the older of two that serve, and starts that nobody
        waits for (neither a roll nor a worker that is to be recycled)."""
        best: dict[int, WorkerHandle] = {}
        for w in fleet:
            if w.state is State.READY and (w.slot not in best or _newer(w, best[w.slot])):
                best[w.slot] = w
        return [w for w in fleet if w.slot >= target or self._outdone(w, best.get(w.slot))]

    def _outdone(self, w: WorkerHandle, keeper: WorkerHandle | None) -> bool:
        if keeper is None or w is keeper:
            return False
        awaited = self.concerns(w) if self.rolling else keeper.marked
        return w.state is State.READY or (w.state is State.BOOTING and not awaited)

    def recyclable(self, fleet: Collection[WorkerHandle], target: int) -> list[WorkerHandle]:
        """Who may be replaced now because it reached a limit of its own: none during a roll, which replaces
        everybody, and only so many at a time; the first that asked first."""
        if self.rolling:
            return []
        booting = {w.slot for w in fleet if w.state is State.BOOTING}
        marked = [w for w in fleet if w.marked and w.state is State.READY and w.slot < target]
        room = recycled_at_once(target) - sum(w.slot in booting for w in marked)
        return [w for w in marked if w.slot not in booting] if room > 0 else []


def _newer(one: WorkerHandle, other: WorkerHandle) -> bool:
    return (one.generation, one.serial) > (other.generation, other.serial)
