"""A function of ours in a fresh interpreter, as a child whose signals and exit status are passed on.

A reload imports the application anew in a fork of the master. What the caller of `run()` has imported already would be
stale in every fork, so the master of a program starts in an interpreter that has imported nothing.

Owns: the child's command line, `sys.path` and arguments (pickled through a pipe), the signals passed on while it runs,
and `lifeline`: in the child, a descriptor with EOF once the caller is gone. INT is passed on as TERM: from a terminal
the child has got its own INT already, and two of one kind would mean "now". Must not: know what it calls.
Fails by: `NotPortable` when the arguments mean something in this process only; nothing has been started then.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, BinaryIO, NoReturn

from uvicorn.importer import import_from_string

lifeline: int | None = None
"""In a child: readable, with EOF, once the process that started it is gone."""

_ENTER = (
    "import json, os, sys; file = os.fdopen({fd}, 'rb'); sys.path[:], size = json.loads(file.readline());"
    " from uvicorn.interpreter import enter; enter(file, size)"
)
_PASSED_ON = {"SIGINT": "SIGTERM", "SIGTERM": "SIGTERM", "SIGQUIT": "SIGQUIT", "SIGHUP": "SIGHUP", "SIGUSR1": "SIGUSR1"}


class NotPortable(Exception):
    """The arguments cannot be had in another interpreter."""


def call(target: str, arguments: dict[str, Any], descriptors: Sequence[int] = ()) -> int:
    """`module:function`(**arguments) in a fresh interpreter: the exit status, 128 + n when a signal n ended it.

    `descriptors` keep their numbers there.
    """
    payload = _portable((target, arguments))
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, *_flags(), "-c", _ENTER.format(fd=reader)], pass_fds=(reader, *descriptors)
        )
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    try:
        status = _wait(process, writer, json.dumps([sys.path, len(payload)]).encode() + b"\n" + payload)
    finally:
        os.close(writer)
    return status if status >= 0 else 128 - status


def _portable(what: object) -> bytes:
    try:
        payload = pickle.dumps(what)
    except (pickle.PicklingError, AttributeError, TypeError) as exc:
        raise NotPortable(str(exc)) from exc
    if b"__main__" in payload:  # pickled by name, and that name is another module there
        raise NotPortable("something in it belongs to the program's main module")
    return payload


def _flags() -> list[str]:
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing
    return flags


def _wait(process: subprocess.Popen[bytes], writer: int, data: bytes) -> int:
    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(getattr(signal, _PASSED_ON[signal.Signals(number).name]))

    before: dict[int, Callable[..., Any] | int | None] = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.signal(n, pass_on) for n in (getattr(signal, name) for name in _PASSED_ON)}
    try:
        with os.fdopen(os.dup(writer), "wb") as file:
            file.write(data)
        return process.wait()
    except BrokenPipeError:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def enter(file: BinaryIO, size: int) -> NoReturn:
    """In the child: take what the caller wrote, call it, leave with its result. The pipe stays open: the lifeline."""
    global lifeline
    target, arguments = pickle.loads(file.read(size))
    lifeline = os.dup(file.fileno())
    file.close()
    sys.exit(import_from_string(target)(**arguments))
