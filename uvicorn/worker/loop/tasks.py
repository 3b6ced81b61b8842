"""How a call of the application becomes a task: started at once where possible, and in a context of its own.

Where the interpreter has eager tasks (CPython since 3.12) and the loop has no task factory, the task runs before
`begin` returns, up to its first wait; most tasks have ended then. Each gets a copy of the server's context, from
whatever callback it is started.

SystemExit and KeyboardInterrupt would stop the loop, and with it every request: an application that raises one has
failed, as with any other exception. A real Ctrl-C, in a program that has kept Python's handler, is raised in whatever
code runs, which may be the application: that one is for the program.

Owns: how the task is made, and what these two exceptions mean. Must not: keep the task (the caller does).
"""

from __future__ import annotations

import asyncio
import dis
import functools
import signal
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, NoReturn

from uvicorn.worker.loop.forks import end_child

EAGER = hasattr(asyncio, "eager_task_factory")
"""Whether the interpreter has eager tasks."""

_TAKES_CONTEXT = sys.version_info >= (3, 11)
_RAISE = dis.opmap["RAISE_VARARGS"]
_Task: Callable[..., asyncio.Task[Any]] = asyncio.Task  # type checkers for Python 3.11 do not know `eager_start`


class ApplicationExit(Exception):
    """The application raised SystemExit or KeyboardInterrupt, which is the cause."""


def begin(
    app: Any, scope: Any, receive: Any, send: Any, loop: asyncio.AbstractEventLoop, context: Context
) -> asyncio.Task[Any]:
    """Call the application in a copy of `context`, as a task. Raises nothing; the task has the exception."""
    called = _call(app, scope, receive, send)
    if EAGER and loop.get_task_factory() is None:
        return _Task(called, loop=loop, context=context.copy(), eager_start=True)
    if _TAKES_CONTEXT and loop.get_task_factory() is None:
        return _Task(called, loop=loop, context=context.copy())
    return context.copy().run(loop.create_task, called)


async def _call(app: Any, scope: Any, receive: Any, send: Any) -> Any:
    try:
        return await app(scope, receive, send)
    except (SystemExit, KeyboardInterrupt) as exc:
        end_child(exc)
        if from_signal(exc):
            asyncio.get_running_loop().call_soon(_raise, exc)  # not here: a loop may attribute it to a protocol
        raise ApplicationExit from exc


def request_of(task: asyncio.Task[Any]) -> str:
    """The request of a task that `begin` has made, as log lines name it; "" for any other task. It is read from the
    task's frame, so it costs nothing until somebody asks."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    if frame is None or frame.f_code is not _call.__code__:
        return ""
    stream: Any = getattr(frame.f_locals["receive"], "__self__", None)
    return stream.named() if hasattr(stream, "named") else ""


def raised(exc: BaseException) -> BaseException:
    """The application's exception, given that of its task."""
    return exc.__cause__ if type(exc) is ApplicationExit and exc.__cause__ is not None else exc


def _raise(exc: BaseException) -> NoReturn:
    raise exc


def from_signal(exc: BaseException | None) -> bool:
    """Whether it is a KeyboardInterrupt that the program's handler of SIGINT has raised, and not the application's
    code.

    A handler of the program has a frame in the traceback. Python's own has none: then the innermost frame was
    interrupted at an instruction that is not a `raise`.
    """
    if not isinstance(exc, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        return False
    handler: Any = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        return False
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    at = exc.__traceback__
    while at is not None:
        frame = at.tb_frame
        if frame.f_code is code:
            return True
        if at.tb_next is None and handler is signal.default_int_handler:
            return frame.f_code.co_code[at.tb_lasti] != _RAISE
        at = at.tb_next
    return handler is signal.default_int_handler
