"""`Multiprocess`: the supervisor as other programs call it.

`Multiprocess(config, target=server.run, sockets=[sock]).run()`: this process becomes the master of `config.workers`
processes that each call `target(sockets=sockets)`. Since uvicorn 0.51 there is no target: the workers of
`Multiprocess(config, [sock])` run a `Server`. Both forms work. A worker finds the channel to its master in its process
(`channel.take`), so a `Server` needs no argument for it.

Owns: that adapter. Must not: decide anything about workers; the master does.
Fails by: SystemExit with a code of `errors.ExitCode`, unless the service was asked to stop; ConfigError where there can
be no master.
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
from uvicorn.launch.serving import log_startup_failure, serve_in_this_process, serve_under_master
from uvicorn.net.sockets import Listener, close_all
from uvicorn.worker import process as worker_main
from uvicorn.worker.server import Server


class Multiprocess:
    """A master, and workers that are forked from this process. `sockets` are closed when it ends."""

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
                raise TypeError(f"target must be a function that serves in a worker, not {target!r}.")
            sockets = target
        self.sockets = list(sockets or ())

    def run(self) -> None:
        """Serve until asked to stop. Call it in the main thread.

        Raises SystemExit unless the service was asked to stop, ConfigError where there can be no master.
        """
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
        """What each worker runs. Returns its exit code."""
        if self.target is None:
            return serve_in_this_process(config, listeners)
        server = getattr(self.target, "__self__", None)
        if isinstance(server, Server):
            return worker_main.serve(server, listeners, self.target)
        self.target(sockets=[listener.sock for listener in listeners])
        return ExitCode.OK
