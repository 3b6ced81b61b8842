"""`run()`, and the names that programs look for in this module. The work is done in `launch`.

Owns: the signature of `run()`, and the registration of the names that programs replace here (`launch.replaced`).
`main`, the command, is imported when it is first used, as are the names that need click or a reloader.
Must not: be imported by another module of the package, except `__main__`.
Fails by: as `launch.program` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

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
from uvicorn.launch import replaced
from uvicorn.logging import LOG_LEVELS, LOGGING_CONFIG
from uvicorn.surface.later import imported_when_asked
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.server import Server

if TYPE_CHECKING:
    from uvicorn.launch.command import main
    from uvicorn.launch.embedding import Multiprocess
    from uvicorn.launch.parameters import INTERFACE_CHOICES, LEVEL_CHOICES, LIFESPAN_CHOICES, print_version
    from uvicorn.launch.reloading import ChangeReload

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

_FOR_COMMANDS = ("INTERFACE_CHOICES", "LEVEL_CHOICES", "LIFESPAN_CHOICES", "print_version")
_HOMES = dict.fromkeys(_FOR_COMMANDS, "uvicorn.launch.parameters") | {
    "ChangeReload": "uvicorn.launch.reloading",
    "Multiprocess": "uvicorn.launch.embedding",
    "main": "uvicorn.launch.command",
}

__getattr__ = imported_when_asked(__name__, _HOMES)


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
    http2_max_concurrent_streams: int = 128,
    http2_stream_window: int = 1 << 18,
) -> None:
    """Serve `app` until asked to stop. The parameters are those of `Config`; times are in seconds, sizes in bytes.

    One process: the server runs here; a SIGINT or SIGTERM that ended it is raised again at the end, for the calling
    program, and a KeyboardInterrupt is swallowed. Several workers, or `reload`, of an application that is given as an
    import string: they run under a master in a new interpreter. Several workers of an object: they are forked from this
    process.
    Raises SystemExit with a code of `errors.ExitCode` when serving failed, ConfigError for a value that cannot work.
    """
    settings = dict(locals())
    from uvicorn.launch import program  # not for a program that only names us

    program.run(Config, settings)


replaced.register(lambda: Server, lambda: run)
