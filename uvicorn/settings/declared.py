"""Every option, declared once.

An option is one annotated field of `Settings`: its type, its `Option` (help, bounds, what a value may be) and its
default, in the order of uvicorn 0.54's parameters; ours follow and are keyword-only. The command line, the environment
variables, the keys of a configuration file, the README's tables and the signature of `uvicorn.run` are derived from
these fields. A field without an `Option` is a parameter of programs only.

Annotations are evaluated when this module is imported (there is no `from __future__ import annotations`), so that the
declarations can be read without `typing.get_type_hints`.

Owns: the table. Must not: check or resolve a value. Fails by: nothing.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from uvicorn._types import ASGIApplication, SSLContextFactory
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.settings import headers as header_fields
from uvicorn.settings.application import InterfaceType
from uvicorn.settings.options import CONFIG_ONLY, KW_ONLY, Declared, Option, declarations, with_parameters

LoopFactoryType = Literal["none", "auto", "asyncio", "uvloop", "zuvloop"]
HTTPProtocolType = Literal["auto", "h11", "httptools"]
LifespanType = Literal["auto", "on", "off"]
WSProtocolType = Literal["auto", "none", "websockets", "websockets-sansio", "wsproto"]
LogLevelType = Literal["critical", "error", "warning", "info", "debug", "trace"]

DEFAULT_DRAIN_SECONDS = 25.0
"""The value of `timeout_graceful_shutdown=None`: short enough for the 30 s that Kubernetes allows."""

_C_INT = 2**31 - 1
"""The largest number that fits into an int of C."""


def _accept(name: str, value: Any) -> Any:
    return value


def _is_loop(value: Any) -> bool:
    """Whether it is a loop factory, or a loop: a program that awaits `serve()` in its own loop may pass that loop."""
    return callable(value) or hasattr(value, "run_until_complete")


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes)


def _is_open_configuration(value: Any) -> bool:
    """Whether `logging.config.fileConfig` takes it: an open file, or a parser."""
    return hasattr(value, "readline") or hasattr(value, "sections")


GROUPS = (
    _APP,
    _BIND,
    _WORKERS,
    _RELOAD,
    _PROTOCOLS,
    _WS,
    _REQUESTS,
    _TIMEOUTS,
    _CONNECTIONS,
    _HEADERS,
    _PROXIES,
    _TLS,
    _LOG,
) = (
    "Application",
    "Binding",
    "Workers",
    "Reload",
    "Event loop and protocols",
    "WebSockets",
    "Requests",
    "Timeouts",
    "Connections",
    "Response headers",
    "Proxies",
    "TLS",
    "Logging",
)
"""The headings in `--help` and in the README, in this order."""


@with_parameters
class Settings:
    """The options of one server, as plain attributes. Units are seconds, bytes and counts."""

    app: Annotated[
        ASGIApplication | Callable[..., Any] | str,
        Option("The application, as <module>:<attribute>.", _APP, metavar="APP", read=_accept),
    ]
    host: Annotated[
        list[str] | str,
        Option("Address or host name to listen on; separate several with commas.", _BIND, restart=True, unset=""),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Option(
            "Port to listen on. With 0, the system chooses a free port.",
            _BIND,
            minimum=0,
            maximum=65535,
            restart=True,
            unset=0,
        ),
    ] = 8000
    uds: Annotated[
        str | None,
        Option(
            "Listen on a Unix socket at this path, not on a host and port.",
            _BIND,
            metavar="PATH",
            restart=True,
            blank=True,
        ),
    ] = None
    fd: Annotated[
        int | None,
        Option(
            "Listen on an open socket, given by its file descriptor.", _BIND, minimum=0, maximum=_C_INT, restart=True
        ),
    ] = None
    loop: Annotated[
        LoopFactoryType | str,
        Option(
            "Event loop, or the import string of a loop factory.",
            _PROTOCOLS,
            unset="none",
            also=("a function", _is_loop),
        ),
    ] = "auto"
    http: Annotated[
        type[Any] | HTTPProtocolType | str,
        Option(
            "HTTP parser, or the import string of an asyncio protocol class.", _PROTOCOLS, also=("a class", callable)
        ),
    ] = "auto"
    http2: Annotated[
        bool, Option("Serve HTTP/2 too: over TLS, and without TLS to clients that know it.", _PROTOCOLS)
    ] = False
    ws: Annotated[
        type[Any] | WSProtocolType | str,
        Option(
            "WebSocket library, or the import string of an asyncio protocol class.",
            _WS,
            unset="none",
            also=("a class", callable),
        ),
    ] = "auto"
    ws_max_size: Annotated[int, Option("Maximum size of a message in bytes.", _WS, minimum=1)] = 16 * 1024 * 1024
    ws_max_queue: Annotated[
        int,
        Option(
            "Maximum number of received messages that wait for the application; while the queue is "
            "full, nothing is read.",
            _WS,
            floor=1,
        ),
    ] = 32
    ws_ping_interval: Annotated[
        float | None, Option("Send a ping every so many seconds (0: never).", _WS, minimum=0)
    ] = 20.0
    ws_ping_timeout: Annotated[
        float | None,
        Option("Close a connection if a ping is not answered within so many seconds (0: never).", _WS, minimum=0),
    ] = 20.0
    ws_per_message_deflate: Annotated[
        bool, Option("Compress messages if the client supports it (permessage-deflate).", _WS, valued=True)
    ] = True
    lifespan: Annotated[
        LifespanType, Option("Whether to run the application's lifespan (startup and shutdown).", _PROTOCOLS)
    ] = "auto"
    env_file: Annotated[
        str | os.PathLike[str] | None,
        Option(
            "Read environment variables from this file. A reload reads it again.",
            _APP,
            metavar="FILE",
            exists=True,
            restart=True,
            blank=True,
        ),
    ] = None
    log_config: Annotated[
        dict[str, Any] | str | os.PathLike[str] | None,
        Option(
            "Logging configuration file (.ini, .json or .yaml).",
            _LOG,
            metavar="FILE",
            exists=True,
            also=("an open file", _is_open_configuration),
        ),
    ] = LOGGING_CONFIG
    log_level: Annotated[LogLevelType | int | None, Option("Log level (default: info).", _LOG, any_case=True)] = None
    access_log: Annotated[bool, Option("Log every request.", _LOG)] = True
    use_colors: Annotated[
        bool | None, Option("Use colors in the log (default: only on a terminal).", _LOG, other_text=True)
    ] = None
    interface: Annotated[
        InterfaceType,
        Option(
            "Interface of the application. With auto, ASGI 2 and 3 are detected; WSGI applications run in threads.",
            _APP,
        ),
    ] = "auto"
    reload: Annotated[
        bool, Option("Reload the application when its files change (for development).", _RELOAD, restart=True)
    ] = False
    reload_dirs: Annotated[
        list[str] | str | None,
        Option(
            "Directory to watch (default: the current one). Can be repeated.",
            _RELOAD,
            metavar="PATH",
            flags=("--reload-dir",),
            restart=True,
            exists=True,
        ),
    ] = None
    reload_delay: Annotated[
        float, Option("Seconds between two checks for changed files.", _RELOAD, minimum=0, restart=True)
    ] = 0.25
    reload_includes: Annotated[
        list[str] | str | None,
        Option(
            "Pattern of files to watch (default: *.py). Can be repeated.",
            _RELOAD,
            metavar="PATTERN",
            flags=("--reload-include",),
            restart=True,
        ),
    ] = None
    reload_excludes: Annotated[
        list[str] | str | None,
        Option(
            "Pattern of files and directories to ignore. Can be repeated.",
            _RELOAD,
            metavar="PATTERN",
            flags=("--reload-exclude",),
            restart=True,
        ),
    ] = None
    workers: Annotated[
        int | Literal["auto"] | None,
        Option(
            "Number of worker processes (default: 1, or WEB_CONCURRENCY). With auto, as many as the CPU quota allows.",
            _WORKERS,
            floor=1,
            maximum=10_000,
            numbers=True,
            variable="WEB_CONCURRENCY",
            fallback=1,
        ),
    ] = None
    proxy_headers: Annotated[
        bool,
        Option("Take the client's address and the scheme from headers of trusted proxies.", _PROXIES),
    ] = True
    server_header: Annotated[bool, Option("Send the Server header.", _HEADERS)] = True
    date_header: Annotated[bool, Option("Send the Date header.", _HEADERS)] = True
    forwarded_allow_ips: Annotated[
        list[str] | str | None,
        Option(
            "Trusted proxies: comma-separated addresses, networks or Unix sockets, or * for all "
            "(default: 127.0.0.1,::1, or FORWARDED_ALLOW_IPS).",
            _PROXIES,
            metavar="LIST",
            variable="FORWARDED_ALLOW_IPS",
            fallback="127.0.0.1,::1",
        ),
    ] = None
    root_path: Annotated[str, Option("URL path under which a proxy serves the application.", _APP, metavar="PATH")] = ""
    limit_concurrency: Annotated[
        int | None,
        Option(
            "Maximum number of concurrent requests per worker. Further requests wait, or get a 503 "
            "response (0: no limit).",
            _CONNECTIONS,
            minimum=0,
        ),
    ] = None
    limit_max_requests: Annotated[
        int | None, Option("Replace a worker after this many requests (0: never).", _WORKERS, minimum=0)
    ] = None
    limit_max_requests_jitter: Annotated[
        int | None,
        Option(
            "Maximum random number to add to --limit-max-requests (default: a tenth of it; 0: none).",
            _WORKERS,
            minimum=0,
        ),
    ] = None
    backlog: Annotated[
        int,
        Option(
            "Maximum number of connections that wait to be accepted.",
            _CONNECTIONS,
            floor=0,
            ceiling=_C_INT,
            restart=True,
        ),
    ] = 2048
    timeout_keep_alive: Annotated[
        int | float, Option("Close an idle connection after this many seconds.", _TIMEOUTS, floor=0)
    ] = 5
    timeout_notify: Annotated[int | float, CONFIG_ONLY] = 30
    timeout_graceful_shutdown: Annotated[
        int | float | None,
        Option(
            "Maximum seconds for a shutdown; requests that are still running are then cancelled "
            f"(default: {DEFAULT_DRAIN_SECONDS:g}; 0: at once).",
            _TIMEOUTS,
            floor=0,
        ),
    ] = None
    timeout_worker_healthcheck: Annotated[
        int | float,
        Option(
            "Replace a worker whose event loop is blocked for this many seconds (0: never).",
            _WORKERS,
            minimum=0,
        ),
    ] = 30
    callback_notify: Annotated[Callable[..., Awaitable[None]] | None, CONFIG_ONLY] = None
    ssl_keyfile: Annotated[
        str | os.PathLike[str] | None, Option("Private key file (PEM).", _TLS, metavar="FILE", blank=True)
    ] = None
    ssl_certfile: Annotated[
        str | os.PathLike[str] | None,
        Option("Certificate chain file (PEM). Enables HTTPS.", _TLS, metavar="FILE", blank=True),
    ] = None
    ssl_keyfile_password: Annotated[
        str | None, Option("Password of the private key.", _TLS, also=("bytes", _is_bytes))
    ] = None
    ssl_version: Annotated[
        int,
        Option(
            "Protocol constant of Python's ssl module (17: PROTOCOL_TLS_SERVER, TLS 1.2 or later).",
            _TLS,
            floor=0,
            ceiling=_C_INT,
        ),
    ] = 17
    ssl_cert_reqs: Annotated[
        int,
        Option("Client certificates: 0 (not requested), 1 (optional) or 2 (required).", _TLS, minimum=0, maximum=2),
    ] = 0
    ssl_ca_certs: Annotated[
        str | os.PathLike[str] | None,
        Option(
            "File with the CA certificates for verifying client certificates (PEM).", _TLS, metavar="FILE", blank=True
        ),
    ] = None
    ssl_ciphers: Annotated[str | None, Option("Ciphers for TLS 1.2, in OpenSSL's format.", _TLS, blank=True)] = None
    ssl_context_factory: SSLContextFactory | None = None
    headers: Annotated[
        list[tuple[str, str]] | None,
        Option(
            "Header to add to every response, as Name:Value. Can be repeated.",
            _HEADERS,
            flags=("--header",),
            pairs=True,
            read=header_fields.pairs,
        ),
    ] = None
    factory: Annotated[bool, Option("APP is a factory: a function that returns the application.", _APP)] = False
    h11_max_incomplete_event_size: Annotated[
        int | None,
        Option("Old name of --limit-request-headers.", _REQUESTS, minimum=1),
    ] = None
    reset_contextvars: Annotated[
        bool,
        Option(
            "No effect: every request runs in a fresh copy of the context in which the server started.",
            _PROTOCOLS,
        ),
    ] = False
    _: KW_ONLY
    app_dir: Annotated[
        str | None,
        Option("Directory to import APP from (default: the current one).", _APP, metavar="PATH", command_default=""),
    ] = None
    supervise: Annotated[
        bool | None,
        Option(
            "Run the workers under a master process (default: with several workers, as PID 1, or if "
            "NOTIFY_SOCKET is set).",
            _WORKERS,
            restart=True,
        ),
    ] = None
    pid: Annotated[
        str | os.PathLike[str] | None,
        Option("Write the server's process ID to this file.", _WORKERS, metavar="FILE", restart=True, blank=True),
    ] = None
    log_file: Annotated[
        str | os.PathLike[str] | None,
        Option(
            "Write the log to this file instead of standard error. SIGUSR1 reopens it.",
            _LOG,
            metavar="FILE",
            restart=True,
            blank=True,
        ),
    ] = None
    access_log_file: Annotated[
        str | os.PathLike[str] | None,
        Option(
            "Write the access log to this file instead of standard output. SIGUSR1 reopens it.",
            _LOG,
            metavar="FILE",
            restart=True,
            blank=True,
        ),
    ] = None
    access_log_format: Annotated[
        str,
        Option(
            "Access log format: uvicorn, common, combined, json, or a format string with %(atoms)s.",
            _LOG,
            metavar="FORMAT",
        ),
    ] = "uvicorn"
    limit_worker_lifetime: Annotated[
        int | float | None,
        Option(
            "Replace a worker after this many seconds, plus up to a tenth (0: never).",
            _WORKERS,
            minimum=0,
        ),
    ] = None
    limit_worker_memory: Annotated[
        str | int | None,
        Option(
            "Replace a worker that uses more memory than this: a size (512MB), or a percentage of the "
            "container's limit, divided by the number of workers (80%). 0: no limit.",
            _WORKERS,
            metavar="SIZE",
            blank=True,
        ),
    ] = None
    timeout_worker_boot: Annotated[
        int | float | None,
        Option("Replace a worker that is not ready after this many seconds (0: no limit).", _WORKERS, minimum=0),
    ] = None
    shutdown_delay: Annotated[
        int | float,
        Option(
            "Keep accepting connections for this many seconds when a shutdown begins, so that load "
            "balancers can react.",
            _TIMEOUTS,
            minimum=0,
        ),
    ] = 0
    limit_request_line: Annotated[
        int,
        Option(
            "Maximum size of a request line in bytes (0: limited only by --limit-request-headers).",
            _REQUESTS,
            minimum=0,
        ),
    ] = 0
    limit_request_headers: Annotated[
        int | None,
        Option("Maximum size of a request line and headers in bytes (default: 65536).", _REQUESTS, minimum=512),
    ] = None
    limit_request_fields: Annotated[
        int, Option("Maximum number of header fields (0: no limit).", _REQUESTS, minimum=0)
    ] = 128
    limit_request_body: Annotated[
        int, Option("Maximum size of a request body in bytes (0: no limit).", _REQUESTS, minimum=0)
    ] = 0
    limit_body_rate: Annotated[
        int | float,
        Option(
            "Minimum average rate of a request body in bytes per second, not counting the time in "
            "which the application does not read (0: no limit).",
            _REQUESTS,
            minimum=0,
        ),
    ] = 0
    limit_queue: Annotated[
        int | None,
        Option(
            "Maximum number of requests that wait because of --limit-concurrency (default: the same number; 0: none).",
            _CONNECTIONS,
            minimum=0,
        ),
    ] = None
    timeout_queue: Annotated[
        int | float,
        Option("Maximum seconds that a request waits because of --limit-concurrency.", _TIMEOUTS, minimum=0),
    ] = 5
    timeout_request_header: Annotated[
        int | float,
        Option(
            "Maximum seconds from the first byte of a request to the end of its headers (0: no limit).",
            _TIMEOUTS,
            minimum=0,
        ),
    ] = 30
    timeout_request_body: Annotated[
        int | float,
        Option("Maximum seconds without data while a request body is received (0: no limit).", _TIMEOUTS, minimum=0),
    ] = 60
    timeout_write: Annotated[
        int | float,
        Option(
            "Maximum seconds without progress while a client receives a response (0: no limit).", _TIMEOUTS, minimum=0
        ),
    ] = 60
    forwarded_headers: Annotated[
        list[str] | str,
        Option(
            "Headers of trusted proxies to use, comma-separated: x-forwarded-for, -proto, -host, "
            "-port and -prefix, or only forwarded.",
            _PROXIES,
            metavar="LIST",
        ),
    ] = "x-forwarded-for,x-forwarded-proto"
    proxy_protocol: Annotated[
        bool,
        Option("Require a PROXY protocol header (v1 or v2) on every connection, from a trusted proxy.", _PROXIES),
    ] = False
    http2_max_concurrent_streams: Annotated[
        int,
        Option(
            "Maximum number of requests in flight on an HTTP/2 connection.", _CONNECTIONS, minimum=1, maximum=2**31 - 1
        ),
    ] = 128
    http2_stream_window: Annotated[
        int,
        Option(
            "Bytes of a request body that an HTTP/2 client may send ahead of the application.",
            _CONNECTIONS,
            minimum=4096,
            maximum=2**31 - 1,
        ),
    ] = 1 << 18

    def __post_init__(self) -> None:
        """For `uvicorn.config.Config`, which settles the values."""


_options: dict[str, Declared] = {}


def options() -> dict[str, Declared]:
    """Every option that can be set by name, in the order of the declarations; `app` is one of them."""
    if not _options:
        _options.update(declarations(Settings))
    return _options
