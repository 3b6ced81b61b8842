"""The command line and `Config`, row by row against the contract: uvicorn 0.54's public surface.

Every difference is one on purpose and is listed here with its reason; a difference that is gone has to leave the list.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import uvicorn
from commands import config_of
from uvicorn.config import Config, options
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.main import main

# option(s) | parameter | type | default | environment variable. "×n": may be given more than once.
ROWS = """
APP | app | text | — | UVICORN_APP
--host | host | text | 127.0.0.1 | UVICORN_HOST
--port | port | integer | 8000 | UVICORN_PORT
--uds | uds | text | None | UVICORN_UDS
--fd | fd | integer | None | UVICORN_FD
--reload | reload | flag | False | UVICORN_RELOAD
--reload-dir | reload_dirs | path ×n | — | UVICORN_RELOAD_DIRS
--reload-include | reload_includes | text ×n | — | UVICORN_RELOAD_INCLUDES
--reload-exclude | reload_excludes | text ×n | — | UVICORN_RELOAD_EXCLUDES
--reload-delay | reload_delay | float | 0.25 | UVICORN_RELOAD_DELAY
--workers | workers | integer | None | UVICORN_WORKERS
--loop | loop | [auto/asyncio/uvloop/zuvloop] | auto | UVICORN_LOOP
--http | http | [auto/h11/httptools/zttp] | auto | UVICORN_HTTP
--http2 | http2 | flag | False | UVICORN_HTTP2
--ws | ws | [auto/websockets/websockets-sansio/wsproto] | auto | UVICORN_WS
--ws-max-size | ws_max_size | integer | 16777216 | UVICORN_WS_MAX_SIZE
--ws-max-queue | ws_max_queue | integer | 32 | UVICORN_WS_MAX_QUEUE
--ws-ping-interval | ws_ping_interval | float | 20.0 | UVICORN_WS_PING_INTERVAL
--ws-ping-timeout | ws_ping_timeout | float | 20.0 | UVICORN_WS_PING_TIMEOUT
--ws-per-message-deflate | ws_per_message_deflate | boolean | True | UVICORN_WS_PER_MESSAGE_DEFLATE
--lifespan | lifespan | auto/on/off | auto | UVICORN_LIFESPAN
--interface | interface | auto/asgi3/asgi2/wsgi | auto | UVICORN_INTERFACE
--env-file | env_file | path | None | UVICORN_ENV_FILE
--log-config | log_config | path | None | UVICORN_LOG_CONFIG
--log-level | log_level | critical/error/warning/info/debug/trace | None | UVICORN_LOG_LEVEL
--access-log/--no-access-log | access_log | flag | True | UVICORN_ACCESS_LOG
--use-colors/--no-use-colors | use_colors | flag | None | UVICORN_USE_COLORS
--proxy-headers/--no-proxy-headers | proxy_headers | flag | True | UVICORN_PROXY_HEADERS
--server-header/--no-server-header | server_header | flag | True | UVICORN_SERVER_HEADER
--date-header/--no-date-header | date_header | flag | True | UVICORN_DATE_HEADER
--forwarded-allow-ips | forwarded_allow_ips | text | None | UVICORN_FORWARDED_ALLOW_IPS
--root-path | root_path | text |  | UVICORN_ROOT_PATH
--limit-concurrency | limit_concurrency | integer | None | UVICORN_LIMIT_CONCURRENCY
--backlog | backlog | integer | 2048 | UVICORN_BACKLOG
--limit-max-requests | limit_max_requests | integer | None | UVICORN_LIMIT_MAX_REQUESTS
--limit-max-requests-jitter | limit_max_requests_jitter | integer | 0 | UVICORN_LIMIT_MAX_REQUESTS_JITTER
--timeout-keep-alive | timeout_keep_alive | integer | 5 | UVICORN_TIMEOUT_KEEP_ALIVE
--timeout-graceful-shutdown | timeout_graceful_shutdown | integer | None | UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN
--timeout-worker-healthcheck | timeout_worker_healthcheck | integer | 5 | UVICORN_TIMEOUT_WORKER_HEALTHCHECK
--ssl-keyfile | ssl_keyfile | text | None | UVICORN_SSL_KEYFILE
--ssl-certfile | ssl_certfile | text | None | UVICORN_SSL_CERTFILE
--ssl-keyfile-password | ssl_keyfile_password | text | None | UVICORN_SSL_KEYFILE_PASSWORD
--ssl-version | ssl_version | integer | 17 | UVICORN_SSL_VERSION
--ssl-cert-reqs | ssl_cert_reqs | integer | 0 | UVICORN_SSL_CERT_REQS
--ssl-ca-certs | ssl_ca_certs | text | None | UVICORN_SSL_CA_CERTS
--ssl-ciphers | ssl_ciphers | text | None | UVICORN_SSL_CIPHERS
--header | headers | text ×n | — | UVICORN_HEADERS
--version | version | flag | — | None
--app-dir | app_dir | text |  | UVICORN_APP_DIR
--h11-max-incomplete-event-size | h11_max_incomplete_event_size | integer | None | UVICORN_H11_MAX_INCOMPLETE_EVENT_SIZE
--reset-contextvars | reset_contextvars | flag | False | UVICORN_RESET_CONTEXTVARS
--factory | factory | flag | False | UVICORN_FACTORY
"""

DIFFERENCES = {
    ("timeout_worker_healthcheck", "default"): "30: it is about the event loop itself, theirs kills healthy imports",
    ("limit_max_requests_jitter", "default"): "None: a tenth of the limit; 0 still means none",
    ("timeout_keep_alive", "type"): "fractions of a second are accepted as well",
    ("timeout_graceful_shutdown", "type"): "fractions of a second are accepted as well",
    ("timeout_worker_healthcheck", "type"): "fractions of a second are accepted as well",
    ("workers", "type"): "auto is accepted as well",
    ("http", "type"): "no zttp: an alpha package, and no codec of ours is for it",
}

BEHAVIOUR = {
    "limit_concurrency=0": "0 is no limit, not 503 for everybody",
    "limit_max_requests=0": "the new worker is ready first; 0 is no limit",
    "host as a list, port=0": "several addresses, separated by commas or as a list, with one port",
    "--log-level INFO": "| `--log-level` | `--log-level` | upper or lower case |",
    "headers=[('Connection', 'keep-alive')]": "other headers about the connection are left out, with a warning",
    "access_log='no'": '`access_log="no"` turns the access log off',
    "port='http'": "A value of a wrong type or out of range is rejected with an error before anything has started",
}
"""A setting that means something else here than in 0.54, on purpose, and what docs/moving.md says of it."""

OURS = {
    "supervise": "--supervise/--no-supervise",
    "pid": "--pid",
    "log_file": "--log-file",
    "access_log_file": "--access-log-file",
    "access_log_format": "--access-log-format",
    "limit_worker_lifetime": "--limit-worker-lifetime",
    "limit_worker_memory": "--limit-worker-memory",
    "timeout_worker_boot": "--timeout-worker-boot",
    "shutdown_delay": "--shutdown-delay",
    "config_file": "--config",
    "check_config": "--check-config",
    "print_config": "--print-config",
    "limit_request_line": "--limit-request-line",
    "limit_request_headers": "--limit-request-headers",
    "limit_request_fields": "--limit-request-fields",
    "limit_request_body": "--limit-request-body",
    "limit_body_rate": "--limit-body-rate",
    "limit_queue": "--limit-queue",
    "timeout_queue": "--timeout-queue",
    "timeout_request_header": "--timeout-request-header",
    "timeout_request_body": "--timeout-request-body",
    "timeout_write": "--timeout-write",
    "forwarded_headers": "--forwarded-headers",
    "http2_max_concurrent_streams": "--http2-max-concurrent-streams",
    "http2_stream_window": "--http2-stream-window",
    "proxy_protocol": "--proxy-protocol",
}
"""What the command has beyond the contract."""

POSITIONS = [
    "app",
    "host",
    "port",
    "uds",
    "fd",
    "loop",
    "http",
    "http2",
    "ws",
    "ws_max_size",
    "ws_max_queue",
    "ws_ping_interval",
    "ws_ping_timeout",
    "ws_per_message_deflate",
    "lifespan",
    "env_file",
    "log_config",
    "log_level",
    "access_log",
    "use_colors",
    "interface",
    "reload",
    "reload_dirs",
    "reload_delay",
    "reload_includes",
    "reload_excludes",
    "workers",
    "proxy_headers",
    "server_header",
    "date_header",
    "forwarded_allow_ips",
    "root_path",
    "limit_concurrency",
    "limit_max_requests",
    "limit_max_requests_jitter",
    "backlog",
    "timeout_keep_alive",
    "timeout_notify",
    "timeout_graceful_shutdown",
    "timeout_worker_healthcheck",
    "callback_notify",
    "ssl_keyfile",
    "ssl_certfile",
    "ssl_keyfile_password",
    "ssl_version",
    "ssl_cert_reqs",
    "ssl_ca_certs",
    "ssl_ciphers",
    "ssl_context_factory",
    "headers",
    "factory",
    "h11_max_incomplete_event_size",
    "reset_contextvars",
]

ONLY_IN_CONFIG = {"timeout_notify": 30, "callback_notify": None, "ssl_context_factory": None}
"""Parameters without an option, and their defaults."""

PARAMETERS = {parameter.name: parameter for parameter in main.params}
THEIRS = {
    row[1]: row for row in (tuple(cell.strip() for cell in line.split(" | ")) for line in ROWS.strip().split("\n"))
}


def spelling(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return (parameter.metavar or "").upper()
    return "/".join([*parameter.opts, *parameter.secondary_opts])


def kind(parameter: click.Parameter) -> str:
    many = " ×n" if isinstance(parameter, click.Option) and parameter.multiple else ""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return "flag"
    words = getattr(parameter.type, "words", None) or getattr(parameter.type, "choices", None)
    if words:
        return "/".join(words) + many
    return {"directory": "path", "file": "path", "string": "text"}.get(parameter.type.name, parameter.type.name) + many


def default(parameter: click.Parameter) -> str:
    config = inspect.signature(Config.__init__).parameters.get(parameter.name or "")
    if isinstance(parameter, click.Option) and parameter.multiple:
        return "—"
    if config is None or config.default is inspect.Parameter.empty:
        return "—"
    if parameter.name == "app_dir":
        return str(parameter.default)
    return "None" if config.default is LOGGING_CONFIG else str(config.default)


@pytest.mark.parametrize("name", THEIRS)
def test_a_row_of_the_command_line(name: str) -> None:
    flags, _, wanted_kind, wanted_default, variable = THEIRS[name]
    parameter = PARAMETERS[name]
    assert spelling(parameter).removesuffix(f"/--no-{flags[2:]}") == flags or spelling(parameter) == flags
    differing = set()
    if kind(parameter) != wanted_kind.strip("[]"):
        differing.add("type")
    if default(parameter) != wanted_default:
        differing.add("default")
    assert differing == {aspect for listed, aspect in DIFFERENCES if listed == name}, (kind(parameter), wanted_kind)
    if variable == "None":
        assert name == "version"
    else:
        assert variable == f"UVICORN_{name.upper()}" == (options()[name].env if name in options() else variable)


def test_what_the_command_has_beyond_the_contract() -> None:
    ours = {name: spelling(parameter) for name, parameter in PARAMETERS.items() if name not in THEIRS}
    assert ours == OURS


def test_the_positions_of_config() -> None:
    positional = [
        name
        for name, parameter in inspect.signature(Config.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name != "self"
    ]
    assert positional == POSITIONS
    for name, value in ONLY_IN_CONFIG.items():
        assert inspect.signature(Config.__init__).parameters[name].default == value
    assert set(POSITIONS) - set(ONLY_IN_CONFIG) <= set(THEIRS)


def test_help_shows_the_words_of_the_literals() -> None:
    output = " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    for words in (
        "[auto|asyncio|uvloop|zuvloop|",
        "[auto|h11|httptools|",
        "[auto|websockets|websockets-sansio|wsproto|",
    ):
        assert words in output
    assert "[auto|on|off]" in output and "[critical|error|warning|info|debug|trace]" in output


# -- the command as an object ----------------------------------------------------------------------------------


def test_main_of_the_package_is_the_command_whoever_imports_what() -> None:
    assert isinstance(uvicorn.main, click.Command)
    importlib.import_module("uvicorn.main")
    assert uvicorn.main is main
    assert sys.modules["uvicorn.main"].main is main
    assert uvicorn.main.callback is not None
    assert {"app", "host", "headers"} <= {parameter.name for parameter in uvicorn.main.params}


def test_main_can_be_called_in_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[Callable[[], object]] = [
        lambda: main(["--version"]),
        lambda: main.main(args=["--version"], prog_name="mine"),
    ]
    for call in calls:
        with pytest.raises(SystemExit) as raised:
            call()
        assert raised.value.code == 0
        assert capsys.readouterr().out.startswith(f"Running uvicorn {uvicorn.__version__} with ")


def test_what_the_command_makes_of_its_arguments() -> None:
    config = config_of("a:b", "--header", "X-A: 1:2", "--header", "b:c", "--log-level", "trace")
    assert config.headers == [("X-A", " 1:2"), ("b", "c")]
    assert config.app_dir == ""
    assert config.log_config is LOGGING_CONFIG
    assert (config.reload_dirs, config.reload_includes, config.reload_excludes) == ([], [], [])
    assert config_of("a:b", "--forwarded-allow-ips", "10.0.0.1,::1").forwarded_allow_ips == "10.0.0.1,::1"
    assert config_of("a:b", "--loop", "mine:loop", "--http", "mine:Protocol", "--ws", "mine:Socket").ws == "mine:Socket"
    assert config_of("a:b", "--ws", "none", "--loop", "none").loop == "none"


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UVICORN_HEADERS", "X-A:1 X-B:2")
    monkeypatch.setenv("UVICORN_APP", "env:app")
    config = config_of()
    assert config.app == "env:app"
    assert config.headers == [("X-A", "1"), ("X-B", "2")]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--http2-stream-window", "1"], "--http2-stream-window must be at least 4096"),
        (["--http", "zttp"], "--http must be one of auto, h11, httptools, or an import string"),
        (["--ws", "carrier-pigeon"], "--ws must be one of auto, none, websockets"),
        (["--header", "no colon"], "--header must be Name:Value, not 'no colon'."),
        (["--header", "a b:c"], "--header 'a b' is not a valid header name"),
        (["--header", "Content-Length:1"], "every response has its own length"),
        (["--log-config", "nowhere.ini"], "Path 'nowhere.ini' does not exist"),
        (["--reload-dir", "nowhere"], "Path 'nowhere' does not exist"),
    ],
)
def test_what_is_refused_with_a_sentence(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, ["a:b", *arguments])
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())


# -- paths that other people's code imports --------------------------------------------------------------------

PATHS = """
uvicorn.main: Config Server main run
uvicorn.config: Config LOGGING_CONFIG LOG_LEVELS HTTP_PROTOCOLS WS_PROTOCOLS LIFESPAN LOOP_FACTORIES INTERFACES
uvicorn.config: SSL_PROTOCOL_VERSION STARTUP_FAILURE HTTPProtocolType WSProtocolType LifespanType LoopFactoryType
uvicorn.config: InterfaceType UvicornDeprecationWarning resolve_reload_patterns is_dir logging
uvicorn.server: Server ServerState HANDLED_SIGNALS
uvicorn.importer: import_from_string ImportFromStringError
uvicorn.logging: TRACE_LOG_LEVEL ColourizedFormatter DefaultFormatter AccessFormatter
uvicorn._compat: asyncio_run
uvicorn.lifespan.on: LifespanOn
uvicorn.lifespan.off: LifespanOff
uvicorn.loops.auto: auto_loop_factory
uvicorn.loops.asyncio: asyncio_loop_factory
uvicorn.loops.uvloop: uvloop_loop_factory
uvicorn.middleware.asgi2: ASGI2Middleware
uvicorn.middleware.message_logger: MessageLoggerMiddleware
uvicorn.protocols.utils: ClientDisconnected get_client_addr get_path_with_query_string get_remote_addr get_local_addr
uvicorn.protocols.utils: is_ssl
uvicorn.middleware.wsgi: WSGIMiddleware
uvicorn.protocols.http.auto: AutoHTTPProtocol
uvicorn.protocols.http.flow_control: FlowControl HIGH_WATER_LIMIT CLOSE_HEADER service_unavailable
uvicorn.protocols.http.h11_impl: H11Protocol
uvicorn._types: ASGI2Application ASGI2Protocol ASGI3Application ASGIApplication ASGIReceiveCallable ASGIReceiveEvent
uvicorn._types: ASGISendCallable ASGISendEvent ASGIVersions Environ ExcInfo HTTPDisconnectEvent HTTPRequestEvent
uvicorn._types: HTTPResponseBodyEvent HTTPResponseDebugEvent HTTPResponseEarlyHintEvent HTTPResponseStartEvent
uvicorn._types: HTTPResponseTrailersEvent HTTPScope HTTPServerPushEvent LifespanScope LifespanShutdownCompleteEvent
uvicorn._types: LifespanShutdownEvent LifespanShutdownFailedEvent LifespanStartupCompleteEvent LifespanStartupEvent
uvicorn._types: LifespanStartupFailedEvent Scope StartResponse WSGIApp WWWScope WebSocketAcceptEvent
uvicorn._types: WebSocketCloseEvent WebSocketConnectEvent WebSocketDisconnectEvent WebSocketEvent
uvicorn._types: WebSocketReceiveEvent WebSocketResponseBodyEvent WebSocketResponseStartEvent WebSocketScope
uvicorn._types: WebSocketSendEvent
"""


@pytest.mark.parametrize("line", PATHS.strip().splitlines())
def test_a_path_of_the_contract(line: str) -> None:
    module, _, names = line.partition(": ")
    imported = importlib.import_module(module)
    assert [name for name in names.split() if not hasattr(imported, name)] == []


def test_the_door_of_gunicorns_workers() -> None:
    pytest.importorskip("gunicorn")
    for name in ("UvicornWorker", "UvicornH11Worker"):
        assert isinstance(getattr(importlib.import_module("uvicorn.workers"), name).CONFIG_KWARGS, dict)


def test_the_door_of_httptools() -> None:
    pytest.importorskip("httptools")
    assert importlib.import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol


@pytest.mark.parametrize("words", BEHAVIOUR.values(), ids=BEHAVIOUR)
def test_what_differs_in_behaviour_is_said(words: str) -> None:
    moving = Path(__file__).resolve().parents[1] / "docs" / "moving.md"
    assert words in " ".join(moving.read_text(encoding="utf-8").split())
