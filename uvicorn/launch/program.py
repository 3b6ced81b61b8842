"""`uvicorn.run()`: what a program's call starts, and in which process.

One process: the server runs in the caller's process. Several workers, or `reload`: an application that is given as an
import string gets a master in a new interpreter (`own_interpreter`), because the caller's process has imported half of
the program already. Where something cannot be passed to another interpreter, the master is the caller's process and its
workers import the application again. An application that is an object is inherited by workers forked from here.

Owns: that choice. Must not: leave signal handlers behind in the caller's process.
Fails by: SystemExit with a code of `errors.ExitCode`; ConfigError for a value that cannot work.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config, logger
from uvicorn.errors import ExitCode
from uvicorn.importer import importing
from uvicorn.launch import inherited, replaced, serving
from uvicorn.net.sockets import Listener, close_all
from uvicorn.process import pidfile
from uvicorn.surface import naming
from uvicorn.worker import process
from uvicorn.worker.server import Server


def run(make_config: Callable[..., Config], settings: dict[str, Any]) -> None:
    """Serve until asked to stop. `settings` are the arguments of `run()`, and of `make_config`."""
    if importing():
        logger.warning(
            "uvicorn.run() has no effect while the application is imported: call it under if __name__ == '__main__'."
        )
        return
    config = make_config(**settings)
    if config.reload and not config.should_reload:
        logger.warning("You must pass the application as an import string to enable 'reload' or 'workers'.")
        sys.exit(ExitCode.USAGE)
    code = _run_master(config, settings) if config.needs_master else _serve_in_caller(config)
    if code != ExitCode.OK:
        sys.exit(code)


def _run_master(config: Config, settings: dict[str, Any]) -> int:
    code = serving.reload_without_fork(config, settings)
    if code is not None:
        return code
    serving.require_fork_and_main_thread()
    replaced.warn_of_replaced_methods(config)
    if not isinstance(config.app, str):
        inherited.warn_of_stale_code(config)
        return serving.serve(config)
    from uvicorn.launch import own_interpreter, packing

    # The values that the Config has made of these settings: what it warned of is not warned of again over there.
    packed = packing.pack({**settings, "env_file": config.env_file, "fd": config.fd, "headers": config.headers})
    packed.obstacles.extend(replaced.obstacles(config))
    if not packed.obstacles:
        packing.warn_of_left_out(packed)
        return own_interpreter.run(packed.settings)
    logger.warning(
        "The workers are forked from this program and import the application again, because %s.",
        "; ".join(packed.obstacles),
    )
    inherited.warn_of_threads()
    return serving.serve(config, run_worker=_work_with_fresh_code)


def _work_with_fresh_code(config: Config, listeners: list[Listener]) -> int:
    """What a worker runs whose parent may have imported the application already."""
    naming.forget(str(config.app))
    return serving.serve_in_this_process(config, listeners)


@serving.log_startup_failure
def _serve_in_caller(config: Config) -> int:
    """Serve in the caller's process. A signal that ended the server is raised again at the end, for the caller."""
    server = replaced.server_class()(config)
    server.reraise_signals = False
    try:
        serving.load_and_announce(config)
        with process.reopening(server):
            if config.pid is None:
                server.run()
            else:
                _run_with_pid_file(server, config)
    except KeyboardInterrupt:
        pass
    try:
        server.raise_captured_signals()
    except KeyboardInterrupt:
        pass
    return process.exit_status(server)


def _run_with_pid_file(server: Server, config: Config) -> None:
    listeners = server._known_listeners = config.bind()  # bound here, because the file is written after that
    try:
        with server.capture_signals(), pidfile.written(config.pid):
            server.run([listener.sock for listener in listeners])
    finally:
        close_all(listeners)
