"""`Config`: the settings of one server, and what a server asks of them.

A facade. The options are declared in `settings.declared`, checked in `settings.checks`, and resolved in
`settings.components`; logging is set up in `logs.setup`, and listeners are bound in `net.endpoint`. All of these work
on values. Programs replace names of this module (`create_ssl_context`, `open`, the tables, the middleware classes), so
they are looked up here and passed on.

Owns: the order of these steps, and the state between them. Must not: open a socket except in `bind()`, fork, or start
anything. Fails by: `ConfigError` for a value that cannot work; `raising` says how loading and binding fail.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from uvicorn.errors import ConfigError, ExitCode, StartupError, describe_failure
from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.logging import LOG_LEVELS, LOGGING_CONFIG, TRACE_LOG_LEVEL
from uvicorn.logs import setup
from uvicorn.net import endpoint, sockets, tls
from uvicorn.net.tls import create_ssl_context
from uvicorn.settings import application, checks, components, headers, values
from uvicorn.settings.application import InterfaceType
from uvicorn.settings.components import HTTP_PROTOCOLS, INTERFACES, LIFESPAN, LOOP_FACTORIES, WS_PROTOCOLS
from uvicorn.settings.declared import (
    DEFAULT_DRAIN_SECONDS,
    HTTPProtocolType,
    LifespanType,
    LogLevelType,
    LoopFactoryType,
    Settings,
    WSProtocolType,
    options,
)
from uvicorn.settings.environment import EnvironmentFile
from uvicorn.settings.reload_paths import is_dir, reload_paths, resolve_reload_patterns
from uvicorn.settings.reload_paths import normalize_dirs as _normalize_dirs  # noqa: F401  # of the contract
from uvicorn.surface.later import imported_when_asked
from uvicorn.surface.replaceable import replaceable

if TYPE_CHECKING:
    import asyncio
    import socket
    import ssl
    from pathlib import Path

    from uvicorn._types import ASGI3Application
    from uvicorn.net import proxies

__all__ = [
    "DEFAULT_DRAIN_SECONDS",
    "HTTP_PROTOCOLS",
    "INTERFACES",
    "LIFESPAN",
    "LOGGING_CONFIG",
    "LOG_LEVELS",
    "LOOP_FACTORIES",
    "SSL_PROTOCOL_VERSION",
    "STARTUP_FAILURE",
    "TRACE_LOG_LEVEL",
    "WS_PROTOCOLS",
    "Config",
    "HTTPProtocolType",
    "ImportFromStringError",
    "InterfaceType",
    "LifespanType",
    "LogLevelType",
    "LoopFactoryType",
    "UvicornDeprecationWarning",
    "WSProtocolType",
    "create_ssl_context",
    "import_from_string",
    "is_dir",
    "logger",
    "options",
    "resolve_reload_patterns",
]

SSL_PROTOCOL_VERSION = 17
"""`ssl.PROTOCOL_TLS_SERVER`; the module ssl is not imported for its name."""
STARTUP_FAILURE = int(ExitCode.STARTUP)

logger = logging.getLogger("uvicorn.error")

__getattr__ = imported_when_asked(__name__, components.WRAPPERS)


def _wrapper(name: str) -> Any:
    """A middleware class, by the name that programs replace."""
    return getattr(sys.modules[__name__], name)


def replaced_wrappers() -> list[str]:
    """The names of the middleware classes that a program has replaced here, or changed a method of."""
    return components.replaced_wrappers(sys.modules[__name__])


def _make_context(**files: Any) -> ssl.SSLContext:
    """By the name that programs replace."""
    return create_ssl_context(**files)


class UvicornDeprecationWarning(UserWarning):
    """For what will be removed; a UserWarning, so that it is shown by default."""


class Config(Settings):
    """The settings of one server, as plain attributes that may be changed until it starts.

    Units are seconds, bytes and counts. Raises ConfigError for a value that cannot work. Import strings are resolved by
    `load()`, not here.
    """

    # The types of these attributes after `__post_init__`; the parameters accept more.
    workers: int
    forwarded_allow_ips: list[str] | str
    headers: list[tuple[str, str]]
    reload_dirs: list[Path]  # type: ignore[assignment]  # resolved
    reload_includes: list[str]
    reload_excludes: list[str]

    def __post_init__(self) -> None:
        self.loaded = False
        self.loaded_app: ASGI3Application
        self.http_protocol_class: type[asyncio.Protocol]
        self.ws_protocol_class: type[asyncio.Protocol] | None = None
        self.lifespan_class: type[Any]
        self.ssl: ssl.SSLContext | None = None
        self.encoded_headers: list[tuple[bytes, bytes]] = []
        self.closes = False
        """Whether every response ends its connection."""
        self.reload_dirs_excludes: list[Path] = []
        self._certificate: tls.CertificateFiles | None = None
        self._proxies: proxies.TrustedProxies | None = None
        self._raising = False
        self._announced: set[str] = set()
        """Addresses that `bind_socket` has announced, so that the server does not announce them again."""
        self._logs_in_part = False
        """Whether `load` has to set up parts of the logging configuration that a master must not import."""
        checks.normalize(self)
        warnings = checks.drop_missing_file(self)
        self._environment = None if self.env_file is None else EnvironmentFile(self.env_file)
        if self._environment is not None:
            self._environment.apply()
        self._from_environment = checks.fill_in(self)
        """Options that were unset, and what their variables, or the fallback, made of them."""
        warnings += checks.warnings_about(self)
        self._check()
        self.configure_logging()
        for warning in warnings:
            logger.warning("%s", warning)
        self._resolve_reload_paths()
        self._settled = checks.snapshot(self)
        """The options as they were found to be good."""

    def _settle_again(self) -> None:
        """Normalize and check the attributes again if a program has changed them. Raises ConfigError.

        A worker whose settings are those of its master does nothing: it would copy a megabyte of what they share.
        """
        if checks.snapshot(self) == self._settled:
            return
        checks.normalize(self)
        checks.fill_in(self)
        self._check()

    def _check(self) -> None:
        checks.check(self, {"loop": LOOP_FACTORIES, "http": HTTP_PROTOCOLS, "ws": WS_PROTOCOLS})

    def _resolve_reload_paths(self) -> None:
        names = ("reload_dirs", "reload_includes", "reload_excludes")
        dirs, includes, excludes = (values.normalized(options()[name], getattr(self, name)) for name in names)
        found = reload_paths(self.should_reload, dirs, includes, excludes, self.app_dir)
        self.reload_dirs, self.reload_dirs_excludes, self.reload_includes, self.reload_excludes = found

    def reread(self) -> Config:
        """For a reload: these settings with the environment file as it is now. Raises ConfigError.

        A copy if a variable that sets an option has changed: workers of an older generation keep their settings.
        """
        if self._environment is None:
            return self
        self._environment.apply()
        fresh = copy(self)
        for name, before in self._from_environment.items():
            if getattr(self, name) == before:  # otherwise a program has set it since
                setattr(fresh, name, None)
        found = checks.fill_in(fresh)
        if all(value == getattr(self, name) for name, value in found.items()):
            return self
        fresh._from_environment = {**self._from_environment, **found}
        return fresh

    # -- derived facts -----------------------------------------------------------------------------------------

    @replaceable
    def needs_master(self) -> bool:
        """Whether to run under a master: asked for, several workers, PID 1, or a service manager that is notified.

        Raises ConfigError when `supervise=False` contradicts another option.
        """
        return checks.needs_master(self.supervise, self.workers, self.should_reload)

    @property
    def _may_be_a_master(self) -> bool:
        try:
            return self.needs_master
        except ConfigError:
            return True

    @replaceable
    def worker_memory(self) -> int:
        """The bytes above which a worker is replaced; 0 for no limit."""
        if self.limit_worker_memory is None:
            return 0
        from uvicorn.settings import container

        return container.memory_per_worker(self.limit_worker_memory, self.workers)

    @property
    def for_a_master(self) -> list[str]:
        """The flags of the limits that are set and that only a master can enforce."""
        default = options()["timeout_worker_healthcheck"].default
        limits = {
            "limit_worker_memory": self.worker_memory,
            "limit_worker_lifetime": self.limit_worker_lifetime,
            "timeout_worker_boot": self.timeout_worker_boot,
            "timeout_worker_healthcheck": self.timeout_worker_healthcheck not in (0, default),
        }
        return [options()[name].flag for name, value in limits.items() if value]

    @property
    def should_reload(self) -> bool:
        """Whether files are watched. That takes an import string: an object's files are not known."""
        return self.reload and isinstance(self.app, str)

    @replaceable
    def drain_seconds(self) -> float:
        """The seconds that a stop may take in all."""
        if self.timeout_graceful_shutdown is None:
            return DEFAULT_DRAIN_SECONDS
        return float(self.timeout_graceful_shutdown)

    @property
    def asgi_version(self) -> Literal["2.0", "3.0"]:
        return "2.0" if self.interface == "asgi2" else "3.0"

    @property
    def is_ssl(self) -> bool:
        return checks.has_tls(self)

    @replaceable
    def server_cert(self) -> str | None:
        """The server's certificate in PEM form; None without TLS, and with `ssl_context_factory`."""
        return None if self._certificate is None else self._certificate.pem

    @property
    def use_subprocess(self) -> bool:
        return self.reload or self.workers > 1

    # -- logging -----------------------------------------------------------------------------------------------

    def configure_logging(self, complete: bool = False) -> None:
        """Apply `log_config`, and the other options under "Logging" on top of it. Raises ConfigError.

        A master imports no module of the application: handlers from there are set up by `load()`, unless `complete`.
        """
        log_options = setup.LogOptions(
            self.log_config,
            self.log_level,
            self.use_colors,
            self.access_log,
            self.access_log_file,
            self.access_log_format,
            self.log_file,
        )
        without = self.app if isinstance(self.app, str) and not complete and self._may_be_a_master else None
        self._logs_in_part = setup.configure(log_options, open, without)

    def _complete_logging(self) -> None:
        try:
            self.configure_logging(complete=True)
        except ConfigError as exc:  # caused by a module of the application
            raise StartupError(str(exc)) from exc.__cause__

    # -- what the settings name --------------------------------------------------------------------------------

    def load_components(self) -> None:
        """Import our own parts that the settings name (loop, protocols, lifespan). Raises StartupError.

        A master does this before it forks, so that its workers share the memory and start in milliseconds. Nothing of
        the application is imported.
        """
        http = components.named_protocol("http", self.http, HTTP_PROTOCOLS)
        if http is not None:
            self.http_protocol_class = http
        self.ws_protocol_class = components.named_protocol("ws", self.ws, WS_PROTOCOLS)
        if isinstance(self.loop, str) and self.loop in LOOP_FACTORIES:
            self.get_loop_factory()
        self.lifespan_class = import_from_string(LIFESPAN[self.lifespan])
        if self.interface == "wsgi":
            self.ws_protocol_class = None  # a WSGI application sees an upgrade as an ordinary request
            components.require_wsgi()
        if self.proxy_headers:
            self._proxies = components.trusted_proxies(self)
        if self.is_ssl and self.ssl_context_factory is None:
            if self._certificate is None or not self._certificate.is_current:  # the master's may be outdated by now
                self._certificate = self._certificate_files()
            self.ssl = self._certificate.context

    @property
    def _alpn_protocols(self) -> Sequence[str]:
        return components.alpn_protocols(self._serves_http2, self.__dict__.get("http_protocol_class"))

    @property
    def _serves_http2(self) -> bool:
        """A protocol class of the application's is asked for its own protocols, and only for them."""
        return self.http2 and isinstance(self.http, str) and self.http in HTTP_PROTOCOLS

    def _certificate_files(self) -> tls.CertificateFiles:
        return components.certificate_files(self, self._alpn_protocols, _make_context)

    def _context_from_factory(self) -> ssl.SSLContext:
        """What `ssl_context_factory(config, make_default)` returns. Raises StartupError."""
        factory: Any = import_from_string(self.ssl_context_factory)  # a name, if another interpreter passed it
        return tls.context_from_factory(lambda: factory(self, lambda: self._certificate_files().context))

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Inside, `load`, `load_app`, `get_loop_factory` and `bind_socket` raise StartupError.

        Outside they log what is wrong and exit with SystemExit(3), as programs expect that call them directly. A server
        needs the exception, because a master reports it once for all of its workers.
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
        """Import everything, the application included. `raising` says how it fails."""
        assert not self.loaded, "load() may be called once"
        self._settle_again()
        try:
            self.load_components()
            components.extend_path(self.app_dir)
            if self._logs_in_part:
                self._complete_logging()
            if self.http not in HTTP_PROTOCOLS:
                self.http_protocol_class = import_from_string(self.http)
            if self.ws not in WS_PROTOCOLS:
                self.ws_protocol_class = import_from_string(self.ws)
            components.note_replaced_methods(self.http_protocol_class, self.ws_protocol_class)
            if self.ssl is not None:
                self.ssl.set_alpn_protocols(self._alpn_protocols)  # a class of the application's is known only now
            elif self.is_ssl:
                self.ssl = self._context_from_factory()
        except StartupError as exc:
            self._give_up(exc)
        self.encoded_headers, self.closes, _ = headers.encode(self.headers, self.server_header)
        self.loaded_app = self.load_app()
        self.loaded = True

    def load_app(self) -> ASGI3Application:
        """The application as an ASGI 3 callable; `interface` is resolved on the way. `raising` says how it fails.

        The cause of a StartupError is the application's own exception, if there was one.
        """
        components.extend_path(self.app_dir)
        try:
            app, self.interface = application.load(self.app, self.factory, self.interface, _wrapper)
        except StartupError as exc:
            self._give_up(exc)
        app = components.traced(app, _wrapper)
        if self._proxies is not None and "ProxyHeadersMiddleware" in replaced_wrappers():
            self._proxies = None  # the program's class decides whom to trust
            app = _wrapper("ProxyHeadersMiddleware")(app, trusted_hosts=self.forwarded_allow_ips)
        return app

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """The function that makes the event loop; None leaves that to asyncio. `raising` says how it fails."""
        if self.loop not in LOOP_FACTORIES:
            components.extend_path(self.app_dir)
        try:
            factory: Callable[[], asyncio.AbstractEventLoop] | None = components.loop_factory(self.loop, LOOP_FACTORIES)
        except StartupError as exc:
            self._give_up(exc)
        return factory

    def setup_event_loop(self) -> None:
        """Removed. Raises AttributeError, which names the replacement."""
        raise AttributeError(
            "The `setup_event_loop` method was replaced by `get_loop_factory` in uvicorn 0.36.0. Pass what that returns"
            " to asyncio.Runner(loop_factory=…), or call Server.run(), which does it."
        )

    # -- sockets -----------------------------------------------------------------------------------------------

    def bind(self) -> list[sockets.Listener]:
        """Bind as the settings say (`net.endpoint.bind`). Raises BindError, and ConfigError for a setting that was
        changed to what cannot work; no socket stays open then.
        """
        self._settle_again()
        return endpoint.bind(self.host, self.port, self.uds, self.fd, self.backlog)

    def bind_socket(self) -> socket.socket:
        """One bound socket, for programs that pass it to `Server.serve(sockets=[…])`, or to a program that they start,
        which inherits it. `raising` says how it fails.
        """
        try:
            first, *others = self.bind()
        except StartupError as exc:
            self._give_up(exc)
        sockets.close_all(others)
        first.sock.set_inheritable(True)
        url = url_of(self, first.sock)
        endpoint.announce(url)
        self._announced.add(url)
        return first.sock


def url_of(config: Config, sock: socket.socket) -> str:
    """The URL of a bound socket, or the path of a Unix socket. A function, because a subclass may have a `url`."""
    return sockets.describe(sock, "https" if config.is_ssl else "http")


def announce(config: Config, sock: socket.socket) -> None:
    """Log the address of a socket that listens, unless `bind_socket` has done so."""
    url = url_of(config, sock)
    if url in config._announced:
        config._announced.discard(url)
    else:
        endpoint.announce(url)
