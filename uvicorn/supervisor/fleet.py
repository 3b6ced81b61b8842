"""The fleet as plain data: the workers, the slots they fill, how many are wanted, of which generation, by which policy.

Owns: `Fleet`, and the index over it. What a slot needs (a worker, another one, one fewer) follows from its few workers,
the epoch and the target. So a slot is judged again (`settle`) only when one of its workers has changed, and all slots
when the epoch or the target has. The results of `settle` are kept in sets, so a change of one worker costs the same in
a fleet of any size. The index is never dumped.

Must not: decide when anything is done about it, act, or read a clock. Fails by: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from uvicorn.supervisor.events import Report
from uvicorn.supervisor.handle import WorkerHandle
from uvicorn.supervisor.plain import DERIVED
from uvicorn.supervisor.policy import Budget, Policy, SlotRecord, recycled_at_once
from uvicorn.supervisor.rolling import Epoch, newest_ready
from uvicorn.supervisor.table import State


@dataclass(slots=True, eq=False)
class RollTarget:
    """The numbers of workers of a reload. `configured` is that of the settings in force, `asked` that of the running
    roll's settings; `wanted` is the number at its end, if its settings have another number than before. `settled` is
    what a roll that fails goes back to: policy and target.
    """

    settled: tuple[Policy, int]
    configured: int
    asked: int
    wanted: int | None = None


@dataclass(slots=True, eq=False)
class Index:
    """The results of `settle`, by slot. `dirty` are slots to be judged again, `changed` the workers that have changed
    since they were last asked for."""

    members: dict[int, dict[int, WorkerHandle]] = field(default_factory=dict)
    """The active workers of each slot that has any."""
    ready: dict[int, WorkerHandle] = field(default_factory=dict)
    """Those that serve."""
    changed: dict[int, WorkerHandle] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)
    vacant: set[int] = field(default_factory=set)
    """Slots within the target without an active worker."""
    unready: set[int] = field(default_factory=set)
    """Slots within the target without a serving worker."""
    behind: set[int] = field(default_factory=set)
    """Slots within the target that no worker of the wanted generation serves, and all slots with an older one."""
    replaceable: set[int] = field(default_factory=set)
    """Slots within the target where an older worker serves (or hangs)."""
    surging: set[int] = field(default_factory=set)
    """Slots in which a worker starts beside one that serves."""
    spent: dict[int, WorkerHandle] = field(default_factory=dict)
    """Serving workers that are to be recycled, by slot within the target; no worker starts beside them."""
    renewed: set[int] = field(default_factory=set)
    """The same where another worker starts in the slot."""
    superfluous: dict[int, list[WorkerHandle]] = field(default_factory=dict)
    """Workers that are to leave, by slot."""


@dataclass(slots=True, eq=False)
class Fleet:
    """`served`: the slots that have ever served. `begun` and `in_flight` count requests, as heartbeats said when they
    were last read: `begun` since the start, those of workers that are gone among them."""

    policy: Policy
    target: int
    roll: RollTarget
    workers: dict[int, WorkerHandle] = field(default_factory=dict)
    slots: dict[int, SlotRecord] = field(default_factory=dict)
    epoch: Epoch = field(default_factory=Epoch)
    budget: Budget = field(default_factory=Budget)
    served: set[int] = field(default_factory=set)
    last_serial: int = 0
    in_flight: int = 0
    begun: int = 0
    index: Index = field(default_factory=Index, init=False, metadata=DERIVED)

    def __post_init__(self) -> None:
        for w in self.workers.values():
            self._enter(w)
        self.resurvey()

    @classmethod
    def of(cls, policy: Policy, target: int) -> Fleet:
        """An empty fleet."""
        return cls(policy, target, RollTarget((policy, target), target, target))

    # -- one worker ------------------------------------------------------------------------------------------

    def add(self, slot: int, now: float) -> WorkerHandle:
        """Add a worker that is to be started."""
        self.last_serial += 1
        w = WorkerHandle(
            serial=self.last_serial,
            slot=slot,
            generation=self.epoch.generation,
            started_at=now,
            deadline=self.policy.boot_deadline(now),
            slow_at=self.policy.look_at(now),
        )
        self.workers[w.serial] = w
        self._enter(w)
        self.touch(w)
        return w

    def move(self, w: WorkerHandle, after: State | None) -> None:
        """Another state; None: it is gone."""
        if after is w.state:
            return
        self._leave(w)
        if after is None:
            del self.workers[w.serial]
            self.in_flight -= w.in_flight
        else:
            w.move(after)
            self._enter(w)
        self.touch(w)

    def note(self, w: WorkerHandle, report: Report) -> None:
        """Record a report about a worker, and update the sums."""
        in_flight, begun = w.in_flight, w.requests
        w.note(report)
        self.in_flight += w.in_flight - in_flight
        self.begun += w.requests - begun

    def touch(self, w: WorkerHandle) -> None:
        """A worker has changed: its slot is to be judged again."""
        self.index.dirty.add(w.slot)
        self.index.changed[w.serial] = w

    def _enter(self, w: WorkerHandle) -> None:
        if w.active:
            self.index.members.setdefault(w.slot, {})[w.serial] = w
        if w.state is State.READY:
            self.index.ready[w.serial] = w

    def _leave(self, w: WorkerHandle) -> None:
        self.index.ready.pop(w.serial, None)
        members = self.index.members.get(w.slot, {})
        members.pop(w.serial, None)
        if not members:
            self.index.members.pop(w.slot, None)

    # -- all of them -----------------------------------------------------------------------------------------

    def active(self) -> list[WorkerHandle]:
        return [w for w in self.workers.values() if w.active]

    def ready(self) -> Iterable[WorkerHandle]:
        return self.index.ready.values()

    @property
    def ready_count(self) -> int:
        return len(self.index.ready)

    def slot(self, number: int) -> SlotRecord:
        return self.slots.setdefault(number, SlotRecord())

    def members(self, number: int) -> Iterable[WorkerHandle]:
        """The active workers of a slot."""
        return self.index.members.get(number, {}).values()

    def take_changed(self) -> list[WorkerHandle]:
        """The workers that have changed since the last call and still exist."""
        changed, self.index.changed = self.index.changed, {}
        return [w for w in changed.values() if w.serial in self.workers]

    def have_served(self) -> bool:
        """Whether each place has served."""
        return self.served.issuperset(range(self.target))

    def wake_at(self) -> float:
        """The next moment at which a worker has to be looked at; infinity if there is none."""
        return min([w.wake_at for w in self.workers.values()], default=math.inf)

    # -- how many, and of which generation -------------------------------------------------------------------

    def begin_roll(self, policy: Policy | None, target: int | None, now: float) -> None:
        """Replace all workers. The fleet shrinks only once the new workers serve."""
        roll = self.roll
        if not self.epoch.rolling:
            roll.settled = (self.policy, self.target)
        self.epoch.begin(now)
        self.policy = policy or self.policy
        roll.asked = target if target is not None else roll.configured
        roll.wanted = roll.asked if roll.asked != roll.configured else None
        self.target = max(roll.settled[1], roll.wanted or 0)
        for record in self.slots.values():
            record.not_before = now  # the reason for the slot's wait may be gone
        self.resurvey()

    def give_up_roll(self) -> None:
        """Make the generation that serves the wanted one."""
        self.epoch.give_up(self.workers.values())
        self.policy, self.target = self.roll.settled
        self.roll.wanted = None
        self.resurvey()

    def complete_roll(self) -> bool:
        """Whether another number of workers is wanted from now on."""
        changed = self.roll.wanted is not None
        self.epoch.complete()
        if self.roll.wanted is not None:
            self.roll.configured, self.target = self.roll.asked, self.roll.wanted
            self.roll.wanted = None
        self.resurvey()
        return changed

    def change_number(self, by: int) -> tuple[int, int]:
        """More or fewer workers, one at least. During a roll it counts for either end: what the roll's settings want,
        and what a failure goes back to. Both are returned."""
        policy, number = self.roll.settled if self.epoch.rolling else (self.policy, self.target)
        number = max(1, number + by)
        self.roll.settled = (policy, number)
        if self.roll.wanted is not None:
            self.roll.wanted = max(1, self.roll.wanted + by)
        self.target = max(number, self.roll.wanted or 0)
        self.resurvey()
        return self.roll.wanted or number, number

    # -- the slots -------------------------------------------------------------------------------------------

    def resurvey(self) -> None:
        """The epoch or the target has changed: every slot is to be judged again."""
        index = self.index
        for found in (index.vacant, index.unready, index.behind, index.replaceable, index.surging, index.renewed):
            found.clear()
        index.spent.clear()
        index.superfluous.clear()
        index.dirty = {*range(self.target), *index.members}
        for number in index.dirty:
            self.slot(number)

    def settle(self) -> Index:
        """The index, up to date."""
        index = self.index
        while index.dirty:
            self._judge(index.dirty.pop())
        return index

    def _judge(self, number: int) -> None:
        index, floor, within = self.index, self.epoch.floor, number < self.target
        members = index.members.get(number, {}).values()
        keeper = newest_ready(members)
        booting = any(w.state is State.BOOTING for w in members)
        occupied = any(w.state is not State.BOOTING for w in members)
        older = any(w.generation < floor for w in members)
        served = keeper is not None and keeper.generation >= floor
        spent = keeper if keeper is not None and keeper.marked and within else None
        for found, holds in (
            (index.vacant, within and not members),
            (index.unready, within and keeper is None),
            (index.behind, older or (within and not served)),
            (index.replaceable, within and older and occupied),
            (index.surging, booting and occupied),
            (index.renewed, spent is not None and booting),
        ):
            if holds:
                found.add(number)
            else:
                found.discard(number)
        index.spent.pop(number, None)
        if spent is not None and not booting:
            index.spent[number] = spent
        index.superfluous.pop(number, None)
        leaving = self.epoch.superfluous(members, keeper) if within else list(members)
        if leaving:
            index.superfluous[number] = leaving

    def superfluous(self) -> list[WorkerHandle]:
        """The workers that are to leave: those above the target, and surplus ones in each slot."""
        found = self.settle().superfluous
        return sorted([w for leaving in found.values() for w in leaving], key=_SERIAL)

    def to_fill(self, now: float) -> list[int]:
        """The slots that need a worker and whose wait is over."""
        return sorted([number for number in self.settle().vacant if self.slots[number].not_before <= now])

    def fill_at(self) -> float:
        """When the next wait of such a slot is over; infinity if there is none."""
        return min([self.slots[number].not_before for number in self.settle().vacant], default=math.inf)

    def next_to_recycle(self, now: float) -> WorkerHandle | None:
        """The next worker to be recycled: the oldest that has reached a limit and whose slot does not wait."""
        found = [w for number, w in self._recyclable().items() if self.slots[number].not_before <= now]
        return min(found, key=_SERIAL, default=None)

    def recycle_at(self) -> float:
        """When the next wait of a slot that is to be recycled is over; infinity if there is none."""
        return min([self.slots[number].not_before for number in self._recyclable()], default=math.inf)

    def _recyclable(self) -> Mapping[int, WorkerHandle]:
        """The workers that may be recycled now: none during a roll, which replaces all, and only a few at a time."""
        index = self.settle()
        full = self.epoch.rolling or len(index.renewed) >= recycled_at_once(self.target)
        return {} if full else index.spent

    def next_to_roll(self) -> int | None:
        """Where to start the next new worker of a roll: one at a time, so none while one starts beside another."""
        index = self.settle()
        return None if index.surging else min(index.replaceable, default=None)

    def rolled(self) -> bool:
        """Whether every slot is served by the wanted generation and no older worker is left in any of them."""
        return not self.settle().behind


_SERIAL = attrgetter("serial")
