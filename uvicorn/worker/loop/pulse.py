"""The one timer of a worker.

Everything periodic hangs on it: the coarse clock, the date header, the sweep of idle and slow connections, the look at
`should_exit`, the heartbeat that the master watches. It runs from before the lifespan's startup until after its
shutdown, so that a worker which boots or drains for long still beats.

Owns: one `call_later` chain. Must not: know what is done at a tick. Fails by: a tick that raises is logged by the loop,
and the chain goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.surface.later import Later

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Later("asyncio", globals())

INTERVAL = 0.1
"""Seconds between two ticks."""


class Pulse:
    """Calls `on_tick` every INTERVAL seconds; `beat()` waits for the next one."""

    def __init__(self, on_tick: Callable[[], None]) -> None:
        self._on_tick = on_tick
        self._handle: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Tick once now, then from the running loop's timer. Does nothing when it runs already."""
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
        self._on_tick()

    def wake(self) -> None:
        """Let whoever waits in `beat` look now."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def beat(self) -> None:
        """Wait for the next tick, or for `wake`."""
        if self._handle is None:  # a program calls `shutdown` beside its main loop: nobody would wake that
            await asyncio.sleep(INTERVAL)
            return
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiter)
