"""The composition root: `run()`, and from a Config to an exit code. The only module that imports both halves.

Owns: the choice between a master and one process, and the process's exit code. `main`, the command line, is made in
`launch.command` and imported when it is first asked for, as is whatever else programs look for here.
Must not: hold a rule that a program which embeds us would miss; those are in `Config`, `Server` and the master.
Fails by: one sentence on standard error and an exit code from `errors.ExitCode`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from uvicorn import config as config_module
from uvicorn._types import ASGIApplication, SSLContextFactory
from uvicorn.config import (
    INTERFACES,
    LIFESPAN,
    SSL_PROTOCOL_VERSION,
    STARTUP_FAILURE,
    Config,
    HTTPProtocolType,
    InterfaceType,
    LifespanType,
    LogLevelType,
    LoopFactoryType,
    WSProtocolType,
    logger,
)
from uvicorn.errors import ConfigError, ExitCode, StartupError, describe_failure
from uvicorn.importer import importing
from uvicorn.launch import versions
from uvicorn.logging import LOG_LEVELS, LOGGING_CONFIG
from uvicorn.net import sockets, tls
from uvicorn.process import pidfile
from uvicorn.surface import naming, overridden
from uvicorn.surface.later import imported_when_asked
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.server import Server

if TYPE_CHECKING:
    from uvicorn.launch.command import INTERFACE_CHOICES, LEVEL_CHOICES, LIFESPAN_CHOICES, main, print_version
    from uvicorn.launch.embedding import Multiprocess
    from uvicorn.launch.reloading import ChangeReload
    from uvicorn.supervisor.master import KernelLike, RunWorker
    from uvicorn.watcher.main import Watch

__all__ = [
    "INTERFACES",
    "INTERFACE_CHOICES",
    "LEVEL_CHOICES",
    "LIFESPAN",
    "LIFESPAN_CHOICES",
    "LOGGING_CONFIG",
    "LOG_LEVELS",
    "SSL_PROTOCOL_VERSION",
    "STARTUP_FAILURE",
    "ChangeReload",
    "Config",
    "Multiprocess",
    "Server",
    "ServerState",
    "logger",
    "main",
    "print_version",
    "run",
]

_CLI = ("INTERFACE_CHOICES", "LEVEL_CHOICES", "LIFESPAN_CHOICES", "main", "print_version")
_HOMES = dict.fromkeys(_CLI, "uvicorn.launch.command")
_HOMES |= {"ChangeReload": "uvicorn.launch.reloading", "Multiprocess": "uvicorn.launch.embedding"}

__getattr__ = imported_when_asked(__name__, _HOMES)


def serve(
    config: Config,
    reread: Callable[[], Config] | None = None,
    kernel: Callable[[], KernelLike] | None = None,
    run_worker: RunWorker | None = None,
) -> int:
    """Bind, then serve under a master or in this process; the exit code. Raises ConfigError.

    `reread` gives a master the settings of its next generation; without it they stay, and the environment file is read.
    `kernel` makes the master's, and `run_worker` is what a worker runs, where they are not the usual ones.
    """
    needs_master = config.needs_master
    try:
        with config.raising():
            listeners = config.bind()
    except StartupError as exc:
        logger.error("%s", exc)
        return int(exc.exit_code)
    try:
        if config.should_reload:  # a browser that is reloaded waits, as at every change
            sockets.listen_all(listeners)
        if needs_master:
            return serve_under_master(config, listeners, run_worker or work, reread, kernel)
        introduce(config)
        return work(config, listeners)
    except StartupError as exc:
        logger.error("%s", describe_failure(exc))
        return int(exc.exit_code)
    finally:
        sockets.close_all(listeners)


def introduce(config: Config) -> None:
    """Load our own parts and say once, as the first line of a service, what serves. A server that a program embeds does
    not. Raises StartupError."""
    with config.raising():
        config.load_components()
        logger.info("%s", versions.parts(config))


def work(config: Config, listeners: list[sockets.Listener]) -> int:
    """Serve on `listeners` in this process, a worker or the only one; the exit code. Programs replace `Server` here."""
    from uvicorn.worker import process as worker_main

    server = Server(config)
    return worker_main.serve(server, listeners, server.run)


def serve_under_master(
    config: Config,
    listeners: list[sockets.Listener],
    run_worker: RunWorker,
    reread: Callable[[], Config] | None = None,
    kernel: Callable[[], KernelLike] | None = None,
) -> int:
    """Be the master of workers that each call `run_worker`; the exit code. Raises ConfigError."""
    _require_a_place_for_a_master()
    from uvicorn.supervisor.kernel import Kernel
    from uvicorn.supervisor.master import Master

    def next_settings() -> Config:
        fresh = (reread or config.reread)()
        fresh.load_components()
        return fresh

    try:
        introduce(config)
    except StartupError as exc:
        logger.error("%s", describe_failure(exc))
        return int(exc.exit_code)
    watch = _watch(config)
    return Master(config, listeners, run_worker, reread=next_settings, kernel=kernel or Kernel, watch=watch).run()


def _require_a_place_for_a_master() -> None:
    if not hasattr(os, "fork"):
        raise ConfigError("Workers and --supervise need fork, which Windows lacks: use one process.")
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            "Workers, --reload and --supervise need the main thread, where signals arrive: use one process."
        )


def _watch(config: Config) -> Watch | None:
    """What a reloader watches, said before it starts."""
    if not config.should_reload:
        return None
    from uvicorn.watcher.main import Watch

    watch = Watch(config)
    logger.info("Will watch for changes in these directories: %s", watch.directories)
    if config.workers > 1:
        logger.warning('"workers" flag is ignored when reloading is enabled.')
    if config.for_a_master:
        logger.warning("%s: no effect with --reload.", ", ".join(config.for_a_master))
    return watch


def run(
    app: ASGIApplication | Callable[..., Any] | str,
    host: list[str] | str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    fd: int | None = None,
    loop: LoopFactoryType | str = "auto",
    http: type[Any] | HTTPProtocolType | str = "auto",
    http2: bool = False,
    ws: type[Any] | WSProtocolType | str = "auto",
    ws_max_size: int = 16 * 1024 * 1024,
    ws_max_queue: int = 32,
    ws_ping_interval: float | None = 20.0,
    ws_ping_timeout: float | None = 20.0,
    ws_per_message_deflate: bool = True,
    lifespan: LifespanType = "auto",
    env_file: str | os.PathLike[str] | None = None,
    log_config: dict[str, Any] | str | os.PathLike[str] | None = LOGGING_CONFIG,
    log_level: LogLevelType | int | None = None,
    access_log: bool = True,
    use_colors: bool | None = None,
    interface: InterfaceType = "auto",
    reload: bool = False,
    reload_dirs: list[str] | str | None = None,
    reload_delay: float = 0.25,
    reload_includes: list[str] | str | None = None,
    reload_excludes: list[str] | str | None = None,
    workers: int | Literal["auto"] | None = None,
    proxy_headers: bool = True,
    server_header: bool = True,
    date_header: bool = True,
    forwarded_allow_ips: list[str] | str | None = None,
    root_path: str = "",
    limit_concurrency: int | None = None,
    limit_max_requests: int | None = None,
    limit_max_requests_jitter: int | None = None,
    backlog: int = 2048,
    timeout_keep_alive: int | float = 5,
    timeout_graceful_shutdown: int | float | None = None,
    timeout_worker_healthcheck: int | float = 30,
    ssl_keyfile: str | os.PathLike[str] | None = None,
    ssl_certfile: str | os.PathLike[str] | None = None,
    ssl_keyfile_password: str | None = None,
    ssl_version: int = 17,
    ssl_cert_reqs: int = 0,
    ssl_ca_certs: str | os.PathLike[str] | None = None,
    ssl_ciphers: str | None = None,
    ssl_context_factory: SSLContextFactory | None = None,
    headers: list[tuple[str, str]] | None = None,
    factory: bool = False,
    h11_max_incomplete_event_size: int | None = None,
    reset_contextvars: bool = False,
    *,
    app_dir: str | None = None,
    supervise: bool | None = None,
    pid: str | os.PathLike[str] | None = None,
    log_file: str | os.PathLike[str] | None = None,
    access_log_file: str | os.PathLike[str] | None = None,
    access_log_format: str = "uvicorn",
    limit_worker_lifetime: int | float | None = None,
    limit_worker_memory: str | int | None = None,
    timeout_worker_boot: int | float | None = None,
    shutdown_delay: int | float = 0,
    limit_request_line: int = 0,
    limit_request_headers: int | None = None,
    limit_request_fields: int = 128,
    limit_request_body: int = 0,
    limit_body_rate: int | float = 0,
    limit_queue: int | None = None,
    timeout_queue: int | float = 5,
    timeout_request_header: int | float = 30,
    timeout_request_body: int | float = 60,
    timeout_write: int | float = 60,
    forwarded_headers: list[str] | str = "x-forwarded-for,x-forwarded-proto",
    proxy_protocol: bool = False,
) -> None:
    """Serve `app` until asked to stop; the parameters are those of `Config`.

    With one process a SIGINT or SIGTERM that ended it is raised again afterwards, for the program around it (a
    KeyboardInterrupt is swallowed). Several workers of an application given as an import string have their master in
    an interpreter of its own (`launch.own_interpreter`), and so has a reloader; workers of an object are forked from
    this process.
    Leaves by SystemExit with a code of `errors.ExitCode` when serving failed. Raises ConfigError for a value that
    cannot work.
    """
    settings = dict(locals())
    if importing():
        logger.warning(
            "uvicorn.run() is ignored in a module that is imported to be served: call it where it is started."
        )
        return
    config = Config(**settings)
    if config.reload and not config.should_reload:
        logger.warning("You must pass the application as an import string to enable 'reload' or 'workers'.")
        sys.exit(ExitCode.USAGE)
    code = _run_master(config, settings) if config.needs_master else _serve_here(config)
    if code != ExitCode.OK:
        sys.exit(code)


def reload_without_fork(config: Config, settings: dict[str, Any]) -> int | None:
    """Serve with `--reload` where there is no fork; the exit code. None where it is not wanted, or there is."""
    if not config.should_reload:
        return None
    from uvicorn.launch import portable

    if not portable.is_needed():
        return None
    try:
        introduce(config)
    except StartupError as exc:
        logger.error("%s", describe_failure(exc))
        return int(exc.exit_code)
    watch = _watch(config)
    assert watch is not None
    return portable.run(config, settings, watch)


def _run_master(config: Config, settings: dict[str, Any]) -> int:
    code = reload_without_fork(config, settings)
    if code is not None:
        return code
    _require_a_place_for_a_master()
    warn_of_replaced_methods(config)
    if isinstance(config.app, str):
        from uvicorn.launch import own_interpreter as apart

        # What the settings come to, so that what was said of them is not said again there.
        packed = apart.pack({**settings, "env_file": config.env_file, "fd": config.fd, "headers": config.headers})
        packed.obstacles.extend(_replaced(config))
        if not packed.obstacles:
            for sentence in packed.left_out:
                logger.warning("%s", sentence)
            return apart.run(packed.settings)
        logger.warning(
            "The workers are forked from this program, and import the application anew, because %s.",
            "; ".join(packed.obstacles),
        )
        _warn_of_threads()
        return serve(config, run_worker=_run_with_fresh_code)
    warn_of_stale_code(config)
    return serve(config)


_OURS = (Server, tls.create_ssl_context)


def _replaced(config: Config) -> Iterator[str]:
    """What this program has put in the place of parts of ours, which another interpreter would not know."""
    if Server is not _OURS[0]:
        yield "uvicorn.main.Server was replaced"
    if config.is_ssl and config_module.create_ssl_context is not _OURS[1]:
        yield "uvicorn.config.create_ssl_context was replaced"
    for name in config_module.replaced_wrappers():
        yield f"uvicorn.config.{name} was replaced"


def _run_with_fresh_code(config: Config, listeners: list[sockets.Listener]) -> int:
    """A worker of a process that may have imported the application already."""
    naming.forget(str(config.app))
    return work(config, listeners)


def _serve_here(config: Config) -> int:
    """Serve in the process of the program that called us, whose signals come back to it after everything else."""
    from uvicorn.worker import process as worker_main

    server = Server(config)
    server.reraise_signals = False
    try:
        introduce(config)
        with worker_main.reopening(server):
            if config.pid is None:
                server.run()
            else:
                _run_with_pid_file(server, config)
    except KeyboardInterrupt:
        pass
    except StartupError as exc:  # what comes before the server: the port, or the file
        logger.error("%s", describe_failure(exc))
        return int(exc.exit_code)
    try:
        server.raise_captured_signals()
    except KeyboardInterrupt:
        pass
    return worker_main.exit_status(server)


def _run_with_pid_file(server: Server, config: Config) -> None:
    listeners = server._known = config.bind()  # the file follows bind, so that has to come first
    try:
        with server.capture_signals(), pidfile.written(config.pid):
            server.run([listener.sock for listener in listeners])
    finally:
        sockets.close_all(listeners)


def warn_of_replaced_methods(config: Config) -> None:
    """A program that changes how it is asked whether a worker lives means to change when one is replaced."""
    overridden.warn_of_functions()
    spawned = sys.modules.get("uvicorn.launch.spawned")
    for name in () if spawned is None else spawned.replaced():
        logger.warning(
            "uvicorn.supervisors.multiprocess.Process.%s was replaced, and the master does not call it: a worker hangs"
            " when its event loop has not turned for timeout_worker_healthcheck (%g s).",
            name,
            config.timeout_worker_healthcheck,
        )


def warn_of_stale_code(config: Config) -> None:
    """What this process has imported, its workers inherit as it is: what that means is said once."""
    if not isinstance(config.app, str):
        logger.warning(
            "The application is an object of this process: a reload (SIGHUP) starts new workers with the same code."
            ' Pass it as "module:attribute" to have it imported anew.'
        )
    elif config.app.partition(":")[0] in sys.modules:
        logger.warning(
            "The module of the application is imported in this process already: a reload (SIGHUP) starts new workers"
            " with the same code. Start with the command uvicorn to have it imported anew."
        )
    _warn_of_threads()


def _warn_of_threads() -> None:
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        logger.warning("Threads that run now will not run in the workers: %s.", ", ".join(others))
