"""Every option, declared once.

Owns: `Config`. An option is one parameter of `Config.__init__`, annotated with its type and an `Option`; the command
line, the environment variables and the README's table are derived from that signature (`options()`), and `run()`
repeats it literally for type checkers (a test compares). Also: turning the settings into what they name (the
application, the loop factory, the connection class), by import string, so that the master loads none of it.
Must not: open a socket except in `bind()`, fork, or start anything.
Fails by: `ConfigError` for a value that cannot work; for an application that cannot be loaded as `raising` says.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from uvicorn._types import ASGI3Application, ASGIApplication, SSLContextFactory
from uvicorn.errors import ConfigError, ExitCode, StartupError, describe_failure
from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.logging import LOG_LEVELS, LOGGING_CONFIG, TRACE_LOG_LEVEL
from uvicorn.logs import files as logfiles
from uvicorn.logs import setup as logconfig
from uvicorn.net import sockets, tls
from uvicorn.net.tls import create_ssl_context as create_ssl_context  # programs import it from here
from uvicorn.settings import application, values
from uvicorn.settings import headers as fields
from uvicorn.settings.application import InterfaceType as InterfaceType
from uvicorn.settings.environment import EnvironmentFile
from uvicorn.settings.options import Declared, Option, declarations
from uvicorn.settings.watched import Watched, is_dir, resolve_reload_patterns, watched
from uvicorn.surface import overridden
from uvicorn.surface.later import imported_when_asked
from uvicorn.surface.replaceable import replaceable

if TYPE_CHECKING:
    import asyncio
    import ssl

    from uvicorn.net import proxies

__all__ = ["Config", "is_dir", "options", "resolve_reload_patterns"]

LoopFactoryType = Literal["none", "auto", "asyncio", "uvloop", "zuvloop"]
HTTPProtocolType = Literal["auto", "h11", "httptools"]
LifespanType = Literal["auto", "on", "off"]
WSProtocolType = Literal["auto", "none", "websockets", "websockets-sansio", "wsproto"]
LogLevelType = Literal["critical", "error", "warning", "info", "debug", "trace"]

# The paths of the contract, where a program may have put something else.
HTTP_PROTOCOLS: dict[str, str] = {
    "auto": "uvicorn.protocols.http.auto:AutoHTTPProtocol",
    "h11": "uvicorn.protocols.http.h11_impl:H11Protocol",
    "httptools": "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
}
WS_PROTOCOLS: dict[str, str | None] = {
    "auto": "uvicorn.protocols.websockets.auto:AutoWebSocketsProtocol",
    "none": None,
    "websockets": "uvicorn.protocols.websockets.websockets_impl:WebSocketProtocol",
    "websockets-sansio": "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol",
    "wsproto": "uvicorn.protocols.websockets.wsproto_impl:WSProtocol",
}
LIFESPAN: dict[str, str] = {
    "auto": "uvicorn.lifespan.on:LifespanOn",
    "on": "uvicorn.lifespan.on:LifespanOn",
    "off": "uvicorn.lifespan.off:LifespanOff",
}
LOOP_FACTORIES: dict[str, str | None] = {
    "none": None,
    "auto": "uvicorn.loops.auto:auto_loop_factory",
    "asyncio": "uvicorn.loops.asyncio:asyncio_loop_factory",
    "uvloop": "uvicorn.loops.uvloop:uvloop_loop_factory",
    "zuvloop": "uvicorn.loops.zuvloop:zuvloop_loop_factory",
}
INTERFACES: list[str] = ["auto", "asgi3", "asgi2", "wsgi"]
SSL_PROTOCOL_VERSION = 17
"""`ssl.PROTOCOL_TLS_SERVER`; the module ssl is not imported for its name."""
STARTUP_FAILURE = int(ExitCode.STARTUP)

logger = logging.getLogger("uvicorn.error")

_WRAPPERS = {
    "ASGI2Middleware": "uvicorn.middleware.asgi2",
    "MessageLoggerMiddleware": "uvicorn.middleware.message_logger",
    "ProxyHeadersMiddleware": "uvicorn.middleware.proxy_headers",
    "WSGIMiddleware": "uvicorn.middleware.wsgi",
}
__getattr__ = imported_when_asked(__name__, _WRAPPERS)


def _wrapper(name: str) -> Any:
    """By the name that programs replace."""
    return getattr(sys.modules[__name__], name)


def replaced_wrappers() -> list[str]:
    """The names of those that a program has replaced, or changed a method of."""
    found = []
    for name, home in _WRAPPERS.items():
        if name in globals() or home in sys.modules:  # else nobody has had it
            made = _wrapper(name)
            parts = (made, *(getattr(made, step, None) for step in ("__init__", "__call__")))
            if not all(overridden.is_ours(one, home) for one in parts):
                found.append(name)
    return found


DEFAULT_DRAIN_SECONDS = 25.0
"""What `timeout_graceful_shutdown=None` means: Kubernetes' 30 s are enough for it."""


class UvicornDeprecationWarning(UserWarning):
    """For what will go away; a UserWarning, so that it is shown by default."""


def _as_given(name: str, value: Any) -> Any:
    return value


def _is_loop(value: Any) -> bool:
    """What makes a loop; or is one, for a program that awaits `serve()` in it and passes it all the same."""
    return callable(value) or hasattr(value, "run_until_complete")


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes)


def _holds_configuration(value: Any) -> bool:
    """What `logging.config.fileConfig` takes: an open file, or a parser."""
    return hasattr(value, "readline") or hasattr(value, "sections")


_C_INT = 2**31 - 1

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


