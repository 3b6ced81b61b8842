"""A function of a program's in an interpreter of its own: multiprocessing's "spawn", with sockets and a terminal.

`target(sockets=…)` is called there, with logging as the settings have it. The master's workers are forked and need none
of this; reloaders do, and programs that supervise by themselves. Must not: start what it makes.
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
    """A process that calls `target(sockets=sockets)` once it is started."""
    stdin: int | None = None
    try:
        stdin = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        pass  # there is none to hand on
    return spawn.Process(target=subprocess_started, args=(config, target, sockets, stdin))


def subprocess_started(
    config: Config, target: Callable[..., Any], sockets: list[socket], stdin_fileno: int | None
) -> None:
    """Runs in the new interpreter.

    A Ctrl-C reaches every process of a terminal. A server ends in order for it; before there is one, and afterwards,
    where it is raised again, it is the business of whoever started us.
    """
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # a reloader has blocked it
        if stdin_fileno is not None:
            sys.stdin = os.fdopen(stdin_fileno)  # multiprocessing has closed it, and somebody may want to debug
        config.configure_logging()
        target(sockets=sockets)
    except KeyboardInterrupt:
        pass
