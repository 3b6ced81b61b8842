"""Which event loop: each function returns a factory of loops (or the class itself).

`use_subprocess` is what callers of the contract may pass; it changes nothing, because no loop here watches processes.
Fails by: `StartupError` when a loop was asked for by name and is not installed.
"""

from __future__ import annotations

import importlib
import logging
import math
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from uvicorn.errors import StartupError
from uvicorn.surface.later import Later

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Later("asyncio", globals())

_log = logging.getLogger("uvicorn.error")

T = TypeVar("T")
TASKS_SECONDS = 1.0
STEP = 0.1
"""Seconds between two questions whether there is time left."""
LoopFactory = Callable[[], "asyncio.AbstractEventLoop"]


def auto_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    """uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio_loop_factory()
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def asyncio_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    return asyncio.new_event_loop


def is_uvloop(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is one of uvloop's, whose transports and servers differ from asyncio's."""
    return type(loop).__module__.startswith("uvloop")


def uvloop_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    try:
        import uvloop
    except ImportError:
        raise StartupError("--loop uvloop: the package uvloop is not installed. Run: pip install uvloop") from None
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def zuvloop_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    try:
        zuvloop = importlib.import_module("zuvloop")
    except ImportError:
        raise StartupError(
            "--loop zuvloop: the package zuvloop is not installed. Choose auto, asyncio or uvloop, or install it."
        ) from None
    factory: LoopFactory = zuvloop.new_event_loop
    return factory


def refuse_nested() -> None:
    """Raises RuntimeError in a loop that runs (unless nest_asyncio is there, which makes it possible)."""
    running = "asyncio" in sys.modules and asyncio._get_running_loop() is not None
    if running and not hasattr(asyncio, "_nest_patched"):
        raise RuntimeError(
            "An event loop is running here, as in a notebook, so the server cannot start one of its own."
            " Serve in that loop: await uvicorn.Server(uvicorn.Config(app)).serve()"
        )


def run_in_loop(
    main: Coroutine[Any, Any, T],
    factory: LoopFactory | None,
    debug: bool | None = None,
    limit: Callable[[], float] | None = None,
) -> T:
    """Run `main` in a new loop, then cancel what it left, end its asynchronous generators and close the loop.

    `limit` is asked again and again until when these may take, and answers in seconds of the monotonic clock. Without
    it tasks have a second and generators what they need.

    Not `asyncio.run`: signals are the server's business, and a thread that an application left in the default
    executor must not keep the process (asyncio would wait for it without bound).
    """
    loop = factory() if factory is not None else asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return _complete(loop, main)
    finally:
        try:
            loop.run_until_complete(_finish(loop, limit))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _complete(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run until `main` is done. A task or a callback that an application has left to the loop ends neither by
    SystemExit nor by KeyboardInterrupt, although a loop takes them for the end.

    A task keeps what it raised for whoever waits for it, or asyncio tells of it; for a callback it is told here.
    """
    from uvicorn.worker.loop.tasks import from_signal  # with asyncio, which a master does not import

    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as exc:
            if from_signal(exc) or (task.done() and not task.cancelled() and task.exception() is exc):
                raise
            if not _of_a_task(exc):
                _log.error("Exception in a callback of the application\n", exc_info=exc)


def _of_a_task(exc: BaseException) -> bool:
    """Whether a coroutine has raised it: the first frame above those of the loop."""
    import inspect

    at = exc.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_flags & inspect.CO_COROUTINE:
            return True
        at = at.tb_next
    return False


def asyncio_run(
    main: Coroutine[Any, Any, T], *, debug: bool | None = None, loop_factory: LoopFactory | None = None
) -> T:
    """`asyncio.run` of Python 3.12 for older ones too, as far as server processes of others need it."""
    return run_in_loop(main, loop_factory, debug)


async def _finish(loop: asyncio.AbstractEventLoop, limit: Callable[[], float] | None) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    second = time.monotonic() + TASKS_SECONDS
    left = await _wait(left, limit or (lambda: second))
    if left:
        _log.warning("Leaving without waiting for tasks of the application: %s.", ", ".join(map(_name, left)))
    if await _wait({loop.create_task(loop.shutdown_asyncgens())}, limit or (lambda: math.inf)):
        _log.warning("Leaving without waiting for an asynchronous generator of the application.")


async def _wait(tasks: set[asyncio.Task[Any]], limit: Callable[[], float]) -> set[asyncio.Task[Any]]:
    """Those that are not done in time, and were cancelled."""
    while tasks and time.monotonic() < limit():
        _, tasks = await asyncio.wait(tasks, timeout=STEP)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=STEP)
    return tasks


def _name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())
