"""Every option, declared once.

Owns: `Config`. An option is one parameter of `Config.__init__`, annotated with its type and an `Option`; the command
line, the environment variables and the README's table are derived from that signature (`options()`), and `run()`
repeats it literally for type checkers (a test compares). Also: turning the settings into what they name (the
application, the loop factory, the connection class), by import string, so that the master loads none of it.
Must not: open a socket except in `bind()`, fork, or start anything.
Fails by: `ConfigError` for a value that cannot work, `StartupError` for an application that cannot be loaded.
"""

from __future__ import annotations

import inspect
import logging.config
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from uvicorn import sockets
from uvicorn._types import ASGI3Application, ASGIApplication
from uvicorn.errors import ConfigError, StartupError
from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.logging import LOG_LEVELS, LOGGING_CONFIG, TRACE_LOG_LEVEL

if TYPE_CHECKING:
    import asyncio

LoopFactoryType = Literal["none", "auto", "asyncio", "uvloop"]
HTTPProtocolType = Literal["auto", "h11", "httptools"]
LifespanType = Literal["auto", "on", "off"]
InterfaceType = Literal["auto", "asgi3", "asgi2"]
LogLevelType = Literal["critical", "error", "warning", "info", "debug", "trace"]

HTTP_PROTOCOLS: dict[str, str] = {
    "auto": "uvicorn.worker.http.auto:AutoConnection",
    "h11": "uvicorn.worker.http.h11_connection:H11Connection",
    "httptools": "uvicorn.worker.http.httptools_connection:HttptoolsConnection",
}
LIFESPAN: dict[str, str] = {
    "auto": "uvicorn.worker.lifespan:LifespanOn",
    "on": "uvicorn.worker.lifespan:LifespanOn",
    "off": "uvicorn.worker.lifespan:LifespanOff",
}
LOOP_FACTORIES: dict[str, str | None] = {
    "none": None,
    "auto": "uvicorn.worker.loops:auto_loop_factory",
    "asyncio": "uvicorn.worker.loops:asyncio_loop_factory",
    "uvloop": "uvicorn.worker.loops:uvloop_loop_factory",
}
INTERFACES: list[str] = ["auto", "asgi3", "asgi2"]

DEFAULT_DRAIN_SECONDS = 25.0
"""What `timeout_graceful_shutdown=None` means: Kubernetes' 30 s are enough for it."""


@dataclass(frozen=True, slots=True)
class Option:
    """How one parameter of `Config` is shown to a person.

    `help` is one sentence; `flags` replaces the flag derived from the name; `metavar` names the value; `minimum` and
    `maximum` bound a number. `group` is the heading in `--help` and in the README.
    """

    help: str
    group: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    minimum: float | None = None
    maximum: float | None = None

    def check(self, name: str, value: Any) -> None:
        """Raises ConfigError when a number is out of bounds."""
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return
        if self.minimum is not None and value < self.minimum:
            raise ConfigError(f"{name} must be at least {self.minimum:g}, not {value:g}.")
        if self.maximum is not None and value > self.maximum:
            raise ConfigError(f"{name} must be at most {self.maximum:g}, not {value:g}.")


