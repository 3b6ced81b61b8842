"""When what happens during a drain. Pure: no loop, no socket, no clock.

    start ─────────────── idle_until ─────────── disconnect_at ── end ───────── deadline
    responses say close   idle connections       streams get      the rest is   the lifespan's
                          are closed             the disconnect   aborted       shutdown has ended

Until `refuse_at` a full stop accepts the connections in the kernel's queue; clients that reconnect at once could keep
it from ever being empty. `RESERVE` seconds of the whole time are kept for the application's shutdown, and streams get
`http.disconnect` only `NOTICE` seconds before the end, because an earlier one would cut off downloads. A short time is
divided in proportion. With `CUT`, streams get the disconnect at once and are ended after `MOMENT` seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from uvicorn.process.channel import Drain
from uvicorn.process.drainmode import DrainMode

RESERVE = 5.0
NOTICE = 2.0
IDLE_GRACE = 1.0
"""Seconds for which a full stop leaves idle connections open: a request may be on its way."""
MOMENT = 0.25
"""Seconds that requests in flight have at a development reload: somebody is waiting to see the change."""


class Timetable(NamedTuple):
    """Instants in seconds of the monotonic clock."""

    refuse_at: float
    idle_until: float
    disconnect_at: float
    end: float
    deadline: float


def timetable(order: Drain, start: float) -> Timetable:
    """Divide the time from `start` to the deadline of the order."""
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
