"""The supervisor as other programs call it: `Multiprocess(config, target=server.run, sockets=[sock]).run()`.

Since 0.51 of the other package there is no target: `Multiprocess(config, [sock])`, whose workers run a `Server`. Both
work.

The program makes a `Config`, a `Server` and perhaps sockets; this process becomes the master of `config.workers`
processes that each call `target(sockets=sockets)`. A worker finds the channel to its master as state of its process
(`channel.take`), so that a `Server` needs to be told nothing.

Owns: that adapter. Must not: hold a rule of the master's. Fails by: SystemExit with a code of `errors.ExitCode` when
the service ended for another reason than being asked to; ConfigError where there can be no master.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.config import Config
from uvicorn.errors import ExitCode
from uvicorn.launch.inherited import warn_of_stale_code
from uvicorn.launch.replaced import warn_of_replaced_methods
from uvicorn.launch.serving import log_startup_failure, serve_under_master, work
from uvicorn.net.sockets import Listener, close_all
from uvicorn.worker import process as worker_main
from uvicorn.worker.server import Server


class Multiprocess:
    """A master over workers that are forked from this process. The sockets are closed when it ends."""

    def __init__(
        self,
        config: Config,
        target: Callable[..., Any] | Sequence[socket.socket] | None = None,
        sockets: Sequence[socket.socket] | None = None,
    ) -> None:
        self.config = config
        self.target: Callable[..., Any] | None = None
        if callable(target):
            self.target = target
        elif target is not None:
            if sockets is not None:
                raise TypeError(f"target is a function that serves in a worker, not {target!r}.")
            sockets = target
        self.sockets = list(sockets or ())

    def run(self) -> None:
        """Serve until asked to stop. To be called in the main thread."""
        warn_of_replaced_methods(self.config)
        warn_of_stale_code(self.config)
        code = self._serve()
        if code != ExitCode.OK:
            sys.exit(code)

    @log_startup_failure
    def _serve(self) -> int:
        listeners = self._listeners()
        try:
            return serve_under_master(self.config, listeners, self._work)
        finally:
            close_all(listeners)

    def _listeners(self) -> list[Listener]:
        if not self.sockets:
            return self.config.bind()
        for sock in self.sockets:
            sock.setblocking(False)
        return [Listener(sock, backlog=self.config.backlog) for sock in self.sockets]

    def _work(self, config: Config, listeners: list[Listener]) -> int:
        """Runs in the worker."""
        if self.target is None:
            return work(config, listeners)
        server = getattr(self.target, "__self__", None)
        if isinstance(server, Server):
            return worker_main.serve(server, listeners, self.target)
        self.target(sockets=[listener.sock for listener in listeners])
        return ExitCode.OK
