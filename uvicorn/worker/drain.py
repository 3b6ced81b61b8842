"""When what happens during a drain. Pure: no loop, no socket, no clock.

    start ─────────────── idle_until ─────────── disconnect_at ── end ───────── deadline
    answers say close     idle connections       streams hear     rest is       lifespan's
                          are closed             the disconnect   aborted       shutdown is over

Until `refuse_at` a full stop accepts what waits in the kernel's queue; clients that come back at once can keep it
from ever being empty. Of the whole time, `RESERVE` seconds are kept for the lifespan's shutdown, and streams hear
`http.disconnect` only `NOTICE` seconds before the end, because an early one would cut downloads. A short time is shared
out in proportion. A `CUT` shares nothing out: streams hear the disconnect at once and are ended after `MOMENT` seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from uvicorn.process.channel import Drain, DrainMode

RESERVE = 5.0
NOTICE = 2.0
IDLE_GRACE = 1.0
"""Seconds that a full stop leaves idle connections open: a request may be on its way already."""
MOMENT = 0.25
"""What a development reload leaves requests in flight: somebody is waiting to see the change."""


class Timetable(NamedTuple):
    """Instants in seconds of the monotonic clock."""

    refuse_at: float
    idle_until: float
    disconnect_at: float
    end: float
    deadline: float


def timetable(order: Drain, start: float) -> Timetable:
    """Share out the time from `start` to the order's deadline."""
    total = max(0.0, order.deadline - start)
    if order.mode is DrainMode.CUT:
        return Timetable(start, start, start, start + min(MOMENT, total), order.deadline)
    end = order.deadline - min(RESERVE, total / 5)
    end = max(start, end)
    disconnect_at = end - min(NOTICE, (end - start) / 4)
    if order.mode is DrainMode.INTERRUPT:
        idle_until = start
    elif order.mode is DrainMode.STOP:
        idle_until = min(start + IDLE_GRACE, disconnect_at)
    else:
        idle_until = disconnect_at
    return Timetable(start + (end - start) / 4, idle_until, disconnect_at, end, order.deadline)
