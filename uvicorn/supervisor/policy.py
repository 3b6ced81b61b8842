"""How long, how often, how many: the numbers of supervision and the arithmetic on them.

Owns: `Policy` (what the settings say), constants without an option, backoff per slot, and the restart
budget. Must not: read a clock, know a worker's state, or decide what happens next. Fails by: nothing; every function
is total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

DUMP_SECONDS = 0.5
"""How long a suspect has to write its stack, or to beat again, before it is killed."""
KILL_GRACE = 2.0
"""Between the drain deadline, which the worker keeps itself, and the master's SIGKILL."""
NOW_SECONDS = 1.0
"""What "stop now" leaves a worker before SIGKILL."""
RELEASE_SECONDS = 1.0
"""What a full stop waits for workers that hold a listener and do not accept, while the others go on serving."""
GIVE_UP_SECONDS = 0.5
"""What booting siblings get once it is clear that the application cannot start, and what a worker gets to
leave after it said that it failed."""
STAY_SECONDS = 1.0
"""A worker that dies sooner than this after READY counts as one that could not start."""
CLEAN_EXIT_PAUSE = 0.5
"""A TERM sent to the whole process group reaches the workers as well: wait for ours before replacing them."""
SLOW_BOOT_SECONDS = 60.0
"""A boot longer than this has its stack logged, once. It is not killed for it."""
MEASURE_SECONDS = 10.0
"""Between two looks at the workers' memory, when it is limited."""
RECYCLE_SHARE = 10
"""One worker in this many is recycled at a time, at least one."""
LIFETIME_JITTER = 0.1
"""Part of the lifetime by which that of each worker is longer, at most."""
STATUS_SECONDS = 1.0
"""Between two STATUS lines that differ in nothing but the number of requests."""
LATE_SECONDS = 1.0
"""A master that wakes this much after the deadline it asked for was itself not scheduled."""
BACKOFF_FIRST, BACKOFF_FACTOR, BACKOFF_MOST = 0.1, 1.5, 30.0
BUDGET_PER_SLOT = 10
"""Failed starts per slot, while no worker serves, after which the master gives up."""


class Policy(NamedTuple):
    """What the settings say: seconds, and bytes of a worker for `memory`. 0 switches a limit off, and means "at once"
    for `drain`.

    `delay` is how long a stop goes on accepting. `watchdog`: the interval in which the service manager wants to hear
    that we are alive. `fixed_code`: the application is an object that was handed over, so a reload brings no new code.
    """

    drain: float = 25.0
    hang: float = 30.0
    boot: float = 0.0
    delay: float = 0.0
    lifetime: float = 0.0
    memory: int = 0
    watchdog: float = 0.0
    fixed_code: bool = False

    def hang_deadline(self, beat: float) -> float | None:
        return beat + self.hang if self.hang else None

    def boot_deadline(self, start: float) -> float | None:
        return start + self.boot if self.boot else None

    def look_at(self, start: float) -> float:
        """When a boot is so slow that its stack is logged: in time to have it before a kill."""
        return start + (min(SLOW_BOOT_SECONDS, max(0.0, self.boot - DUMP_SECONDS)) if self.boot else SLOW_BOOT_SECONDS)

    def retire_at(self, ready: float, serial: int) -> float | None:
        """When the lifetime of a worker is over. Multiples of the golden ratio spread evenly, and are no chance."""
        if not self.lifetime:
            return None
        return ready + self.lifetime * (1 + LIFETIME_JITTER * (serial * 0.6180339887498949 % 1))


def recycled_at_once(target: int) -> int:
    """How many workers of a fleet may be on their way out for recycling at a time."""
    return max(1, target // RECYCLE_SHARE)


def backoff(failures: int) -> float:
    """Seconds to wait after the n-th failed start in a row of one slot (n ≥ 1)."""
    exponent = min(failures - 1, 40)  # 1.5^40 is far above the cap; a float power must not overflow
    return min(BACKOFF_FIRST * BACKOFF_FACTOR**exponent, BACKOFF_MOST)


@dataclass(slots=True)
class SlotRecord:
    """What a slot remembers across its workers: failed starts in a row, and when it may be filled again."""

    failures: int = 0
    not_before: float = 0.0

    def failed(self, now: float, least: float = 0.0) -> float:
        """Note one more failed start. The wait, in seconds."""
        self.failures += 1
        wait = max(backoff(self.failures), least)
        self.not_before = now + wait
        return wait

    def lost(self, now: float, pause: float) -> None:
        """A worker that had stayed is gone: the row of failures is over."""
        self.failures = 0
        self.not_before = now + pause


@dataclass(slots=True)
class Budget:
    """Restart intensity, judged only while no worker serves.

    Failures beside a serving sibling cost nothing (that fleet is degraded, not lost), and they are not kept
    for later: a slot that failed for a day must not turn its siblings' first crash into the end of the
    service.
    """

    spent: int = 0

    def charge(self, target: int, serving: bool) -> bool:
        """Note a failed start. True when that was one too many."""
        self.spent = 0 if serving else self.spent + 1
        return self.spent >= BUDGET_PER_SLOT * target