_APP, _BIND, _PROC, _IMPL, _LOG, _LIMIT = (
    "Application",
    "Binding",
    "Processes",
    "Implementation",
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
            Option("The application to serve, as <module>:<attribute>.", _APP, metavar="APP"),
        ],
        host: Annotated[str, Option("Address or name to listen on.", _BIND)] = "127.0.0.1",
        port: Annotated[
            int, Option("Port to listen on; 0 lets the system choose one.", _BIND, minimum=0, maximum=65535)
        ] = 8000,
        uds: Annotated[
            str | None, Option("Listen on this Unix socket instead of an address.", _BIND, metavar="PATH")
        ] = None,
        fd: Annotated[int | None, Option("Take over this open socket instead of making one.", _BIND, minimum=0)] = None,
        loop: Annotated[LoopFactoryType | str, Option("Event loop, or <module>:<factory> of one.", _IMPL)] = "auto",
        http: Annotated[
            HTTPProtocolType | str, Option("HTTP parser, or <module>:<class> of an asyncio protocol.", _IMPL)
        ] = "auto",
        lifespan: Annotated[
            LifespanType, Option("Whether the application takes part in ASGI's lifespan.", _IMPL)
        ] = "auto",
        log_config: Annotated[dict[str, Any] | None, None] = LOGGING_CONFIG,
        log_level: Annotated[LogLevelType | int | None, Option("Least level that is logged.", _LOG)] = None,
        access_log: Annotated[bool, Option("Log a line for every request.", _LOG)] = True,
        use_colors: Annotated[
            bool | None, Option("Colour the log; by default when it goes to a terminal.", _LOG)
        ] = None,
        interface: Annotated[InterfaceType, Option("ASGI version of the application.", _APP)] = "auto",
        workers: Annotated[
            int | None,
            Option(
                "Number of worker processes; also WEB_CONCURRENCY. More than one runs under a master.",
                _PROC,
                minimum=1,
            ),
        ] = None,
        server_header: Annotated[bool, Option("Send the Server header.", _IMPL)] = True,
        date_header: Annotated[bool, Option("Send the Date header.", _IMPL)] = True,
        root_path: Annotated[
            str, Option("Path under which a proxy mounts the application.", _APP, metavar="PATH")
        ] = "",
        limit_concurrency: Annotated[
            int | None,
            Option("Requests in flight per worker above which the answer is 503.", _LIMIT, minimum=1),
        ] = None,
        backlog: Annotated[int, Option("Connections that wait in the kernel's queue.", _LIMIT, minimum=1)] = 2048,
        timeout_keep_alive: Annotated[
            int | float, Option("Seconds an idle connection is kept open.", _LIMIT, minimum=0)
        ] = 5,
        timeout_graceful_shutdown: Annotated[
            int | float | None,
            Option(
                "Seconds that requests in flight and the lifespan's shutdown get to finish"
                f" (default {DEFAULT_DRAIN_SECONDS:g}; 0: at once).",
                _LIMIT,
                minimum=0,
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
        factory: Annotated[bool, Option("APP is a function that returns the application.", _APP)] = False,
        h11_max_incomplete_event_size: Annotated[int | None, None] = None,
        *,
        app_dir: Annotated[
            str | None,
            Option("Folder to import APP from; the current one by default.", _APP, metavar="PATH"),
        ] = None,
        supervise: Annotated[
            bool | None,
            Option(
                "Run under a master: by default with more than one worker, as PID 1, and when NOTIFY_SOCKET is set.",
                _PROC,
            ),
        ] = None,
    ) -> None:
        self.app = app
        self.host = host
        self.port = port
        self.uds = uds
        self.fd = fd
        self.loop = loop
        self.http = http
        self.lifespan = lifespan
        self.log_config = log_config
        self.log_level = log_level
        self.access_log = access_log
        self.use_colors = use_colors
        self.interface = interface
        self.workers = _worker_count(workers)
        self.server_header = server_header
        self.date_header = date_header
        self.root_path = root_path
        self.limit_concurrency = limit_concurrency
        self.backlog = backlog
        self.timeout_keep_alive = timeout_keep_alive
        self.timeout_graceful_shutdown = timeout_graceful_shutdown
        self.timeout_worker_healthcheck = timeout_worker_healthcheck
        self.factory = factory
        self.h11_max_incomplete_event_size = h11_max_incomplete_event_size
        self.app_dir = app_dir
        self.supervise = supervise

        self.loaded = False
        self.loaded_app: ASGI3Application
        self.http_protocol_class: type[asyncio.Protocol]
        self.lifespan_class: type[Any]
        self._check()
        self.configure_logging()

    # -- what the settings say ---------------------------------------------------------------------------------

    def _check(self) -> None:
        for name, option in options().items():
            option.spec.check(option.flag, getattr(self, name))
            if option.choices and not option.free and getattr(self, name) not in (*option.choices, None):
                allowed = ", ".join(option.choices)
                raise ConfigError(f"{option.flag} must be one of {allowed}, not {getattr(self, name)!r}.")
        if isinstance(self.log_level, str) and self.log_level not in LOG_LEVELS:
            raise ConfigError(f"--log-level must be one of {', '.join(LOG_LEVELS)}, not {self.log_level!r}.")
        for name, known in (("loop", LOOP_FACTORIES), ("http", HTTP_PROTOCOLS)):
            value = getattr(self, name)
            if isinstance(value, str) and value not in known and ":" not in value:
                raise ConfigError(
                    f"--{name} must be one of {', '.join(sorted(known))},"
                    f" or an import string <module>:<attribute>, not {value!r}."
                )
        if self.uds is not None and self.fd is not None:
            raise ConfigError("--uds and --fd cannot be used together: choose one.")
        if isinstance(self.app, str) and self.app.count(".") == 3 and self.app.replace(".", "").isdigit():
            raise ConfigError(
                f"The application comes first: run(app, {self.app!r}, …), but an address was given in its place."
            )

    @property
    def needs_master(self) -> bool:
        """Whether a master is wanted: asked for, several workers, PID 1, or a service manager that is notified."""
        if self.supervise is not None:
            if not self.supervise and self.workers > 1:
                raise ConfigError("--no-supervise serves with one process: leave it out, or use --workers 1.")
            return self.supervise
        return self.workers > 1 or os.getpid() == 1 or "NOTIFY_SOCKET" in os.environ

    @property
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
        return False

    # -- what the settings name --------------------------------------------------------------------------------

    def configure_logging(self) -> None:
        """Apply `log_config`, then `log_level`, `use_colors` and `access_log` on top of it."""
        logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
        if self.log_config is not None:
            wanted = self.log_config
            if self.use_colors in (True, False) and "formatters" in wanted:
                formatters = {
                    name: {**spec, "use_colors": self.use_colors} if name in ("default", "access") else spec
                    for name, spec in wanted["formatters"].items()
                }
                wanted = {**wanted, "formatters": formatters}
            logging.config.dictConfig(wanted)
        if self.log_level is not None:
            level = LOG_LEVELS[self.log_level] if isinstance(self.log_level, str) else self.log_level
            for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
                logging.getLogger(name).setLevel(level)
        if not self.access_log:
            access = logging.getLogger("uvicorn.access")
            access.handlers = []
            access.propagate = False

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
                    f"--http {self.http}: the package {self.http} is not installed."
                    " Run: pip install 'uvicorn[standard]'"
                ) from None
        if self.loop in LOOP_FACTORIES:
            self.get_loop_factory()
        self.lifespan_class = import_from_string(LIFESPAN[self.lifespan])

    def load(self) -> None:
        """Import everything, the application included. Raises StartupError when something cannot be had."""
        assert not self.loaded, "load() may be called once"
        self.load_components()
        if self.http not in HTTP_PROTOCOLS:
            self._extend_path()
            self.http_protocol_class = import_from_string(self.http)
        self.loaded_app = self.load_app()
        self.loaded = True

    def load_app(self) -> ASGI3Application:
        """The application as an ASGI 3 callable; `interface` is resolved on the way.

        Raises StartupError; its cause is the application's own exception when there was one.
        """
        self._extend_path()
        try:
            loaded = import_from_string(self.app)
        except ImportFromStringError as exc:
            raise StartupError(f"Error loading ASGI app. {exc}") from exc.__cause__
        except SystemExit as exc:
            raise StartupError(f"Error loading ASGI app. It called sys.exit({exc.code!r}) while imported.") from exc
        loaded = self._call_factory(loaded)
        if self.interface == "auto":
            self.interface = "asgi2" if is_double_callable(loaded) else "asgi3"
        if self.interface == "asgi2":
            from uvicorn.middleware.asgi2 import ASGI2Middleware

            loaded = ASGI2Middleware(loaded)
        return loaded  # type: ignore[no-any-return]  # whatever it is: calling it says whether it is an application

    def _extend_path(self) -> None:
        if self.app_dir is not None and self.app_dir not in sys.path:
            sys.path.insert(0, self.app_dir)

    def _call_factory(self, loaded: Any) -> Any:
        try:
            made = loaded() if self.factory or _takes_nothing(loaded) else loaded
        except TypeError as exc:
            if self.factory:
                raise StartupError(f"Error loading ASGI app factory: {exc}") from exc
            return loaded
        except Exception as exc:
            raise StartupError(f"Error loading ASGI app factory: {exc}") from exc
        if made is not loaded and not self.factory:
            logging.getLogger("uvicorn.error").warning(
                "ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly."
            )
        if not callable(made):
            raise StartupError(
                f"Error loading ASGI app. {self.app!r} is {type(made).__name__!r}, which is not callable."
            )
        return made

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the event loop; None leaves that to asyncio. Raises StartupError."""
        if self.loop not in LOOP_FACTORIES:
            self._extend_path()
            factory: Callable[[], asyncio.AbstractEventLoop] = import_from_string(self.loop)
            return factory
        target = LOOP_FACTORIES[self.loop]
        return None if target is None else import_from_string(target)()

    # -- sockets -----------------------------------------------------------------------------------------------

    def bind(self) -> list[sockets.Listener]:
        """Bind and listen as the settings say. Raises BindError; nothing stays open then."""
        if self.fd is not None:
            return [sockets.adopt(self.fd, self.backlog)]
        if self.uds is not None:
            return [sockets.bind_unix(self.uds, self.backlog)]
        return sockets.bind_tcp(self.host, self.port, self.backlog)

    def bind_socket(self) -> socket.socket:
        """One bound socket, for programs that pass it to `Server.serve(sockets=[…])`. Raises BindError."""
        first, *others = self.bind()
        sockets.close_all(others)
        log_address(first.url)
        return first.sock


def log_address(url: str) -> None:
    """The line that people and tools wait for."""
    message = "Uvicorn running on %s (Press CTRL+C to quit)"
    colored = "Uvicorn running on \x1b[1m%s\x1b[0m (Press CTRL+C to quit)"
    logging.getLogger("uvicorn.error").info(message, url, extra={"color_message": colored})


def _worker_count(workers: int | None) -> int:
    if workers is not None:
        return workers
    text = os.environ.get("WEB_CONCURRENCY", "").strip()
    if not text:
        return 1
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"WEB_CONCURRENCY must be a whole number of at least 1, not {text!r}.")
    return int(text)


# -- which kind of callable ------------------------------------------------------------------------------------


def is_double_callable(app: Any) -> bool:
    """Whether `app` is ASGI 2: `app(scope)` returns what takes `(receive, send)`; else it is ASGI 3.

    Told by what can be called with: a class or function that needs exactly one argument is ASGI 2.
    What cannot be inspected is taken for ASGI 3.
    """
    target = app
    if not inspect.isclass(app) and not inspect.isroutine(app) and not isinstance(app, partial):
        target = getattr(app, "__call__", app)  # noqa: B004  # its signature is wanted, not whether it is callable
    if inspect.iscoroutinefunction(target):
        return False
    return _fits(target, 1) and not _fits(target, 3)


def _takes_nothing(app: Any) -> bool:
    return _fits(app, 0) and not _fits(app, 3) and not _fits(app, 1)


def _fits(target: Any, arguments: int) -> bool:
    try:
        inspect.signature(target).bind(*range(arguments))
    except (TypeError, ValueError):
        return False
    return True


# -- the declarations, read back -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Declared:
    """One parameter of Config as the command line needs it.

    `kind` is bool, int, float or str; `choices` are the words of its Literal; `free` says that other text
    (an import string) is allowed beside them.
    """

    name: str
    spec: Option
    kind: type
    choices: tuple[str, ...]
    free: bool
    optional: bool
    default: Any

    @property
    def flag(self) -> str:
        return self.spec.flags[0] if self.spec.flags else "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return "UVICORN_" + self.name.upper()


_declared: dict[str, Declared] = {}


def options() -> dict[str, Declared]:
    """Every option that a person can set, in the order of the signature. `app` is among them."""
    if not _declared:
        hints = get_type_hints(Config.__init__, include_extras=True)
        for name, parameter in inspect.signature(Config.__init__).parameters.items():
            annotation, spec = _annotation(hints.get(name))
            if isinstance(spec, Option):
                _declared[name] = _declare(name, spec, annotation, parameter.default)
    return _declared


def _annotation(hint: Any) -> tuple[Any, Any]:
    """(type, metadata) of an `Annotated`. Python 3.10 wraps it in an Optional of its own when the default is None."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[:2]
    for member in get_args(hint):
        if get_origin(member) is Annotated:
            return get_args(member)[:2]
    return hint, None


def _declare(name: str, spec: Option, annotation: Any, default: Any) -> Declared:
    members = _flatten(annotation)
    choices = tuple(word for m in members if get_origin(m) is Literal for word in get_args(m))
    plain = {m for m in members if isinstance(m, type)} - {type(None)}
    kind = next((k for k in (bool, float, int) if k in plain and not (choices and k is int)), str)
    return Declared(
        name=name,
        spec=spec,
        kind=kind,
        choices=choices,
        free=str in plain or int in plain,
        optional=type(None) in members,
        default=None if default is inspect.Parameter.empty else default,
    )


def _flatten(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal or not get_args(annotation):
        return [annotation]
    if get_origin(annotation) is not None and "Union" not in str(get_origin(annotation)):
        return [annotation]
    return [leaf for member in get_args(annotation) for leaf in _flatten(member)]
