"""How an application's coroutine becomes a task: at once where that is possible.

Where the interpreter has such tasks (CPython from 3.12 on) and the loop no task factory of somebody else's, the task
runs before this returns, up to where it must wait; most are done then. Must not: keep the task (the caller does), or
catch what calling the application raises.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable
from typing import Any

EAGER = hasattr(asyncio, "eager_task_factory")
"""Whether a task can be told to start at once: the interpreter is asked, not its version."""

_Coroutine = types.CoroutineType
_Task: Callable[..., asyncio.Task[Any]] = asyncio.Task  # a type checker for 3.11 does not know `eager_start`


def begin(awaitable: Any, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
    if type(awaitable) is not _Coroutine:
        awaitable = _awaited(awaitable)
    if EAGER and loop.get_task_factory() is None:
        return _Task(awaitable, loop=loop, eager_start=True)
    return loop.create_task(awaitable)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
