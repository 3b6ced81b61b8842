"""How a call of the application becomes a task: at once where that is possible, in a context of its own.

Where the interpreter has such tasks (CPython from 3.12 on) and the loop no task factory of somebody else's, the task
runs before this returns, up to where it must wait; most are done then. Each begins in a copy of the server's context,
whoever's callback it is begun from.

SystemExit and KeyboardInterrupt would end the loop that runs the task, with everything in flight: an application that
raises one has failed, as with any other exception. A real Ctrl-C in a program that kept Python's handler lands wherever
code runs, in an application perhaps: it is the program's.

Must not: keep the task (the caller does).
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
"""Whether a task can be told to start at once: the interpreter is asked, not its version."""

_TAKES_CONTEXT = sys.version_info >= (3, 11)
_RAISE = dis.opmap["RAISE_VARARGS"]
_Task: Callable[..., asyncio.Task[Any]] = asyncio.Task  # a type checker for 3.11 does not know `eager_start`


class Left(Exception):
    """The application raised SystemExit or KeyboardInterrupt, which is the cause."""


def begin(
    app: Any, scope: Any, receive: Any, send: Any, loop: asyncio.AbstractEventLoop, context: Context
) -> asyncio.Task[Any]:
    """Call the application in a copy of `context`. Nothing that it raises is raised here."""
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
            asyncio.get_running_loop().call_soon(_raise, exc)  # not from here: a loop may take it for a protocol's
        raise Left from exc


def request_of(task: asyncio.Task[Any]) -> str:
    """The request of a task that `begin` has made, as a line about a fault names it; "" for any other task. Read from
    its frame, where it costs nothing as long as nobody asks."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    if frame is None or frame.f_code is not _call.__code__:
        return ""
    stream: Any = getattr(frame.f_locals["receive"], "__self__", None)
    return stream.named() if hasattr(stream, "named") else ""


def raised(exc: BaseException) -> BaseException:
    """What the application has raised, when its task has raised `exc`."""
    return exc.__cause__ if type(exc) is Left and exc.__cause__ is not None else exc


def _raise(exc: BaseException) -> NoReturn:
    raise exc


def from_signal(exc: BaseException | None) -> bool:
    """Whether it is a KeyboardInterrupt that this program's handler of SIGINT has raised.

    Python's own handler leaves no frame: the innermost one was interrupted, at anything but a `raise`.
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
