"""What a program has replaced: names in `uvicorn.main` and `uvicorn.config`, and methods that are never called here.

Programs replace `uvicorn.main.Server` or `uvicorn.main.run` and expect us to use what they put there. That module is
above this one, so it registers how its names are looked up (`register`); until it is imported, nobody can have replaced
them.

Owns: these lookups, and the warnings about replacements that have no effect. Must not: import `uvicorn.main`.
Fails by: nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from uvicorn import config as config_module
from uvicorn.config import Config, logger
from uvicorn.net import tls
from uvicorn.surface import overridden
from uvicorn.worker.server import Server

ServerClass = Callable[[Config], Server]
Run = Callable[..., Any]


class _Lookup(NamedTuple):
    server: Callable[[], ServerClass]
    run: Callable[[], Run | None]
    our_run: Run | None


_in_main = _Lookup(lambda: Server, lambda: None, None)


def register(find_server: Callable[[], ServerClass], find_run: Callable[[], Run]) -> None:
    """For `uvicorn.main`, once its names are there: how `Server` and `run` are looked up in it."""
    global _in_main
    _in_main = _Lookup(find_server, find_run, find_run())


def server_class() -> ServerClass:
    """`uvicorn.main.Server` as it is now."""
    return _in_main.server()


def replaced_run() -> Run | None:
    """`uvicorn.main.run`, where a program has replaced it: it wants to start the server itself."""
    run = _in_main.run()
    return None if run is _in_main.our_run else run


def obstacles(config: Config) -> Iterator[str]:
    """What this program has replaced that another interpreter would not know of; a clause for each."""
    if server_class() is not Server:
        yield "uvicorn.main.Server was replaced"
    if config.is_ssl and config_module.create_ssl_context is not tls.create_ssl_context:
        yield "uvicorn.config.create_ssl_context was replaced"
    for name in config_module.replaced_wrappers():
        yield f"uvicorn.config.{name} was replaced"


def warn_of_replaced_methods(config: Config) -> None:
    """Warn of replaced functions that are not called, and of replaced health checks of `Process`, which decide nothing.

    A program that changes how a process is asked whether it lives wants to change when it is replaced.
    """
    overridden.warn_of_functions()
    spawned = sys.modules.get("uvicorn.launch.spawned")
    for name in () if spawned is None else spawned.replaced():
        logger.warning(
            "uvicorn.supervisors.multiprocess.Process.%s was replaced, but the master does not call it. It replaces a"
            " worker whose event loop has not run for timeout_worker_healthcheck (%g s).",
            name,
            config.timeout_worker_healthcheck,
        )
