"""When the service manager hears that the service is alive: its watchdog, answered by a judgement, not by a timer.

Owns: `Watchdog`. At half the interval that the manager gave, the loops of the workers are looked at, and the answer is
given when at least half of them tick. What counts as a loop, and as ticking:

- A worker that serves, or is suspected of a hang, is a loop. It ticks when its last beat is younger than half the
  interval: a loop that stood still from one look to the next does not serve. Below a second nobody is judged: a worker
  beats ten times a second, and an application may block for some hundred milliseconds.
- One that is starting counts for the service while it beats and never against it: an import has no loop, a start may
  block, and how long one may take is another limit's matter.
- One that is leaving or was killed is no loop. So a drain, a reload and a fleet that waits for its next try are alive
  as long as the master is: there is nothing that a restart would mend sooner.

A master that was held up itself looks at beats which are older than they should be through no fault of the workers:
they are given the time that it was late.

Must not: read a clock, or touch a worker. Fails by: nothing. A wrong judgement costs a restart, which the manager makes
only when a whole interval passed without an answer: two looks in a row.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from uvicorn.supervisor.handle import WorkerHandle
from uvicorn.supervisor.table import State

LEAST_SECONDS = 1.0
"""No loop is taken for dead sooner than this."""


class Look(NamedTuple):
    """How many loops tick, of how many."""

    ticking: int
    loops: int

    @property
    def alive(self) -> bool:
        return 2 * self.ticking >= self.loops


@dataclass(slots=True)
class Watchdog:
    """`seconds` is the manager's interval; with 0 there is no watchdog, and nothing is ever due."""

    seconds: float
    due: float | None = None

    def start(self, now: float) -> None:
        if self.seconds > 0:
            self.due = now + self.seconds / 2

    def look(self, now: float, workers: Collection[WorkerHandle]) -> Look | None:
        """The judgement, if one is due; all beats were read just before."""
        if self.due is None or now < self.due:
            return None
        pace = self.seconds / 2
        limit = max(pace, LEAST_SECONDS) + now - self.due
        self.due = now + pace
        ticking = loops = 0
        for w in workers:
            fresh = w.beat > 0.0 and now - w.beat < limit
            if w.state in (State.READY, State.HUNG) or (fresh and w.state is State.BOOTING):
                loops += 1
                ticking += fresh
        return Look(ticking, loops)
