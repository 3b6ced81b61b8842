"""From a Config to an exit code: bind the sockets, then serve under a master or in this process.

Owns: the choice between a master and one process. Every way to start a server leads here: the command (`command`),
`uvicorn.run()` (`program`), the new interpreter that `run()` may start (`interpreter_main`), and `Multiprocess`
(`embedding`).
Must not: hold a rule that a program which embeds the server would miss; such rules are in `Config`, `Server` and the
master.
Fails by: a StartupError is logged and becomes the exit code. A ConfigError is raised; the caller reports it.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from uvicorn.config import Config, logger
from uvicorn.errors import ConfigError, StartupError, describe_failure
from uvicorn.launch import replaced, versions
from uvicorn.net.sockets import Listener, close_all, listen_all
from uvicorn.worker.startup import preload

if TYPE_CHECKING:
    from uvicorn.supervisor.master import KernelLike, RunWorker
    from uvicorn.watcher.main import Watch

P = ParamSpec("P")
T = TypeVar("T")


def log_startup_failure(serve: Callable[P, T]) -> Callable[P, T | int]:
    """Decorator: a StartupError is logged, with the traceback of its cause, and its exit code is returned."""

    @functools.wraps(serve)
    def logged(*args: P.args, **kwargs: P.kwargs) -> T | int:
        try:
            return serve(*args, **kwargs)
        except StartupError as exc:
            logger.error("%s", describe_failure(exc))
            return int(exc.exit_code)

    return logged


@log_startup_failure
def serve(
    config: Config,
    reread: Callable[[], Config] | None = None,
    kernel: Callable[[], KernelLike] | None = None,
    run_worker: RunWorker | None = None,
) -> int:
    """Bind, serve until asked to stop, close the sockets. Returns the exit code. Raises ConfigError.

    `reread` returns the settings for a master's next generation; by default they stay as they are, and the environment
    file is read again. `kernel` makes the master's kernel. `run_worker` is what each worker calls, by default
    `serve_in_this_process`.
    """
    needs_master = config.needs_master
    listeners = config.bind()
    try:
        if config.should_reload:
            listen_all(listeners)  # from the start: a browser waits for the first worker, as it does at a change
        if needs_master:
            return serve_under_master(config, listeners, run_worker or serve_in_this_process, reread, kernel)
        load_and_announce(config)
        return serve_in_this_process(config, listeners)
    finally:
        close_all(listeners)


def load_and_announce(config: Config) -> None:
    """Load our own components, then log the first line: the versions of what serves. Raises StartupError.

    A server that a program embeds does not log that line.
    """
    with config.raising():
        config.load_components()
        logger.info("%s", versions.parts(config))


def serve_in_this_process(config: Config, listeners: list[Listener]) -> int:
    """Serve on `listeners` in this process, which is a worker or the only process. Returns the exit code."""
    from uvicorn.worker import process

    server = replaced.server_class()(config)
    return process.serve(server, listeners, server.run)


def serve_under_master(
    config: Config,
    listeners: list[Listener],
    run_worker: RunWorker,
    reread: Callable[[], Config] | None = None,
    kernel: Callable[[], KernelLike] | None = None,
) -> int:
    """Be the master of workers that each call `run_worker`. Returns the exit code. Raises ConfigError, StartupError."""
    require_fork_and_main_thread()
    from uvicorn.supervisor.kernel import Kernel
    from uvicorn.supervisor.master import Master

    def next_settings() -> Config:
        fresh = (reread or config.reread)()
        fresh.load_components()
        preload(fresh)
        return fresh

    load_and_announce(config)
    preload(config)
    watch = _watch(config) if config.should_reload else None
    return Master(config, listeners, run_worker, reread=next_settings, kernel=kernel or Kernel, watch=watch).run()


@log_startup_failure
def reload_without_fork(config: Config, settings: dict[str, Any]) -> int | None:
    """Serve with `--reload` where there is no fork, and return the exit code.

    Returns None when `--reload` is not set, or when there is a fork. `settings` are the arguments of `config`.
    """
    if not config.should_reload:
        return None
    from uvicorn.launch import portable

    if not portable.is_needed():
        return None
    load_and_announce(config)
    return portable.run(config, settings, _watch(config))


def require_fork_and_main_thread() -> None:
    """Raise ConfigError where this process cannot be a master."""
    if not hasattr(os, "fork"):
        raise ConfigError("Workers and --supervise need os.fork(), which this system does not have: use one process.")
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            "Workers, --reload and --supervise must be started in the main thread, which receives the signals:"
            " use one process."
        )


def _watch(config: Config) -> Watch:
    """What `--reload` watches. Logs the directories, and the settings that have no effect with `--reload`."""
    from uvicorn.watcher.main import Watch

    watch = Watch(config)
    logger.info("Will watch for changes in these directories: %s", watch.directories)
    if config.workers > 1:
        logger.warning('"workers" flag is ignored when reloading is enabled.')
    if config.for_a_master:
        logger.warning("%s: no effect with --reload.", ", ".join(config.for_a_master))
    return watch
