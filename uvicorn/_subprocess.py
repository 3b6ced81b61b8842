"""A program's function in a new interpreter: multiprocessing's "spawn" method, with sockets and a terminal.

`target(sockets=…)` is called there, with logging set up as the settings say. Reloaders use it, and programs that
supervise processes themselves; the master's workers are forked and do not.

Owns: what runs there before `target`. Must not: start the process that it makes.
Fails by: what `start()` raises where the target or the settings cannot be pickled.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from socket import socket
from typing import Any

from uvicorn.config import Config

spawn = multiprocessing.get_context("spawn")


def get_subprocess(config: Config, target: Callable[..., Any], sockets: list[socket]) -> SpawnProcess:
    """Make a process that calls `target(sockets=sockets)` when it is started."""
    stdin: int | None = None
    try:
        stdin = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        pass  # there is none
    return spawn.Process(target=subprocess_started, args=(config, target, sockets, stdin))


def subprocess_started(
    config: Config, target: Callable[..., Any], sockets: list[socket], stdin_fileno: int | None
) -> None:
    """What the new interpreter runs.

    A Ctrl-C reaches every process of a terminal. A server shuts down for it. Before it starts, and after it has raised
    the signal again, a KeyboardInterrupt is ignored here: the parent process handles it.
    """
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # a reloader blocks it at the start
        if stdin_fileno is not None:
            sys.stdin = os.fdopen(stdin_fileno)  # multiprocessing has closed it, and a debugger needs it
        config.configure_logging()
        target(sockets=sockets)
    except KeyboardInterrupt:
        pass
