"""The one timer of a worker.

Everything periodic hangs on it: the coarse clock, the date header, the sweep of idle and slow connections, the
heartbeat for the master. Periodic work is registered by `every`. The timer runs from
before the application's startup until after its shutdown, so that a worker that starts or drains slowly still beats.

Owns: one chain of `call_later`, and the list of duties. Must not: know what a duty does. Fails by: a duty that raises
is reported to the loop's exception handler; the other duties, and the next ticks, are not affected.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.surface.later import Later

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Later("asyncio", globals())

INTERVAL = 0.1
"""Seconds between two ticks."""
EACH_TICK = 0.0
"""The interval of a duty that is called at every tick."""
NEVER = 1e9
"""The interval of a duty that is done."""
LATE = 2.0
"""Seconds between two ticks after which the loop counts as having been blocked."""


class Duty:
    """A function that is called every `seconds`, with the time of the tick. `seconds` may be changed at any time."""

    __slots__ = ("call", "seconds")

    def __init__(self, seconds: float, call: Callable[[float], object]) -> None:
        self.seconds = seconds
        self.call = call


class Pulse:
    """Ticks every INTERVAL seconds and calls the duties that are due; `beat()` waits for the next tick.

    `now` is the time of the last tick, in seconds of `time.monotonic()`; 0.0 before the first.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._duties: list[Duty] = []
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None

    def every(self, seconds: float, call: Callable[[float], object]) -> Duty:
        """Call `call(now)` every `seconds`, rounded to ticks. Duties of one tick are called in the order in which they
        were registered.
        """
        duty = Duty(seconds, call)
        self._duties.append(duty)
        return duty

    def start(self) -> None:
        """Tick once now, then from the running loop's timer. Does nothing if it runs already."""
        if self._handle is None:
            self._tick(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self.wake()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.call_later(INTERVAL, self._tick, loop)
        self.wake()
        self.tick()

    def tick(self) -> None:
        """Call the duties that are due now.

        After the loop was blocked all intervals start anew: nobody is judged slow before the loop has read what
        arrived in the meantime.
        """
        now = time.monotonic()
        if now - self.now > LATE:
            self._count = 0
        self.now = now
        self._count += 1
        for duty in self._duties:
            if self._count % max(1, round(duty.seconds / INTERVAL)) == 0:
                try:
                    duty.call(now)
                except Exception as exc:
                    context = {"message": f"Exception in {duty.call!r}, called by the timer", "exception": exc}
                    asyncio.get_running_loop().call_exception_handler(context)

    def wake(self) -> None:
        """Wake the waiting `beat` up now."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def beat(self) -> None:
        """Wait for the next tick, or for `wake`."""
        if self._handle is None:  # a program that calls `shutdown` beside its main loop: nobody would wake that
            await asyncio.sleep(INTERVAL)
            return
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiter)
