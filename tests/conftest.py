"""Shared by all tests: each async test runs in its own event loop, and logging is restored after every test."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import socket
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from uvicorn.process import channel
from uvicorn.process.page import FleetPage

if TYPE_CHECKING:
    from servers import LoopFactory

pytest.register_assert_rewrite(*(path.stem for path in (Path(__file__).parent / "shared").glob("*.py")))

pytest_plugins = ["certificates", "checkout", "logged", "programs"]
"""Modules of tests/shared with fixtures; and one that makes what is beside the package importable."""

TIME_LIMIT = 20.0
"""Seconds after which a test that waits for something is ended: a net, no test is meant to come near it."""

_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A `Config` configures logging for the whole process: restore what was there before."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(log, log.level, log.propagate, list(log.handlers), log.disabled) for log in loggers]
    formatters = [(handler, handler.formatter) for log in [*loggers, logging.getLogger()] for handler in log.handlers]
    yield
    for log, level, propagate, handlers, disabled in before:
        log.setLevel(level)
        log.propagate, log.handlers, log.disabled = propagate, handlers, disabled
    for handler, formatter in formatters:
        handler.setFormatter(formatter)


def _run_in(factory: LoopFactory, main: Awaitable[None]) -> None:
    """Run `main` to its end, cancel the tasks it left running, and fail on errors that only the loop has seen."""
    loop = factory()
    unseen: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    try:
        loop.run_until_complete(asyncio.wait_for(main, TIME_LIMIT))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=10))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert not unseen, f"The loop's exception handler was called: {unseen}"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An `async def` test runs in asyncio's loop, or in the one its `loop_factory` fixture makes."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    factory = pyfuncitem.funcargs.get("loop_factory", asyncio.new_event_loop)
    _run_in(cast("LoopFactory", factory), pyfuncitem.obj(**arguments))
    return True


# -- loops -----------------------------------------------------------------------------------------------------

LOOPS: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}

try:
    import uvloop
except ImportError:  # the extra is not installed
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=sorted(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """An async test that asks for this runs once in every loop."""
    name: str = request.param
    return LOOPS[name]


# -- sockets ---------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening loopback socket."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


# -- a master, seen from the worker ----------------------------------------------------------------------------


@pytest.fixture
def master() -> Iterator[channel.Endpoint]:
    """Make this process a worker, and return the master's end of its channel."""
    ours, theirs = channel.pair()
    fleet = FleetPage.create(rows=1)
    counters = fleet.take()
    channel.current = channel.WorkerLink(theirs, counters, slot=0, generation=1)
    yield ours
    channel.current = None
    ours.close()
    theirs.close()
    counters.release()
    fleet.close()


# -- memory --------------------------------------------------------------------------------------------------


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Without the garbage collector: an object is freed with its last reference, or not at all."""
    if sys.implementation.name != "cpython":
        pytest.skip("no references are counted here: whatever is let go of waits for the collector")
    gc.disable()
    yield
    gc.enable()
