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
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, Literal

from uvicorn._types import ASGIApplication, SSLContextFactory
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.settings import headers as header_fields
from uvicorn.settings.application import InterfaceType
from uvicorn.settings.options import CONFIG_ONLY, Declared, Option, declarations

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


_APP, _BIND, _PROC, _RELOAD, _IMPL, _WS, _TLS, _PROXY, _LOG, _LIMIT = (
    "Application",
    "Binding",
    "Processes",
    "Reload",
    "Implementation",
    "WebSockets",
    "TLS",
    "Proxies",
    "Logging",
    "Limits",
)
"""The headings in `--help` and in the README."""


@dataclass(eq=False, repr=False)
class Settings:
    """The options of one server, as plain attributes. Units are seconds, bytes and counts."""

    app: Annotated[
        ASGIApplication | Callable[..., Any] | str,
        Option("The application to serve, as <module>:<attribute>.", _APP, metavar="APP", read=_accept),
    ]
    host: Annotated[
        list[str] | str,
        Option("Address or name to listen on; several are comma-separated.", _BIND, restart=True, unset=""),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Option(
            "Port to listen on; 0 lets the system choose one.",
            _BIND,
            minimum=0,
            maximum=65535,
            restart=True,
            unset=0,
        ),
    ] = 8000
    uds: Annotated[
        str | None,
        Option("Listen on this Unix socket instead of an address.", _BIND, metavar="PATH", restart=True, blank=True),
    ] = None
    fd: Annotated[
        int | None,
        Option("Take over this open socket instead of making one.", _BIND, minimum=0, maximum=_C_INT, restart=True),
    ] = None
    loop: Annotated[
        LoopFactoryType | str,
        Option("Event loop, or <module>:<factory> of one.", _IMPL, unset="none", also=("a function", _is_loop)),
    ] = "auto"
    http: Annotated[
        type[Any] | HTTPProtocolType | str,
        Option("HTTP parser, or <module>:<class> of an asyncio protocol.", _IMPL, also=("a class", callable)),
    ] = "auto"
    http2: Annotated[bool, Option("Speak HTTP/2 (not available yet).", _IMPL)] = False
    ws: Annotated[
        type[Any] | WSProtocolType | str,
        Option(
            "WebSocket implementation, or <module>:<class> of an asyncio protocol.",
            _WS,
            unset="none",
            also=("a class", callable),
        ),
    ] = "auto"
    ws_max_size: Annotated[int, Option("Largest WebSocket message that is accepted, in bytes.", _WS, minimum=1)] = (
        16 * 1024 * 1024
    )
    ws_max_queue: Annotated[
        int, Option("WebSocket messages that wait for the application before reading pauses.", _WS, floor=1)
    ] = 32
    ws_ping_interval: Annotated[
        float | None, Option("Seconds between two pings to a WebSocket peer.", _WS, minimum=0)
    ] = 20.0
    ws_ping_timeout: Annotated[
        float | None, Option("Seconds within which a WebSocket peer has to answer a ping.", _WS, minimum=0)
    ] = 20.0
    ws_per_message_deflate: Annotated[bool, Option("Offer compression of WebSocket messages.", _WS, valued=True)] = True
    lifespan: Annotated[LifespanType, Option("Whether the application takes part in ASGI's lifespan.", _IMPL)] = "auto"
    env_file: Annotated[
        str | os.PathLike[str] | None,
        Option(
            "Read environment variables from this file; a reload reads it again.",
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
            "Logging configuration: an .ini, .json or .yaml file.",
            _LOG,
            metavar="FILE",
            exists=True,
            also=("an open file", _is_open_configuration),
        ),
    ] = field(default_factory=lambda: LOGGING_CONFIG)
    log_level: Annotated[LogLevelType | int | None, Option("Least level that is logged.", _LOG, any_case=True)] = None
    access_log: Annotated[bool, Option("Log a line for every request.", _LOG)] = True
    use_colors: Annotated[
        bool | None, Option("Colour the log; by default when it goes to a terminal.", _LOG, other_text=True)
    ] = None
    interface: Annotated[
        InterfaceType,
        Option("What the application is: ASGI 3 or 2, or WSGI, in threads (by default ASGI, whichever).", _APP),
    ] = "auto"
    reload: Annotated[
        bool, Option("Restart when a file of the application changes (for development).", _RELOAD, restart=True)
    ] = False
    reload_dirs: Annotated[
        list[str] | str | None,
        Option(
            "Folder to watch; the current one by default. May be given more than once.",
            _RELOAD,
            metavar="PATH",
            flags=("--reload-dir",),
            restart=True,
            exists=True,
        ),
    ] = None
    reload_delay: Annotated[
        float, Option("Seconds between two looks at the files.", _RELOAD, minimum=0, restart=True)
    ] = 0.25
    reload_includes: Annotated[
        list[str] | str | None,
        Option(
            "Pattern of files to watch; *.py by default. May be given more than once.",
            _RELOAD,
            metavar="PATTERN",
            flags=("--reload-include",),
            restart=True,
        ),
    ] = None
    reload_excludes: Annotated[
        list[str] | str | None,
        Option(
            "Pattern of files not to watch. May be given more than once.",
            _RELOAD,
            metavar="PATTERN",
            flags=("--reload-exclude",),
            restart=True,
        ),
    ] = None
    workers: Annotated[
        int | Literal["auto"] | None,
        Option(
            "Number of worker processes, or auto: what the CPU quota allows; also WEB_CONCURRENCY."
            " More than one runs under a master.",
            _PROC,
            floor=1,
            maximum=10_000,
            numbers=True,
            variable="WEB_CONCURRENCY",
            fallback=1,
        ),
    ] = None
    proxy_headers: Annotated[
        bool,
        Option("Take the client's address and scheme from what trusted proxies say.", _PROXY),
    ] = True
    server_header: Annotated[bool, Option("Send the Server header.", _IMPL)] = True
    date_header: Annotated[bool, Option("Send the Date header.", _IMPL)] = True
    forwarded_allow_ips: Annotated[
        list[str] | str | None,
        Option(
            "Proxies to trust: addresses, networks or Unix sockets, comma-separated, or *;"
            " also FORWARDED_ALLOW_IPS (default 127.0.0.1, ::1).",
            _PROXY,
            metavar="LIST",
            variable="FORWARDED_ALLOW_IPS",
            fallback="127.0.0.1,::1",
        ),
    ] = None
    root_path: Annotated[str, Option("Path under which a proxy mounts the application.", _APP, metavar="PATH")] = ""
    limit_concurrency: Annotated[
        int | None,
        Option(
            "Requests in flight per worker; above it they wait, then the answer is 503 (0: no limit).",
            _LIMIT,
            minimum=0,
        ),
    ] = None
    limit_max_requests: Annotated[
        int | None, Option("Requests after which a worker is replaced (0: no limit).", _LIMIT, minimum=0)
    ] = None
    limit_max_requests_jitter: Annotated[
        int | None,
        Option(
            "Most that is added at random to --limit-max-requests (default a tenth of it; 0: none).",
            _LIMIT,
            minimum=0,
        ),
    ] = None
    backlog: Annotated[
        int,
        Option("Connections that wait in the kernel's queue.", _LIMIT, floor=0, ceiling=_C_INT, restart=True),
    ] = 2048
    timeout_keep_alive: Annotated[int | float, Option("Seconds an idle connection is kept open.", _LIMIT, floor=0)] = 5
    timeout_notify: Annotated[int | float, CONFIG_ONLY] = 30
    timeout_graceful_shutdown: Annotated[
        int | float | None,
        Option(
            "Seconds that requests in flight and the lifespan's shutdown get to finish"
            f" (default {DEFAULT_DRAIN_SECONDS:g}; 0: at once).",
            _LIMIT,
            floor=0,
        ),
    ] = None
    timeout_worker_healthcheck: Annotated[
        int | float,
        Option(
            "Seconds without a turn of its event loop after which a worker is replaced (0: never).",
            _LIMIT,
            minimum=0,
        ),
    ] = 30
    callback_notify: Annotated[Callable[..., Awaitable[None]] | None, CONFIG_ONLY] = None
    ssl_keyfile: Annotated[
        str | os.PathLike[str] | None, Option("File with the private key.", _TLS, metavar="FILE", blank=True)
    ] = None
    ssl_certfile: Annotated[
        str | os.PathLike[str] | None,
        Option("File with the certificate chain; serves HTTPS.", _TLS, metavar="FILE", blank=True),
    ] = None
    ssl_keyfile_password: Annotated[
        str | None, Option("Password of the private key.", _TLS, also=("bytes", _is_bytes))
    ] = None
    ssl_version: Annotated[
        int,
        Option(
            "Protocol constant of the ssl module (17: PROTOCOL_TLS_SERVER, TLS 1.2 at least).",
            _TLS,
            floor=0,
            ceiling=_C_INT,
        ),
    ] = 17
    ssl_cert_reqs: Annotated[
        int,
        Option("Whether clients need a certificate (0: none, 1: optional, 2: required).", _TLS, minimum=0, maximum=2),
    ] = 0
    ssl_ca_certs: Annotated[
        str | os.PathLike[str] | None,
        Option("File with the authorities that sign client certificates.", _TLS, metavar="FILE", blank=True),
    ] = None
    ssl_ciphers: Annotated[str | None, Option("Ciphers for TLS 1.2, in OpenSSL's notation.", _TLS, blank=True)] = None
    ssl_context_factory: SSLContextFactory | None = None
    headers: Annotated[
        list[tuple[str, str]] | None,
        Option(
            "Header sent with every response, as Name:Value. May be given more than once.",
            _IMPL,
            flags=("--header",),
            pairs=True,
            read=header_fields.pairs,
        ),
    ] = None
    factory: Annotated[bool, Option("APP is a function that returns the application.", _APP)] = False
    h11_max_incomplete_event_size: Annotated[
        int | None,
        Option("The older name of --limit-request-headers.", _LIMIT, minimum=1),
    ] = None
    reset_contextvars: Annotated[
        bool,
        Option(
            "Run every request in a fresh copy of the context in which the server started, as is always done.",
            _IMPL,
        ),
    ] = False
    _: KW_ONLY
    app_dir: Annotated[
        str | None,
        Option("Folder to import APP from; the current one by default.", _APP, metavar="PATH", command_default=""),
    ] = None
    supervise: Annotated[
        bool | None,
        Option(
            "Run under a master: by default with more than one worker, as PID 1, and when NOTIFY_SOCKET is set.",
            _PROC,
            restart=True,
        ),
    ] = None
    pid: Annotated[
        str | os.PathLike[str] | None,
        Option("Write the master's process id to this file.", _PROC, metavar="FILE", restart=True, blank=True),
    ] = None
    log_file: Annotated[
        str | os.PathLike[str] | None,
        Option(
            "Write the log to this file instead of standard error; SIGUSR1 reopens it.",
            _LOG,
            metavar="FILE",
            restart=True,
            blank=True,
        ),
    ] = None
    access_log_file: Annotated[
        str | os.PathLike[str] | None,
        Option(
            "Write the access log to this file instead of standard output; SIGUSR1 reopens it.",
            _LOG,
            metavar="FILE",
            restart=True,
            blank=True,
        ),
    ] = None
    access_log_format: Annotated[
        str,
        Option(
            "What an access line says: uvicorn, common, combined, json, or a format string with %(atoms)s.",
            _LOG,
            metavar="FORMAT",
        ),
    ] = "uvicorn"
    limit_worker_lifetime: Annotated[
        int | float | None,
        Option(
            "Seconds after which a worker is replaced, up to a tenth more at random (0: no limit).",
            _LIMIT,
            minimum=0,
        ),
    ] = None
    limit_worker_memory: Annotated[
        str | int | None,
        Option(
            "Memory above which a worker is replaced: 512MB, or 80%: of the container's limit,"
            " shared by the workers (0: no limit).",
            _LIMIT,
            metavar="SIZE",
            blank=True,
        ),
    ] = None
    timeout_worker_boot: Annotated[
        int | float | None,
        Option("Seconds within which a worker has to be ready (0: no limit).", _LIMIT, minimum=0),
    ] = None
    shutdown_delay: Annotated[
        int | float,
        Option("Seconds that a full stop goes on accepting, for endpoints that are withdrawn late.", _LIMIT, minimum=0),
    ] = 0
    limit_request_line: Annotated[
        int, Option("Bytes of a request line (0: as many as line and headers together).", _LIMIT, minimum=0)
    ] = 0
    limit_request_headers: Annotated[
        int | None,
        Option("Bytes of a request's line and headers together (default 65536).", _LIMIT, minimum=512),
    ] = None
    limit_request_fields: Annotated[int, Option("Header fields of a request (0: no limit).", _LIMIT, minimum=0)] = 128
    limit_request_body: Annotated[int, Option("Bytes of a request's body (0: no limit).", _LIMIT, minimum=0)] = 0
    limit_body_rate: Annotated[
        int | float,
        Option(
            "Bytes a second below which a request's body is too slow, on average; what the application does not"
            " read is not held against the client (0: no limit).",
            _LIMIT,
            minimum=0,
        ),
    ] = 0
    limit_queue: Annotated[
        int | None,
        Option(
            "Requests that wait above --limit-concurrency before the answer is 503 (default: as many; 0: none).",
            _LIMIT,
            minimum=0,
        ),
    ] = None
    timeout_queue: Annotated[
        int | float, Option("Seconds a request waits above --limit-concurrency.", _LIMIT, minimum=0)
    ] = 5
    timeout_request_header: Annotated[
        int | float,
        Option("Seconds from the first byte of a request to the end of its headers (0: no limit).", _LIMIT, minimum=0),
    ] = 30
    timeout_request_body: Annotated[
        int | float,
        Option("Seconds without a byte of a request's body (0: no limit).", _LIMIT, minimum=0),
    ] = 60
    timeout_write: Annotated[
        int | float,
        Option("Seconds in which a client takes nothing of its response (0: no limit).", _LIMIT, minimum=0),
    ] = 60
    forwarded_headers: Annotated[
        list[str] | str,
        Option(
            "Fields of trusted proxies that are believed, comma-separated: x-forwarded-for, -proto, -host, -port"
            " and -prefix, or forwarded alone.",
            _PROXY,
            metavar="LIST",
        ),
    ] = "x-forwarded-for,x-forwarded-proto"
    proxy_protocol: Annotated[
        bool,
        Option("Expect a PROXY protocol header (v1 or v2) on every connection, from trusted proxies only.", _PROXY),
    ] = False

    def __post_init__(self) -> None:
        """For `uvicorn.config.Config`, which settles the values."""


def _show_default(name: str, default: object) -> None:
    """`dataclass` allows no dictionary as a default, because instances would share it. Programs change LOGGING_CONFIG
    before they start a server, and expect it in the signature: the instances share it on purpose.
    """
    code = Settings.__init__.__code__
    defaults = list(Settings.__init__.__defaults__ or ())
    defaults[code.co_varnames.index(name) - code.co_argcount] = default
    Settings.__init__.__defaults__ = tuple(defaults)


_show_default("log_config", LOGGING_CONFIG)

_options: dict[str, Declared] = {}


def options() -> dict[str, Declared]:
    """Every option that can be set by name, in the order of the declarations; `app` is one of them."""
    if not _options:
        _options.update(declarations(Settings))
    return _options
