"""What a worker process does, from the loop to its exit code. The same with a master and without one.

Owns: serving in this process as the command wants it: captured signals are not raised again, and the exit code follows
the table in `errors`. Must not: bind, fork, or judge other workers. Fails by: the exit code; the cause is logged here,
or, under a master, told to it.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from uvicorn import channel
from uvicorn.config import Config
from uvicorn.worker.server import Server

_log = logging.getLogger("uvicorn.error")


def run(config: Config, sockets: list[socket.socket]) -> int:
    """Serve on `sockets` until asked to stop; the exit code of this process."""
    server = Server(config)
    return serve(server, sockets, server.run)


def serve(server: Server, sockets: list[socket.socket], target: Callable[..., Any]) -> int:
    """The same for a server that is there already; `target` is what runs it, as the program around it wants."""
    server.reraise_signals = False
    _handle_more_signals(server, alone=channel.current is None)
    gc.freeze()  # what was imported so far is not looked at again
    try:
        target(sockets=sockets)
    except KeyboardInterrupt:
        pass  # between our handlers and the loop's end: somebody at a terminal, asked to stop
    return int(server.exit_code)


def _handle_more_signals(server: Server, alone: bool) -> None:
    """QUIT stops now (its default would write a core file). HUP without a master is explained: nobody dies of it."""

    def stop_now(sig: int, frame: FrameType | None) -> None:
        server.should_exit = server.force_exit = True
        if not server.config.loaded:
            raise KeyboardInterrupt  # out of the application's import: no loop looks at a flag yet

    def explain(sig: int, frame: FrameType | None) -> None:
        _log.warning("SIGHUP: there is no master to reload. Start with --supervise or --workers 2.")

    if sys.platform != "win32":
        signal.signal(signal.SIGQUIT, stop_now)
        if alone:
            signal.signal(signal.SIGHUP, explain)