class Config:
    """The settings of one server, as plain attributes that may be changed until it starts.

    Units are seconds, bytes and counts. Raises ConfigError for a value that cannot work. What an import string names
    is looked up by `load()`, not here.
    """

    def __init__(
        self,
        app: Annotated[
            ASGIApplication | Callable[..., Any] | str,
            Option("The application to serve, as <module>:<attribute>.", _APP, metavar="APP", read=_as_given),
        ],
        host: Annotated[
            list[str] | str,
            Option("Address or name to listen on; several are comma-separated.", _BIND, restart=True, unset=""),
        ] = "127.0.0.1",
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
        ] = 8000,
        uds: Annotated[
            str | None,
            Option(
                "Listen on this Unix socket instead of an address.", _BIND, metavar="PATH", restart=True, blank=True
            ),
        ] = None,
        fd: Annotated[
            int | None,
            Option("Take over this open socket instead of making one.", _BIND, minimum=0, maximum=_C_INT, restart=True),
        ] = None,
        loop: Annotated[
            LoopFactoryType | str,
            Option("Event loop, or <module>:<factory> of one.", _IMPL, unset="none", also=("a function", _is_loop)),
        ] = "auto",
        http: Annotated[
            type[Any] | HTTPProtocolType | str,
            Option("HTTP parser, or <module>:<class> of an asyncio protocol.", _IMPL, also=("a class", callable)),
        ] = "auto",
        http2: Annotated[bool, Option("Speak HTTP/2 (not available yet).", _IMPL)] = False,
        ws: Annotated[
            type[Any] | WSProtocolType | str,
            Option(
                "WebSocket implementation, or <module>:<class> of an asyncio protocol.",
                _WS,
                unset="none",
                also=("a class", callable),
            ),
        ] = "auto",
        ws_max_size: Annotated[
            int, Option("Largest WebSocket message that is accepted, in bytes.", _WS, minimum=1)
        ] = 16 * 1024 * 1024,
        ws_max_queue: Annotated[
            int, Option("WebSocket messages that wait for the application before reading pauses.", _WS, floor=1)
        ] = 32,
        ws_ping_interval: Annotated[
            float | None, Option("Seconds between two pings to a WebSocket peer.", _WS, minimum=0)
        ] = 20.0,
        ws_ping_timeout: Annotated[
            float | None, Option("Seconds within which a WebSocket peer has to answer a ping.", _WS, minimum=0)
        ] = 20.0,
        ws_per_message_deflate: Annotated[
            bool, Option("Offer compression of WebSocket messages.", _WS, valued=True)
        ] = True,
        lifespan: Annotated[
            LifespanType, Option("Whether the application takes part in ASGI's lifespan.", _IMPL)
        ] = "auto",
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
        ] = None,
        log_config: Annotated[
            dict[str, Any] | str | os.PathLike[str] | None,
            Option(
                "Logging configuration: an .ini, .json or .yaml file.",
                _LOG,
                metavar="FILE",
                exists=True,
                also=("an open file", _holds_configuration),
            ),
        ] = LOGGING_CONFIG,
        log_level: Annotated[
            LogLevelType | int | None, Option("Least level that is logged.", _LOG, any_case=True)
        ] = None,
        access_log: Annotated[bool, Option("Log a line for every request.", _LOG)] = True,
        use_colors: Annotated[
            bool | None, Option("Colour the log; by default when it goes to a terminal.", _LOG, other_text=True)
        ] = None,
        interface: Annotated[
            InterfaceType,
            Option("What the application is: ASGI 3 or 2, or WSGI, in threads (by default ASGI, whichever).", _APP),
        ] = "auto",
        reload: Annotated[
            bool, Option("Restart when a file of the application changes (for development).", _RELOAD, restart=True)
        ] = False,
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
        ] = None,
        reload_delay: Annotated[
            float, Option("Seconds between two looks at the files.", _RELOAD, minimum=0, restart=True)
        ] = 0.25,
        reload_includes: Annotated[
            list[str] | str | None,
            Option(
                "Pattern of files to watch; *.py by default. May be given more than once.",
                _RELOAD,
                metavar="PATTERN",
                flags=("--reload-include",),
                restart=True,
            ),
        ] = None,
        reload_excludes: Annotated[
            list[str] | str | None,
            Option(
                "Pattern of files not to watch. May be given more than once.",
                _RELOAD,
                metavar="PATTERN",
                flags=("--reload-exclude",),
                restart=True,
            ),
        ] = None,
        workers: Annotated[
            int | Literal["auto"] | None,
            Option(
                "Number of worker processes, or auto: what the CPU quota allows; also WEB_CONCURRENCY."
                " More than one runs under a master.",
                _PROC,
                floor=1,
                maximum=10_000,
            ),
        ] = None,
        proxy_headers: Annotated[
            bool,
            Option("Take the client's address and scheme from what trusted proxies say.", _PROXY),
        ] = True,
        server_header: Annotated[bool, Option("Send the Server header.", _IMPL)] = True,
        date_header: Annotated[bool, Option("Send the Date header.", _IMPL)] = True,
        forwarded_allow_ips: Annotated[
            list[str] | str | None,
            Option(
                "Proxies to trust: addresses, networks or Unix sockets, comma-separated, or *;"
                " also FORWARDED_ALLOW_IPS (default 127.0.0.1, ::1).",
                _PROXY,
                metavar="LIST",
            ),
        ] = None,
        root_path: Annotated[
            str, Option("Path under which a proxy mounts the application.", _APP, metavar="PATH")
        ] = "",
        limit_concurrency: Annotated[
            int | None,
            Option(
                "Requests in flight per worker; above it they wait, then the answer is 503 (0: no limit).",
                _LIMIT,
                minimum=0,
            ),
        ] = None,
        limit_max_requests: Annotated[
            int | None, Option("Requests after which a worker is replaced (0: no limit).", _LIMIT, minimum=0)
        ] = None,
        limit_max_requests_jitter: Annotated[
            int | None,
            Option(
                "Most that is added at random to --limit-max-requests (default a tenth of it; 0: none).",
                _LIMIT,
                minimum=0,
            ),
        ] = None,
        backlog: Annotated[
            int,
            Option("Connections that wait in the kernel's queue.", _LIMIT, floor=0, ceiling=_C_INT, restart=True),
        ] = 2048,
        timeout_keep_alive: Annotated[
            int | float, Option("Seconds an idle connection is kept open.", _LIMIT, floor=0)
        ] = 5,
        timeout_notify: Annotated[int | float, None] = 30,
        timeout_graceful_shutdown: Annotated[
            int | float | None,
            Option(
                "Seconds that requests in flight and the lifespan's shutdown get to finish"
                f" (default {DEFAULT_DRAIN_SECONDS:g}; 0: at once).",
                _LIMIT,
                floor=0,
            ),
        ] = None,
        timeout_worker_healthcheck: Annotated[
            int | float,
            Option(
                "Seconds without a turn of its event loop after which a worker is replaced (0: never).",
                _LIMIT,
                minimum=0,
            ),
        ] = 30,
        callback_notify: Annotated[Callable[..., Awaitable[None]] | None, None] = None,
        ssl_keyfile: Annotated[
            str | os.PathLike[str] | None, Option("File with the private key.", _TLS, metavar="FILE", blank=True)
        ] = None,
        ssl_certfile: Annotated[
            str | os.PathLike[str] | None,
            Option("File with the certificate chain; serves HTTPS.", _TLS, metavar="FILE", blank=True),
        ] = None,
        ssl_keyfile_password: Annotated[
            str | None, Option("Password of the private key.", _TLS, also=("bytes", _is_bytes))
        ] = None,
        ssl_version: Annotated[
            int,
            Option(
                "Protocol constant of the ssl module (17: PROTOCOL_TLS_SERVER, TLS 1.2 at least).",
                _TLS,
                floor=0,
                ceiling=_C_INT,
            ),
        ] = 17,
        ssl_cert_reqs: Annotated[
            int,
            Option(
                "Whether clients need a certificate (0: none, 1: optional, 2: required).", _TLS, minimum=0, maximum=2
            ),
        ] = 0,
        ssl_ca_certs: Annotated[
            str | os.PathLike[str] | None,
            Option("File with the authorities that sign client certificates.", _TLS, metavar="FILE", blank=True),
        ] = None,
        ssl_ciphers: Annotated[
            str | None, Option("Ciphers for TLS 1.2, in OpenSSL's notation.", _TLS, blank=True)
        ] = None,
        ssl_context_factory: Annotated[SSLContextFactory | None, None] = None,
        headers: Annotated[
            list[tuple[str, str]] | None,
            Option(
                "Header sent with every response, as Name:Value. May be given more than once.",
                _IMPL,
                flags=("--header",),
                read=fields.pairs,
            ),
        ] = None,
        factory: Annotated[bool, Option("APP is a function that returns the application.", _APP)] = False,
        h11_max_incomplete_event_size: Annotated[
            int | None,
            Option("The older name of --limit-request-headers.", _LIMIT, minimum=1),
        ] = None,
        reset_contextvars: Annotated[
            bool,
            Option(
                "Run every request in a fresh copy of the context in which the server started, as is always done.",
                _IMPL,
            ),
        ] = False,
        *,
        app_dir: Annotated[
            str | None, Option("Folder to import APP from; the current one by default.", _APP, metavar="PATH")
        ] = None,
        supervise: Annotated[
            bool | None,
            Option(
                "Run under a master: by default with more than one worker, as PID 1, and when NOTIFY_SOCKET is set.",
                _PROC,
                restart=True,
            ),
        ] = None,
        pid: Annotated[
            str | os.PathLike[str] | None,
            Option("Write the master's process id to this file.", _PROC, metavar="FILE", restart=True, blank=True),
        ] = None,
        log_file: Annotated[
            str | os.PathLike[str] | None,
            Option(
                "Write the log to this file instead of standard error; SIGUSR1 reopens it.",
                _LOG,
                metavar="FILE",
                restart=True,
                blank=True,
            ),
        ] = None,
        access_log_file: Annotated[
            str | os.PathLike[str] | None,
            Option(
                "Write the access log to this file instead of standard output; SIGUSR1 reopens it.",
                _LOG,
                metavar="FILE",
                restart=True,
                blank=True,
            ),
        ] = None,
        access_log_format: Annotated[
            str,
            Option(
                "What an access line says: uvicorn, common, combined, json, or a format string with %(atoms)s.",
                _LOG,
                metavar="FORMAT",
            ),
        ] = "uvicorn",
        limit_worker_lifetime: Annotated[
            int | float | None,
            Option(
                "Seconds after which a worker is replaced, up to a tenth more at random (0: no limit).",
                _LIMIT,
                minimum=0,
            ),
        ] = None,
        limit_worker_memory: Annotated[
            str | int | None,
            Option(
                "Memory above which a worker is replaced: 512MB, or 80%: of the container's limit,"
                " shared by the workers (0: no limit).",
                _LIMIT,
                metavar="SIZE",
                blank=True,
            ),
        ] = None,
        timeout_worker_boot: Annotated[
            int | float | None,
            Option("Seconds within which a worker has to be ready (0: no limit).", _LIMIT, minimum=0),
        ] = None,
        shutdown_delay: Annotated[
            int | float,
            Option(
                "Seconds that a full stop goes on accepting, for endpoints that are withdrawn late.", _LIMIT, minimum=0
            ),
        ] = 0,
        limit_request_line: Annotated[
            int, Option("Bytes of a request line (0: as many as line and headers together).", _LIMIT, minimum=0)
        ] = 0,
        limit_request_headers: Annotated[
            int | None,
            Option("Bytes of a request's line and headers together (default 65536).", _LIMIT, minimum=512),
        ] = None,
        limit_request_fields: Annotated[
            int, Option("Header fields of a request (0: no limit).", _LIMIT, minimum=0)
        ] = 128,
        limit_request_body: Annotated[int, Option("Bytes of a request's body (0: no limit).", _LIMIT, minimum=0)] = 0,
        limit_body_rate: Annotated[
            int | float,
            Option(
                "Bytes a second below which a request's body is too slow, on average; what the application does not"
                " read is not held against the client (0: no limit).",
                _LIMIT,
                minimum=0,
            ),
        ] = 0,
        limit_queue: Annotated[
            int | None,
            Option(
                "Requests that wait above --limit-concurrency before the answer is 503 (default: as many; 0: none).",
                _LIMIT,
                minimum=0,
            ),
        ] = None,
        timeout_queue: Annotated[
            int | float, Option("Seconds a request waits above --limit-concurrency.", _LIMIT, minimum=0)
        ] = 5,
        timeout_request_header: Annotated[
            int | float,
            Option(
                "Seconds from the first byte of a request to the end of its headers (0: no limit).", _LIMIT, minimum=0
            ),
        ] = 30,
        timeout_request_body: Annotated[
            int | float,
            Option("Seconds without a byte of a request's body (0: no limit).", _LIMIT, minimum=0),
        ] = 60,
        timeout_write: Annotated[
            int | float,
            Option("Seconds in which a client takes nothing of its response (0: no limit).", _LIMIT, minimum=0),
        ] = 60,
        forwarded_headers: Annotated[
            list[str] | str,
            Option(
                "Fields of trusted proxies that are believed, comma-separated: x-forwarded-for, -proto, -host, -port"
                " and -prefix, or forwarded alone.",
                _PROXY,
                metavar="LIST",
            ),
        ] = "x-forwarded-for,x-forwarded-proto",
        proxy_protocol: Annotated[
            bool,
            Option("Expect a PROXY protocol header (v1 or v2) on every connection, from trusted proxies only.", _PROXY),
        ] = False,
    ) -> None:
        self.app = app
        self.host = host
        self.port = port
        self.uds = uds
        self.fd = fd
        self.loop = loop
        self.http = http
        self.http2 = http2
        self.ws = ws
        self.ws_max_size = ws_max_size
        self.ws_max_queue = ws_max_queue
        self.ws_ping_interval = ws_ping_interval
        self.ws_ping_timeout = ws_ping_timeout
        self.ws_per_message_deflate = ws_per_message_deflate
        self.lifespan = lifespan
        self.env_file = env_file
        self.log_config = log_config
        self.log_level = log_level
        self.access_log = access_log
        self.use_colors = use_colors
        self.interface = interface
        self.reload = reload
        self.reload_delay = reload_delay
        self.workers: int = workers  # type: ignore[assignment]  # until it is settled
        self.proxy_headers = proxy_headers
        self.server_header = server_header
        self.date_header = date_header
        self.forwarded_allow_ips: list[str] | str = forwarded_allow_ips  # type: ignore[assignment]  # the same
        self.root_path = root_path
        self.limit_concurrency = limit_concurrency
        self.limit_max_requests = limit_max_requests
        self.limit_max_requests_jitter = limit_max_requests_jitter
        self.backlog = backlog
        self.timeout_keep_alive = timeout_keep_alive
        self.timeout_notify = timeout_notify
        self.timeout_graceful_shutdown = timeout_graceful_shutdown
        self.timeout_worker_healthcheck = timeout_worker_healthcheck
        self.callback_notify = callback_notify
        self.ssl_keyfile = ssl_keyfile
        self.ssl_certfile = ssl_certfile
        self.ssl_keyfile_password = ssl_keyfile_password
        self.ssl_version = ssl_version
        self.ssl_cert_reqs = ssl_cert_reqs
        self.ssl_ca_certs = ssl_ca_certs
        self.ssl_ciphers = ssl_ciphers
        self.ssl_context_factory = ssl_context_factory
        self.headers: list[tuple[str, str]] = headers or []
        self.factory = factory
        self.h11_max_incomplete_event_size = h11_max_incomplete_event_size
        self.reset_contextvars = reset_contextvars
        self.app_dir = app_dir
        self.supervise = supervise
        self.pid = pid
        self.log_file = log_file
        self.access_log_file = access_log_file
        self.access_log_format = access_log_format
        self.limit_worker_lifetime = limit_worker_lifetime
        self.limit_worker_memory = limit_worker_memory
        self.timeout_worker_boot = timeout_worker_boot
        self.shutdown_delay = shutdown_delay
        self.limit_request_line = limit_request_line
        self.limit_request_headers = limit_request_headers
        self.limit_request_fields = limit_request_fields
        self.limit_request_body = limit_request_body
        self.limit_body_rate = limit_body_rate
        self.limit_queue = limit_queue
        self.timeout_queue = timeout_queue
        self.timeout_request_header = timeout_request_header
        self.timeout_request_body = timeout_request_body
        self.timeout_write = timeout_write
        self.forwarded_headers = forwarded_headers
        self.proxy_protocol = proxy_protocol

        self.loaded = False
        self.loaded_app: ASGI3Application
        self.ssl: ssl.SSLContext | None = None
        self._certificate: tls.CertificateFiles | None = None
        self._proxies: proxies.TrustedProxies | None = None
        self.http_protocol_class: type[asyncio.Protocol]
        self.ws_protocol_class: type[asyncio.Protocol] | None = None
        self.lifespan_class: type[Any]
        self.encoded_headers: list[tuple[bytes, bytes]] = []
        self.closes = False
        """Whether each answer ends its connection."""
        self._raising = False
        self._environment: EnvironmentFile | None = None
        self._announced: set[str] = set()
        self._from_environment: dict[str, Any] = {}
        """Settings that were unset, as a variable or its default has them."""
        self._logs_in_part = False
        remarks = self._settle()
        self._check()
        self.configure_logging()
        for remark in remarks:
            logger.warning("%s", remark)
        self._resolve_watched(
            *(
                _normalize_dirs(values.settled(options()[name], value))
                for name, value in (
                    ("reload_dirs", reload_dirs),
                    ("reload_includes", reload_includes),
                    ("reload_excludes", reload_excludes),
                )
            )
        )

    # -- what the settings say ---------------------------------------------------------------------------------

    def _settle(self) -> list[str]:
        """Make every value plain, and read the environment file, which may set some: what there is to say of them."""
        if isinstance(self.app, str) and self.app.count(".") == 3 and self.app.replace(".", "").isdigit():
            raise ConfigError(
                f"The application comes first: run(app, {self.app!r}, …), but an address was given in its place."
            )
        self._make_plain()
        remarks = []
        if self.env_file is not None and not os.path.exists(self.env_file):
            remarks.append(f"There is no environment file {os.fspath(self.env_file)!r}: going on without it.")
            self.env_file = None
        if self.env_file is not None:
            self._environment = EnvironmentFile(self.env_file)
            self._environment.apply()
        for name, read in _STAND_INS.items():
            given = getattr(self, name)
            setattr(self, name, read(given))
            if given is None:
                self._from_environment[name] = getattr(self, name)
        dropped = fields.encode(self.headers).dropped
        if dropped:
            said = ", ".join(f"{name}: {value}" for name, value in dropped)
            remarks.append(f"--header {said} is not sent: how a connection goes on is the server's business.")
            self.headers = [pair for pair in self.headers if pair not in dropped]
        if self.ssl_ca_certs is not None and not (self.ssl_certfile or self.ssl_keyfile or self.ssl_context_factory):
            remarks.append("--ssl-ca-certs has no effect without --ssl-certfile: connections are not encrypted.")
        return remarks

    def _make_plain(self) -> None:
        for name, option in options().items():
            if name in self.__dict__ and name not in ("reload_dirs", "reload_includes", "reload_excludes"):
                setattr(self, name, values.settled(option, getattr(self, name)))
        self.headers = self.headers or []
        self.timeout_notify = values.seconds("timeout_notify", self.timeout_notify, 30)
        self.callback_notify = values.function("callback_notify", self.callback_notify)
        self.ssl_context_factory = values.function("ssl_context_factory", self.ssl_context_factory)

    def _settle_again(self) -> None:
        """A program may have changed some attributes since: the start relies on plain ones. Raises ConfigError."""
        self._make_plain()
        self.workers = _worker_count(self.workers)
        self.forwarded_allow_ips = _trusted_list(self.forwarded_allow_ips)
        self._check()

    def _check(self) -> None:
        for name, known in (("loop", LOOP_FACTORIES), ("http", HTTP_PROTOCOLS), ("ws", WS_PROTOCOLS)):
            value = getattr(self, name)
            if isinstance(value, str) and value not in known and ":" not in value:
                raise ConfigError(
                    f"--{name} must be one of {', '.join(sorted(known))},"
                    f" or an import string <module>:<attribute>, not {value!r}."
                )
        if self.access_log_format != "uvicorn":
            from uvicorn.logs import formats as accesslog

            accesslog.compiled(self.access_log_format)
        if self.limit_worker_memory is not None:
            from uvicorn.settings import container

            container.parse_size(self.limit_worker_memory)
        from uvicorn.net import proxies

        wrong = proxies.misnamed(_comma_separated(self.forwarded_headers))
        if wrong:
            raise ConfigError(f"--forwarded-headers: {wrong}")
        if self.http2:
            raise ConfigError("--http2 is not available yet: leave it out, and clients speak HTTP/1.1.")
        if not _comma_separated(self.host) and not isinstance(self.host, str):
            raise ConfigError("--host must name an address, or be empty text for all of them, not an empty list.")
        try:
            self.root_path.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"--root-path {self.root_path!r} cannot be encoded in UTF-8.") from None
        if self.ssl_keyfile and not (self.ssl_certfile or self.ssl_context_factory):
            raise ConfigError("--ssl-keyfile needs --ssl-certfile.")
        if self.uds is not None and self.fd is not None:
            raise ConfigError("--uds and --fd cannot be used together: choose one.")

    @replaceable
    def needs_master(self) -> bool:
        """Whether a master is wanted: asked for, several workers, PID 1, or a service manager that is notified."""
        if self.should_reload:
            if self.supervise is False:
                raise ConfigError("--no-supervise serves with one process, and --reload needs a second: leave one out.")
            return True
        if self.supervise is not None:
            if not self.supervise and self.workers > 1:
                raise ConfigError("--no-supervise serves with one process: leave it out, or use --workers 1.")
            return self.supervise
        return self.workers > 1 or os.getpid() == 1 or "NOTIFY_SOCKET" in os.environ

    @property
    def _may_be_a_master(self) -> bool:
        try:
            return self.needs_master
        except ConfigError:
            return True

    def reread(self) -> Config:
        """For a reload: these settings with the environment file as it is now. Raises ConfigError.

        A copy when a variable stands for a setting and has changed: workers of an older generation keep theirs.
        """
        if self._environment is None:
            return self
        self._environment.apply()
        found = {
            name: _STAND_INS[name](None)
            for name, before in self._from_environment.items()
            if getattr(self, name) == before  # else a program has set it since
        }
        if all(value == getattr(self, name) for name, value in found.items()):
            return self
        fresh = copy(self)
        vars(fresh).update(found)
        fresh._from_environment = {**self._from_environment, **found}
        return fresh

    @replaceable
    def worker_memory(self) -> int:
        """Bytes above which a worker is to be replaced; 0 for no limit."""
        if self.limit_worker_memory is None:
            return 0
        from uvicorn.settings import container

        return container.memory_per_worker(self.limit_worker_memory, self.workers)

    @property
    def for_a_master(self) -> list[str]:
        """The limits that are set and that a master alone can keep, by their flags."""
        usual = options()["timeout_worker_healthcheck"].default
        limits = {
            "limit_worker_memory": self.worker_memory,
            "limit_worker_lifetime": self.limit_worker_lifetime,
            "timeout_worker_boot": self.timeout_worker_boot,
            "timeout_worker_healthcheck": self.timeout_worker_healthcheck not in (0, usual),
        }
        return [options()[name].flag for name, value in limits.items() if value]

    @property
    def should_reload(self) -> bool:
        """Whether files are watched. What an application given as an object came from, nobody knows."""
        return self.reload and isinstance(self.app, str)

    @replaceable
    def drain_seconds(self) -> float:
        """The whole time a stop may take, in seconds."""
        if self.timeout_graceful_shutdown is None:
            return DEFAULT_DRAIN_SECONDS
        return float(self.timeout_graceful_shutdown)

    @property
    def asgi_version(self) -> Literal["2.0", "3.0"]:
        return "2.0" if self.interface == "asgi2" else "3.0"

    @property
    def is_ssl(self) -> bool:
        return bool(self.ssl_keyfile or self.ssl_certfile or self.ssl_context_factory)

    @replaceable
    def server_cert(self) -> str | None:
        """The certificate that clients are shown, in PEM form; None without TLS or with a context of the program's."""
        return None if self._certificate is None else self._certificate.pem

    @property
    def use_subprocess(self) -> bool:
        return self.reload or self.workers > 1

    # -- what the settings name --------------------------------------------------------------------------------

    def configure_logging(self, complete: bool = False) -> None:
        """Apply `log_config`, then `log_level`, `use_colors`, `access_log`, the log files and the format on top of it.

        A master imports no module of the application: where there may be one, handlers from there wait for `load()`,
        unless the configuration is to be `complete`. Raises ConfigError for a log file that cannot be opened.
        """
        logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
        if self.log_config is not None:
            try:
                without = self.app if isinstance(self.app, str) and not complete and self._may_be_a_master else None
                wanted = self.log_config if isinstance(self.log_config, dict) else _read_log_config(self.log_config)
                self._logs_in_part = logconfig.apply(wanted, self.use_colors, without)
            except Exception as exc:  # whatever a parser, a handler's class or a formatter makes of it
                source = self.log_config if isinstance(self.log_config, str) else type(self.log_config).__name__
                reason = f"there is no {exc}" if isinstance(exc, KeyError) else str(exc.__cause__ or exc)
                where = f": {exc}" if exc.__cause__ is not None else ""
                raise ConfigError(f"--log-config {source} cannot be used{where}: {reason.removesuffix('.')}.") from exc
        if self.log_level is not None:
            level = LOG_LEVELS[self.log_level] if isinstance(self.log_level, str) else self.log_level
            for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
                logging.getLogger(name).setLevel(level)
        access = logging.getLogger("uvicorn.access")
        if not self.access_log:
            access.handlers = []
            access.propagate = False
        elif self.access_log_file is not None:
            logfiles.to_file(["uvicorn.access"], "--access-log-file", self.access_log_file, batched=True)
            access.propagate = False  # instead of elsewhere, which is also above
        elif self.log_config is not None:
            logfiles.take("uvicorn.access", batched=True)
        if self.access_log and self.access_log_format != "uvicorn":
            self._format_access_log(access)
        if self.log_file is not None:
            logfiles.to_file(["uvicorn", "uvicorn.error", "uvicorn.asgi"], "--log-file", self.log_file)
        elif self.log_config is not None:
            for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
                logfiles.take(name)

    def _format_access_log(self, access: logging.Logger) -> None:
        """The format asked for wins over the formatters of this logger's own handlers; it gets one if it has none."""
        from uvicorn.logs import formats as accesslog

        formatter = accesslog.RequestFormatter(self.access_log_format)
        if not access.handlers:
            access.addHandler(logging.StreamHandler(sys.stdout))
            access.propagate = False
            logfiles.take(access.name, batched=True)
        for handler in access.handlers:
            handler.setFormatter(formatter)

    def _resolve_watched(self, dirs: list[str], includes: list[str], excludes: list[str]) -> None:
        found = Watched([], [], [], [])
        if self.should_reload:
            found = watched(dirs, includes, excludes, self.app_dir)
        elif dirs or includes or excludes:
            logger.warning(
                "Current configuration will not reload as not all conditions are met, please refer to documentation."
            )
        self.reload_dirs, self.reload_dirs_excludes, self.reload_includes, self.reload_excludes = found

    def load_components(self) -> None:
        """Import our own parts that the settings name (loop, connection, lifespan); nothing of the application's.

        A master does this before it forks, so that its workers share the pages and start in milliseconds.
        Import strings of the user's are left to the worker.
        """
        if self.http in HTTP_PROTOCOLS:
            try:
                self.http_protocol_class = import_from_string(HTTP_PROTOCOLS[self.http])
            except ImportFromStringError:
                raise StartupError(
                    f"--http {self.http}: the package {self.http} is not installed. Run: pip install {self.http}"
                ) from None
        self.ws_protocol_class = None
        target = WS_PROTOCOLS.get(self.ws) if isinstance(self.ws, str) else None
        if target is not None:
            try:
                self.ws_protocol_class = import_from_string(target)
            except ImportFromStringError:
                package = str(self.ws).removesuffix("-sansio")
                raise StartupError(
                    f"--ws {self.ws}: the package {package} is not installed. Run: pip install {package}"
                ) from None
        if self.loop in LOOP_FACTORIES:
            self.get_loop_factory()
        self.lifespan_class = import_from_string(LIFESPAN[self.lifespan])
        if self.interface == "wsgi":
            self.ws_protocol_class = None  # an upgrade is a request like any other
            if importlib.util.find_spec("a2wsgi") is None:
                raise StartupError("--interface wsgi: the package a2wsgi is not installed. Run: pip install a2wsgi")
        if self.proxy_headers:
            from uvicorn.net import proxies

            fields = frozenset(name.lower().encode() for name in _comma_separated(self.forwarded_headers))
            self._proxies = proxies.TrustedProxies(self.forwarded_allow_ips, fields)
        if self.is_ssl and self.ssl_context_factory is None:
            self._load_certificate()

    def _load_certificate(self) -> None:
        if self._certificate is None or not self._certificate.is_current:  # what a master has read may be old by now
            self._certificate = self._certificate_files()
        self.ssl = self._certificate.context

    def _certificate_files(self) -> tls.CertificateFiles:
        """Read the files of the `ssl_*` settings. Raises StartupError."""
        options = tls.ContextOptions(
            certfile=self.ssl_certfile,
            keyfile=self.ssl_keyfile,
            password=self.ssl_keyfile_password,
            ssl_version=self.ssl_version,
            cert_reqs=self.ssl_cert_reqs,
            ca_certs=self.ssl_ca_certs,
            ciphers=self.ssl_ciphers,
        )
        return tls.CertificateFiles(options, self._alpn_protocols, _make_context)

    @property
    def _alpn_protocols(self) -> Sequence[str]:
        """What clients are offered by ALPN (RFC 7301): a connection class may name other protocols than HTTP/1.1."""
        protocols: Sequence[str] = getattr(self.__dict__.get("http_protocol_class"), "alpn_protocols", ["http/1.1"])
        return protocols

    def _context_from_factory(self) -> ssl.SSLContext:
        """What `ssl_context_factory(config, make_default)` makes. Raises StartupError."""
        factory: Any = import_from_string(self.ssl_context_factory)  # a name, if another interpreter passed it
        return tls.context_from_factory(lambda: factory(self, lambda: self._certificate_files().context))

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Inside, `load`, `load_app`, `get_loop_factory` and `bind_socket` raise StartupError.

        Outside they log what is wrong and leave by SystemExit(3): that is what programs expect which call them
        directly. A server needs the cause itself, because a master says it once for all of its workers.
        """
        before, self._raising = self._raising, True
        try:
            yield
        finally:
            self._raising = before

    def _give_up(self, failure: StartupError) -> NoReturn:
        if self._raising:
            raise failure
        logger.error("%s", describe_failure(failure))
        raise SystemExit(STARTUP_FAILURE) from failure

    def load(self) -> None:
        """Import everything, the application included. Fails as `raising` says."""
        assert not self.loaded, "load() may be called once"
        self._settle_again()
        try:
            self.load_components()
            self._extend_path()
            if self._logs_in_part:
                self._complete_logging()
            if self.http not in HTTP_PROTOCOLS:
                self.http_protocol_class = import_from_string(self.http)
            if self.ws not in WS_PROTOCOLS:
                self.ws_protocol_class = import_from_string(self.ws)
            self._heed_protocols()
            if self.ssl is not None:
                self.ssl.set_alpn_protocols(self._alpn_protocols)  # a class of the application's is known only now
            elif self.is_ssl:
                self.ssl = self._context_from_factory()
        except StartupError as exc:
            self._give_up(exc)
        self.encoded_headers, self.closes, _ = fields.encode(self.headers)
        if self.server_header and b"server" not in dict(self.encoded_headers):
            self.encoded_headers.insert(0, (b"server", b"uvicorn"))
        self.loaded_app = self.load_app()
        self.loaded = True

    def _complete_logging(self) -> None:
        try:
            self.configure_logging(complete=True)
        except ConfigError as exc:  # a module of the application's is to blame
            raise StartupError(str(exc)) from exc.__cause__

    def _heed_protocols(self) -> None:
        """Protocols of the program's that are made of ours, and what it has changed of ours."""
        overridden.warn_of_functions()
        for made in (self.http_protocol_class, self.ws_protocol_class):
            if hasattr(made, "never_called"):
                getattr(made, "heed", bool)()  # what was replaced on the class since it was made
                overridden.warn_of_uncalled(made)

    def load_app(self) -> ASGI3Application:
        """The application as an ASGI 3 callable; `interface` is resolved on the way. Fails as `raising` says.

        The cause of a StartupError is the application's own exception when there was one.
        """
        self._extend_path()
        try:
            app, self.interface = application.load(self.app, self.factory, self.interface, _wrapper)
        except StartupError as exc:
            self._give_up(exc)
        if logging.getLogger("uvicorn.asgi").isEnabledFor(TRACE_LOG_LEVEL):
            app = _wrapper("MessageLoggerMiddleware")(app)
        if self._proxies is not None and "ProxyHeadersMiddleware" in replaced_wrappers():
            self._proxies = None  # whom the program believes is its own affair then
            app = _wrapper("ProxyHeadersMiddleware")(app, trusted_hosts=self.forwarded_allow_ips)
        return app

    def _extend_path(self) -> None:
        if self.app_dir is not None and self.app_dir not in sys.path:
            sys.path.insert(0, self.app_dir)

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the event loop; None leaves that to asyncio. Fails as `raising` says."""
        try:
            if self.loop in LOOP_FACTORIES:
                target = LOOP_FACTORIES[self.loop]
                return None if target is None else import_from_string(target)()
            self._extend_path()
            factory: Callable[[], asyncio.AbstractEventLoop] = import_from_string(self.loop)
            if not callable(factory):
                raise StartupError(
                    f"loop={self.loop!r} makes no event loop. A loop that is there already is one to await"
                    " server.serve() in; anything else needs a function that returns a loop."
                )
        except StartupError as exc:
            self._give_up(exc)
        return factory

    def setup_event_loop(self) -> None:
        """Gone: who still calls it hears what to call."""
        raise AttributeError(
            "The `setup_event_loop` method was replaced by `get_loop_factory` in uvicorn 0.36.0. Pass what that returns"
            " to asyncio.Runner(loop_factory=…), or call Server.run(), which does it."
        )

    # -- sockets -----------------------------------------------------------------------------------------------

    def bind(self) -> list[sockets.Listener]:
        """Bind as the settings say, or take what a service manager passed and listen on that. Raises BindError, or
        ConfigError for a setting that was changed to what cannot work; nothing stays open then.

        Sockets that were passed replace `host`, `port` and `uds`: a unit with a socket means it, and the address in its
        command would be a second one that nobody asked for. `fd` names a descriptor, so it is the one that is meant.
        """
        self._settle_again()
        passed = sockets.take_passed()
        if self.fd is not None:
            return [sockets.adopt(self.fd, self.backlog)]
        if passed:
            listeners = sockets.adopt_passed(passed, self.backlog)
            named = ", ".join(f"{name} ({one.url})" for name, one in zip(passed.values(), listeners, strict=True))
            logger.info("Using what the service manager passed, and not --host, --port or --uds: %s", named)
            return listeners
        if self.uds is not None:
            return [sockets.bind_unix(self.uds, self.backlog)]
        return sockets.bind_tcp(_comma_separated(self.host or "") or "", self.port, self.backlog)

    def bind_socket(self) -> socket.socket:
        """One bound socket, for programs that pass it to `Server.serve(sockets=[…])` or to a program that they start,
        which inherits it. Fails as `raising` says.
        """
        try:
            first, *others = self.bind()
        except StartupError as exc:
            self._give_up(exc)
        sockets.close_all(others)
        first.sock.set_inheritable(True)
        url = url_of(self, first.sock)
        log_address(url)
        self._announced.add(url)
        return first.sock


def url_of(config: Config, sock: socket.socket) -> str:
    """What a person can open, or the path of a Unix socket. A subclass may have a `url` of its own."""
    return sockets.describe(sock, "https" if config.is_ssl else "http")


def _make_context(**options: Any) -> ssl.SSLContext:
    """By the name that programs replace."""
    return create_ssl_context(**options)


def announce(config: Config, sock: socket.socket) -> None:
    """Say where it listens, unless `bind_socket` has said so."""
    url = url_of(config, sock)
    if url in config._announced:
        config._announced.discard(url)
    else:
        log_address(url)


def log_address(url: str) -> None:
    """The line that people and tools wait for."""
    message = "Uvicorn running on %s (Press CTRL+C to quit)"
    colored = "Uvicorn running on \x1b[1m%s\x1b[0m (Press CTRL+C to quit)"
    logger.info(message, url, extra={"color_message": colored})


def _read_log_config(path: str | os.PathLike[str]) -> dict[str, Any] | str | os.PathLike[str]:
    """The dictionary in a .json or .yaml file. Any other is in the .ini form of `logging.config`, and left to it."""
    suffix = os.path.splitext(path)[1].lower() if isinstance(path, (str, os.PathLike)) else ""
    if suffix == ".json":
        import json

        with open(path) as file:
            loaded = json.load(file)
    elif suffix in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError:
            raise ImportError("YAML needs the package PyYAML. Run: pip install PyYAML") from None
        with open(path) as file:
            loaded = yaml.safe_load(file)
    else:
        return path
    if not isinstance(loaded, dict):
        raise ValueError("it holds no dictionary for logging.config.dictConfig")
    return loaded


def _normalize_dirs(value: list[str] | str | None) -> list[str]:
    """One, several or none, as a list."""
    if isinstance(value, (str, os.PathLike)):
        value = [os.fspath(value)]
    return [os.fspath(one) for one in value or ()]


def _comma_separated(value: list[str] | str) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    return [part.strip() for part in parts if part.strip()]


def _worker_count(workers: int | str | None) -> int:
    if workers is None:
        text = os.environ.get("WEB_CONCURRENCY", "").strip()
        workers = values.settled(options()["workers"], text, "WEB_CONCURRENCY") if text else 1
    if workers == "auto":
        from uvicorn.settings import container

        return container.cpus()
    return int(workers)


def _trusted_list(hosts: list[str] | str | None) -> list[str] | str:
    from uvicorn.net import proxies

    name, value = "--forwarded-allow-ips", hosts
    if value is None:
        name, value = "FORWARDED_ALLOW_IPS", os.environ.get("FORWARDED_ALLOW_IPS", proxies.DEFAULT)
    for text in proxies.TrustedProxies(value).misspelt():
        raise ConfigError(f"{name}: {text!r} is no address and no network.")
    return value


_STAND_INS: dict[str, Callable[[Any], Any]] = {"workers": _worker_count, "forwarded_allow_ips": _trusted_list}
"""Settings that a variable gives where they are unset."""

_declared: dict[str, Declared] = {}


def options() -> dict[str, Declared]:
    """Every option that a person can set, in the order of the signature. `app` is among them."""
    if not _declared:
        _declared.update(declarations(Config.__init__))
    return _declared
