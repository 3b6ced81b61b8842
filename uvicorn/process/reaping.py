"""Which children of this process have ended, and how.

Two ways, because a wait for any child would take the exit status of a child that another part of the program has
started (`subprocess`, `multiprocessing`): PID 1 reaps whatever ends (`reap_all`), any other process only the pids that
it names (`reap`). Where the system can say which child has ended without reaping it (waitid, WNOWAIT), the cost is
that of the children that have ended; elsewhere each pid is asked for.

Owns: nothing. Must not: block. Fails by: nothing; a child that somebody else has reaped counts as one that left with
status 0, since how it ended is lost.
"""

from __future__ import annotations

import os
from collections.abc import Collection


def reap_all() -> dict[int, int]:
    """{pid: wait status} of every child that has ended."""
    exits: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return exits
        if not pid:
            return exits
        exits[pid] = status


def reap(pids: Collection[int]) -> dict[int, int]:
    """{pid: wait status} of these children, as far as they have ended."""
    exits: dict[int, int] = {}
    while (pid := _ended()) is not None:
        if pid not in pids or pid in exits:  # somebody else's, which would be named again and again
            return exits | {one: status for one in pids if one not in exits and (status := reap_one(one)) is not None}
        exits[pid] = reap_one(pid) or 0
    return exits


def reap_one(pid: int) -> int | None:
    """The wait status of this child; None while it lives."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return status if found else None


def _ended() -> int | None:
    """The pid of a child that has ended and is not reaped; None without one; 0 where the system does not say, or there
    is no child at all."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (AttributeError, ChildProcessError):
        return 0
    return None if found is None else found.si_pid
