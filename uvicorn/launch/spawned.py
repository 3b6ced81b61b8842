"""A server in a spawned process that answers whether it lives, for programs that supervise by themselves.

`process = Process(config, sockets=[sock]); process.start(); process.wait_until_ready(5)`. A thread in the process
answers over a pipe: that the interpreter runs, and whether the server has started; not that the event loop turns. Our
master has no use for any of it: its workers are forked, and their loops say by themselves that they turn.

States: new → started (`start`) → ended. Must not: replace a process that ended; that is the program's business.
Fails by: what `start()` raises where the settings cannot be pickled; no is the answer of a process that is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from socket import socket
from typing import Any

from uvicorn import _subprocess
from uvicorn.config import Config
from uvicorn.process.channel import LONGEST_WAIT
from uvicorn.worker.server import Server

STEP = 0.05
"""Seconds between two questions whether the server has started."""


class Process:
    """One process. It serves `config`; a `target`, which older programs pass, is called in its place."""

    def __init__(
        self,
        config: Config,
        target: Callable[..., Any] | list[socket] | None = None,
        sockets: list[socket] | None = None,
    ) -> None:
        if target is not None and not callable(target):
            target, sockets = None, target
        self.config = config
        self.real_target = target
        self.parent_conn, self.child_conn = Pipe()
        self._server: Server | None = None
        self.process = _subprocess.get_subprocess(config, self.target, sockets or [])

    def __getstate__(self) -> dict[str, Any]:
        """For the process: it has no handle of itself, and only its own end of the pipe."""
        return {name: value for name, value in vars(self).items() if name not in ("process", "parent_conn")}

    @property
    def server(self) -> Server:
        """The server that the process runs; here it is one that does not serve, and may be prepared before `start`."""
        if self._server is None:
            self._server = Server(self.config)
        return self._server

    # -- in the process ----------------------------------------------------------------------------------------

    def target(self, sockets: list[socket] | None = None) -> None:
        """What the process does."""
        work = self.real_target or self.server.run  # the server is there before the thread asks for it
        threading.Thread(target=self.always_pong, daemon=True).start()
        work(sockets=sockets)

    def always_pong(self) -> None:
        """Answer until nobody is there to ask."""
        try:
            while True:
                self.pong()
        except (OSError, EOFError):
            pass

    def pong(self) -> None:
        """Answer one question. Raises OSError or EOFError when nobody is there to ask."""
        self.child_conn.recv()
        self.child_conn.send(self.server.started)

    # -- in the program ----------------------------------------------------------------------------------------

    def ping(self, timeout: float = 5) -> bool:
        """Whether the process answers within `timeout` seconds."""
        return self._healthcheck(timeout) is not None

    def is_ready(self, timeout: float = 5) -> bool:
        """Whether it answers that its server has started."""
        return bool(self._healthcheck(timeout))

    def is_alive(self, timeout: float = 5) -> bool:
        """Whether the process is there and answers within `timeout` seconds."""
        return self.process.is_alive() and self.ping(timeout)

    def wait_until_ready(self, timeout: float, should_exit: threading.Event | None = None) -> bool:
        """Wait up to `timeout` seconds until it is ready. False when it is not, has ended, or `should_exit` is set."""
        until = time.monotonic() + timeout
        stop = should_exit or threading.Event()
        while not stop.is_set() and self.process.is_alive() and (left := until - time.monotonic()) > 0:
            if self.is_ready(left):
                return True
            stop.wait(STEP)
        return False

    def _healthcheck(self, timeout: float) -> bool | None:
        """What it answers; None for nothing."""
        try:
            while self.parent_conn.poll():  # an answer that came too late for its question
                self.parent_conn.recv()
            self.parent_conn.send(b"ping")
            return bool(self.parent_conn.recv()) if self.parent_conn.poll(min(timeout, LONGEST_WAIT)) else None
        except (OSError, EOFError):
            return None

    def start(self) -> None:
        self.process.start()

    def terminate(self) -> None:
        """Tell it to stop (SIGTERM)."""
        if self.process.is_alive():
            self.process.terminate()

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()

    def join(self) -> None:
        """Wait until it has ended."""
        self.process.join()

    @property
    def pid(self) -> int | None:
        return self.process.pid

    @property
    def exitcode(self) -> int | None:
        """None before its end; a signal's number, negative, when that has ended it."""
        return self.process.exitcode


_OWN = dict(vars(Process))


def replaced() -> list[str]:
    """The methods of `Process` that somebody has put others in the place of."""
    return [name for name, value in vars(Process).items() if name[:2] != "__" and _OWN.get(name) is not value]
