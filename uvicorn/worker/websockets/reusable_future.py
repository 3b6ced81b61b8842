"""What a `receive` that must wait waits on: a future that is made once per session and resumes its task at once.

A future of asyncio's would resume the task in the next turn of the loop, at the cost of an object, a handle and a turn
for every message. This one speaks the protocol by which asyncio knows future-like objects (`asyncio.isfuture`): the
task adds its step as a callback and asks for the result when it is called.

States: free → waiting → resuming → free. Resuming: woken or cancelled, but the task has not run yet, and still holds
this as what it waits for. Nobody else may wait on it until it is free again: a second cancellation of the task would
reach the other task, and the other task would get the first one's cancellation as its result.

Owns: one waiting task. Must not: resume a task from inside a task (one cannot run in another): `wake` leaves that to
the loop. Fails by: nothing.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task, get_running_loop
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class ReusableFuture:
    """Awaited by one task at a time. `taken`: it is not free; `waiting`: its task was not woken yet."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_callback",
        "_cancelled",
        "_context",
        "_following",
        "_loop",
        "taken",
        "waiting",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._cancelled: tuple[Any, ...] | None = None
        self._asyncio_future_blocking = False
        self._following: ReusableFuture | None = None
        self.taken = self.waiting = False

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def following(self) -> ReusableFuture:
        """The one for another task that waits for the same thing. It is woken after this one."""
        if self._following is None:
            self._following = ReusableFuture(self._loop)
        return self._following

    def wake(self) -> None:
        """Resume the task that waits: at once, or in the next turn of the loop if this is called from a task."""
        if self._following is not None:
            self._loop.call_soon(self._following.wake)
        if not self.waiting:
            return
        self.waiting = False
        # No local variables: this frame is below the task's, and an exception that ends the task would keep both alive.
        assert self._callback is not None and self._context is not None
        if current_task(self._loop) is None:
            self._context.run(self._callback, self)
        else:
            self._loop.call_soon(self._callback, self, context=self._context)

    def forget_task(self) -> None:
        """Drop the reference to the task that waited last, and with it to whatever the task had open."""
        if not self.waiting:
            self._callback = self._context = None
        if self._following is not None:
            self._following.forget_task()

    # -- what a task calls ------------------------------------------------------------------------------------

    get_loop = staticmethod(get_running_loop)  # in C; the task that asks runs in that loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context) -> None:
        self.taken = self.waiting = True
        self._callback = callback
        self._context = context

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        self.taken = self.waiting = False
        return 1

    def done(self) -> bool:
        return not self.waiting

    def result(self) -> None:
        self.taken = False
        if self._cancelled is not None:
            cancelled, self._cancelled = self._cancelled, None
            raise asyncio.CancelledError(*cancelled)

    def cancel(self, msg: Any = None) -> bool:
        """The task that waits is cancelled. It runs in the next turn of the loop: the caller may be a task itself."""
        if not self.waiting:
            return False
        self.waiting = False
        self._cancelled = () if msg is None else (msg,)
        assert self._callback is not None
        self._loop.call_soon(self._callback, self, context=self._context)
        return True
