"""What a `receive` that must wait waits for.

Owns: one waiting task, resumed in the caller's stack. A future would resume it in the next turn of the loop, at the
cost of an object, a handle and a turn for every message. This one is made once per session and speaks the protocol by
which asyncio knows future-like objects (`asyncio.isfuture`): the task adds its wake-up as a callback and asks for the
result when it is called. Must not: be woken from inside a task (one task cannot run in another): `wake` then leaves
it to the loop.

States: free → waiting → resuming (woken, or cancelled; the task has not run yet, and holds this as what it waits for) →
free. Until it is free again nobody else may wait on it: who cancels the task a second time would cancel the other, and
the other would be told of the first one's end.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task, get_running_loop
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Wakeup:
    """Awaited by one task at a time: `taken` says whether there is one, `waiting` whether it has not been woken yet; it
    has a callback and a context then."""

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
        self._following: Wakeup | None = None
        self.taken = self.waiting = False

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def following(self) -> Wakeup:
        """For one more task that waits for the same: woken after this one."""
        if self._following is None:
            self._following = Wakeup(self._loop)
        return self._following

    def wake(self) -> None:
        """Resume whoever waits: at once, or in the next turn when this is called from a task."""
        if self._following is not None:
            self._loop.call_soon(self._following.wake)
        if not self.waiting:
            return
        self.waiting = False
        # Not by local variables: this frame is below the task's, and an exception that ends the task keeps both.
        assert self._callback is not None and self._context is not None
        if current_task(self._loop) is None:
            self._context.run(self._callback, self)
        else:
            self._loop.call_soon(self._callback, self, context=self._context)

    def let_go(self) -> None:
        """Keep the task that waited last, and what it had open, no longer alive than others do."""
        if not self.waiting:
            self._callback = self._context = None
        if self._following is not None:
            self._following.let_go()

    # -- what a task calls -------------------------------------------------------------------------------------

    get_loop = staticmethod(get_running_loop)  # in C; whoever asks runs in it

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
        """The task that waits is cancelled. It hears of it in the next turn: whoever cancels is a task, perhaps."""
        if not self.waiting:
            return False
        self.waiting = False
        self._cancelled = () if msg is None else (msg,)
        assert self._callback is not None
        self._loop.call_soon(self._callback, self, context=self._context)
        return True
