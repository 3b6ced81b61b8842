"""Event loops: which one `--loop` means, and how a coroutine is run in a new one.

The functions for `--loop` return a factory of loops. Their parameter `use_subprocess` exists because programs pass it;
it has no effect. Fails by: `StartupError` if a loop was chosen by name and is not installed.
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
"""The default of the seconds in which cancelled tasks must end."""
STEP = 0.1
"""Seconds between two looks at the limit, which may change."""
LoopFactory = Callable[[], "asyncio.AbstractEventLoop"]


def auto_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    """uvloop if it is installed, else asyncio's loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio_loop_factory()
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def asyncio_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    return asyncio.new_event_loop


def is_uvloop(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is uvloop's; its transports and servers behave differently from asyncio's."""
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
    """Raises RuntimeError inside a running loop, unless nest_asyncio makes it possible to run another one."""
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
    """Run `main` in a new loop, then cancel the tasks that are left, end asynchronous generators and close the loop.

    `limit()` is the time until which both may take, in seconds of the monotonic clock; it is asked repeatedly. Without
    it tasks have TASKS_SECONDS, and generators have no limit.

    This is not `asyncio.run`, because the server handles signals, and because a thread that the application has left in
    the default executor must not keep the process alive (asyncio would wait for it without a limit).
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
    """Run until `main` is done. A loop stops when a task or a callback raises SystemExit or KeyboardInterrupt; if the
    application's did, the loop is run again.

    A task keeps its exception until it is awaited, or asyncio logs it; that of a callback is logged here.
    """
    from uvicorn.worker.loop.tasks import from_signal  # it imports asyncio, which a master must not

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
    """Whether a coroutine has raised it, as its traceback shows."""
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
    """`asyncio.run` with the parameters of Python 3.12, for programs that import it from here."""
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
    """The tasks that were not done in time; they were cancelled."""
    while tasks and time.monotonic() < limit():
        _, tasks = await asyncio.wait(tasks, timeout=STEP)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=STEP)
    return tasks


def _name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())
