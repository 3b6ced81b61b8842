"""Which event loop: each function returns a factory of loops (or the class itself).

Fails by: `StartupError` when a loop was asked for by name and is not installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from uvicorn.errors import StartupError

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def auto_loop_factory() -> LoopFactory:
    """uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio_loop_factory()
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def asyncio_loop_factory() -> LoopFactory:
    return asyncio.new_event_loop


def uvloop_loop_factory() -> LoopFactory:
    try:
        import uvloop
    except ImportError:
        raise StartupError(
            "--loop uvloop: the package uvloop is not installed. Run: pip install 'uvicorn[standard]'"
        ) from None
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def run_in_loop(main: Coroutine[Any, Any, None], factory: LoopFactory | None) -> None:
    """Run `main` in a new loop, then cancel what it left and close the loop.

    Not `asyncio.run`: signals are the server's business, and a thread that an application left in the default
    executor must not keep the process (asyncio would wait for it without bound).
    """
    loop = factory() if factory is not None else asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))
