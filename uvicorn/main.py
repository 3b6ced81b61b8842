"""The composition root: the command line, and `run()`. The only module that imports both halves.

Owns: from arguments to a `Config`, the choice between a master and one process, and the process's exit code.
Must not: hold a rule that a program which embeds us would miss; those are in `Config`, `Server` and the master.
Fails by: one sentence on standard error and an exit code from `errors.ExitCode`.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

import uvicorn
from uvicorn import sockets
from uvicorn._types import ASGIApplication, SSLContextFactory
from uvicorn.config import (
    Config,
    HTTPProtocolType,
    InterfaceType,
    LifespanType,
    LogLevelType,
    LoopFactoryType,
    WSProtocolType,
    options,
)
from uvicorn.errors import ConfigError, ExitCode, StartupError, describe_failure
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.options import Declared
from uvicorn.worker import main as worker_main
from uvicorn.worker.server import Server

__all__ = ["Config", "Server", "main", "run"]

_log = logging.getLogger("uvicorn.error")


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType  # generic from click 8.4 on


# -- the command line ------------------------------------------------------------------------------------------


class WordOrImport(_TextType):
    """One of a few words, or an import string."""

    name = "word"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self.words)}|MODULE:ATTRIBUTE]"


class WordOrNumber(_TextType):
    """One of a few words, or a whole number."""

    name = "number"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in self.words else click.INT.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self.words)}|INTEGER]"


def _parameter(declared: Declared) -> click.Option:
    flag, spec = declared.flag, declared.spec
    common: dict[str, Any] = {"help": spec.help, "default": declared.default, "show_envvar": False}
    if declared.kind is bool:
        # A flag that is off by default and has no unset state needs no way to switch it off.
        both = declared.optional or declared.default or declared.name == "supervise"
        return click.Option([declared.name, f"{flag}/--no-{flag[2:]}" if both else flag], is_flag=True, **common)
    kind: Any = {int: click.INT, float: click.FLOAT, str: click.STRING}[declared.kind]
    words = tuple(word for word in declared.choices if word != "none")
    if declared.many:
        common["multiple"] = True
    if declared.name == "workers":
        kind = WordOrNumber(words)
    elif words and declared.free and declared.name != "log_level":
        kind = WordOrImport(words)
    elif words:
        kind = click.Choice(words)
    shown = declared.default not in (None, "") and not isinstance(declared.default, dict)
    if isinstance(declared.default, dict):
        common["default"] = None
    return click.Option([declared.name, flag], type=kind, metavar=spec.metavar, show_default=shown, **common)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"Running uvicorn {uvicorn.__version__} with {python} on {platform.system()}")
        ctx.exit()


class GroupedCommand(click.Command):
    """`--help` with the options under the headings that their declarations name."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                declared = options().get(parameter.name or "")
                groups.setdefault(declared.spec.group if declared else "Other", []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        with formatter.section("Environment"):
            formatter.write_text("Every option can be set as UVICORN_<NAME>, for example UVICORN_PORT=80.")


def _command(**values: Any) -> None:
    """Serve the ASGI application APP, given as <module>:<attribute>."""
    if values["app_dir"] is None:
        values["app_dir"] = ""
    for name, declared in options().items():
        if declared.many:
            values[name] = list(values[name]) or None
    if values["log_config"] is None:
        values["log_config"] = LOGGING_CONFIG
    _fill_standard_descriptors()
    try:
        config = Config(**values)
        code = serve(config)
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from None
    sys.exit(code)


def _fill_standard_descriptors() -> None:
    """A service manager may close 0, 1 or 2: a socket that got such a number would be written to as a log."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _build() -> click.Command:
    parameters: list[click.Parameter] = [click.Argument(["app"], envvar="UVICORN_APP")]
    parameters += [_parameter(declared) for name, declared in options().items() if name != "app"]
    parameters.append(
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Show the versions of uvicorn and Python, and the system, and exit.",
        )
    )
    return GroupedCommand(
        "uvicorn",
        params=parameters,
        callback=_command,
        help=_command.__doc__,
        context_settings={"auto_envvar_prefix": "UVICORN"},
    )


main = _build()


# -- from a Config to an exit code -----------------------------------------------------------------------------


def serve(config: Config) -> int:
    """Bind, then serve under a master or in this process; the exit code. Raises ConfigError."""
    needs_master = config.needs_master
    try:
        listeners = config.bind()
    except StartupError as exc:
        _log.error("%s", exc)
        return int(exc.exit_code)
    try:
        if needs_master:
            return _serve_under_master(config, listeners)
        return worker_main.run(config, [listener.sock for listener in listeners])
    finally:
        sockets.close_all(listeners)


def _serve_under_master(config: Config, listeners: list[sockets.Listener]) -> int:
    if sys.platform == "win32":
        raise ConfigError("Workers and --supervise need fork, which Windows lacks: use one process.")
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("Workers and --supervise need the main thread, where signals arrive: use one process.")
    from uvicorn.supervisor.master import Master

    try:
        config.load_components()
    except StartupError as exc:
        _log.error("%s", describe_failure(exc))
        return int(exc.exit_code)
    return Master(config, listeners, worker_main.run).run()


def run(
    app: ASGIApplication | Callable[..., Any] | str,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    fd: int | None = None,
    loop: LoopFactoryType | str = "auto",
    http: HTTPProtocolType | str = "auto",
    http2: bool = False,
    ws: WSProtocolType | str = "auto",
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
) -> None:
    """Serve `app` until asked to stop; the parameters are those of `Config`.

    With one process a SIGINT or SIGTERM that ended it is raised again afterwards, for the program around it (a
    KeyboardInterrupt is swallowed). Leaves by SystemExit with a code of `errors.ExitCode` when serving failed.
    Raises ConfigError for a value that cannot work.
    """
    config = Config(**locals())
    if not config.needs_master:
        server = Server(config)
        try:
            server.run()
        except KeyboardInterrupt:
            pass
        if server.failure is not None:
            sys.exit(int(server.exit_code))
        return
    _warn_of_stale_code(config)
    code = serve(config)
    if code != ExitCode.OK:
        sys.exit(code)


def _warn_of_stale_code(config: Config) -> None:
    """What this process has imported, its workers inherit as it is: what that means is said once."""
    if not isinstance(config.app, str):
        _log.warning(
            "The application is an object of this process: a reload (SIGHUP) starts new workers with the same code."
            ' Pass it as "module:attribute" to have it imported anew.'
        )
    elif config.app.partition(":")[0] in sys.modules:
        _log.warning(
            "The module of the application is imported in this process already: a reload (SIGHUP) starts new workers"
            " with the same code. Start with the command uvicorn to have it imported anew."
        )
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        _log.warning("Threads that run now will not run in the workers: %s.", ", ".join(others))
