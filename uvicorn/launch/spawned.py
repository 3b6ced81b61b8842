"""`Process`: a server in a spawned process that answers whether it is alive, for programs that supervise themselves.

`process = Process(config, sockets=[sock]); process.start(); process.wait_until_ready(5)`. A thread in that process
answers over a pipe whether the interpreter runs and whether the server has started; it does not know whether the event
loop runs. Our master does not use this class: its workers are forked, and their event loops report to it.

States: new → started (`start`) → ended. Owns: the process and its pipe. Must not: replace a process that has ended.
Fails by: what `start()` raises where the settings cannot be pickled; a process that has ended counts as not alive.
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
"""Seconds between two checks whether the server has started."""


class Process:
    """One process that serves `config`. Older programs pass a `target`, which is called instead."""

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
        """What is pickled for the process: it gets no handle of itself, and only its own end of the pipe."""
        return {name: value for name, value in vars(self).items() if name not in ("process", "parent_conn")}

    @property
    def server(self) -> Server:
        """The server that the process runs. Here it does not serve; a program may change it before `start`."""
        if self._server is None:
            self._server = Server(self.config)
        return self._server

    # -- in the process ----------------------------------------------------------------------------------------

    def target(self, sockets: list[socket] | None = None) -> None:
        """What the process runs."""
        work = self.real_target or self.server.run  # made before the thread reads it
        threading.Thread(target=self.always_pong, daemon=True).start()
        work(sockets=sockets)

    def always_pong(self) -> None:
        """Answer until the other end of the pipe is closed."""
        try:
            while True:
                self.pong()
        except (OSError, EOFError):
            pass

    def pong(self) -> None:
        """Answer one question. Raises OSError or EOFError when the other end of the pipe is closed."""
        self.child_conn.recv()
        self.child_conn.send(self.server.started)

    # -- in the program ----------------------------------------------------------------------------------------

    def ping(self, timeout: float = 5) -> bool:
        """Whether the process answers within `timeout` seconds."""
        return self._healthcheck(timeout) is not None

    def is_ready(self, timeout: float = 5) -> bool:
        """Whether it answers within `timeout` seconds that its server has started."""
        return bool(self._healthcheck(timeout))

    def is_alive(self, timeout: float = 5) -> bool:
        """Whether the process runs and answers within `timeout` seconds."""
        return self.process.is_alive() and self.ping(timeout)

    def wait_until_ready(self, timeout: float, should_exit: threading.Event | None = None) -> bool:
        """Wait up to `timeout` seconds until it is ready. False if it is not, has ended, or `should_exit` is set."""
        until = time.monotonic() + timeout
        stop = should_exit or threading.Event()
        while not stop.is_set() and self.process.is_alive() and (left := until - time.monotonic()) > 0:
            if self.is_ready(left):
                return True
            stop.wait(STEP)
        return False

    def _healthcheck(self, timeout: float) -> bool | None:
        """Whether its server has started; None if it does not answer."""
        try:
            while self.parent_conn.poll():  # late answers to earlier questions
                self.parent_conn.recv()
            self.parent_conn.send(b"ping")
            return bool(self.parent_conn.recv()) if self.parent_conn.poll(min(timeout, LONGEST_WAIT)) else None
        except (OSError, EOFError):
            return None

    def start(self) -> None:
        self.process.start()

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM)."""
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
        """None while it runs; the negative number of the signal that killed it."""
        return self.process.exitcode


_OWN = dict(vars(Process))


def replaced() -> list[str]:
    """The methods of `Process` that a program has replaced."""
    return [name for name, value in vars(Process).items() if name[:2] != "__" and _OWN.get(name) is not value]
