"""Names that programs import, replace or change: each of them has to work, and not only to be there."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import io
import logging
import re
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import click
import pytest
from click.testing import CliRunner

import uvicorn
from applications import App, Message, Receive, Scope, Send
from clients import connect
from servers import serving
from uvicorn._types import Environ
from uvicorn.config import Config, LifespanType
from uvicorn.lifespan.on import LifespanOn
from uvicorn.logging import TRACE_LOG_LEVEL, AccessFormatter, ColourizedFormatter, DefaultFormatter


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def record(level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.error", level, __file__, 1, "text", (), None)


# -- logging ---------------------------------------------------------------------------------------------------


def test_the_colours_of_levels_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    formatter = DefaultFormatter("%(levelprefix)s %(message)s", use_colors=True)
    assert formatter.format(record()) == "\x1b[32mINFO\x1b[0m:     text"
    monkeypatch.setitem(ColourizedFormatter.level_name_colors, logging.INFO, lambda name: f"<{name}>")
    assert formatter.format(record()) == "<INFO>:     text"
    assert formatter.format(record(logging.ERROR)) == "\x1b[31mERROR\x1b[0m:    text"


def test_a_subclass_may_bring_its_own_colours() -> None:
    class Mine(DefaultFormatter):
        level_name_colors = {TRACE_LOG_LEVEL: str.lower}  # noqa: RUF012

    formatter = Mine("%(levelprefix)s %(message)s", use_colors=True)
    assert formatter.format(record()) == "INFO:     text"
    assert formatter.color_level_name("TRACE", TRACE_LOG_LEVEL) == "trace"


def test_the_colours_of_statuses_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    formatter = AccessFormatter("%(status_code)s", use_colors=True)
    arguments = ("a:1", "GET", "/", "1.1", 404)
    line = logging.LogRecord("uvicorn.access", logging.INFO, __file__, 1, "%s %s %s %s %d", arguments, None)
    assert formatter.format(line) == "\x1b[31m404 Not Found\x1b[0m"
    monkeypatch.setitem(AccessFormatter.status_code_colours, 4, lambda text: f"<{text}>")
    assert formatter.format(line) == "<404 Not Found>"
    assert formatter.get_status_code(999) == "999 "


# -- lifespan --------------------------------------------------------------------------------------------------


def script(*steps: str | BaseException) -> App:
    """An application that answers each event of its lifespan with a message, or raises."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        for step in steps:
            await receive()
            if isinstance(step, BaseException):
                raise step
            await send({"type": f"lifespan.{step}"})

    return answering


@pytest.mark.parametrize(
    ("kind", "steps", "startup_failed", "shutdown_failed", "error_occurred"),
    [
        ("on", ("startup.complete", "shutdown.complete"), False, False, False),
        ("on", ("startup.failed",), True, False, False),
        ("on", (RuntimeError(),), True, False, True),
        ("auto", (RuntimeError(),), False, False, True),
        ("on", ("startup.complete", "shutdown.failed"), False, True, False),
        ("on", ("startup.complete", RuntimeError()), False, True, True),
    ],
)
async def test_a_lifespan_says_what_has_failed(
    kind: LifespanType,
    steps: tuple[str | BaseException, ...],
    startup_failed: bool,
    shutdown_failed: bool,
    error_occurred: bool,
) -> None:
    config = Config(script(*steps), lifespan=kind, log_config=None)
    lifespan = LifespanOn(config)
    for _ in range(2):  # it may be started again, and forgets what was
        await lifespan.startup()
        assert not lifespan.shutdown_failed
        await lifespan.shutdown()
        assert lifespan.startup_failed == startup_failed
        assert lifespan.shutdown_failed == shutdown_failed
        assert lifespan.error_occurred == error_occurred


async def test_a_lifespan_that_is_cancelled_has_not_raised() -> None:
    lifespan = LifespanOn(Config(script("startup.complete", "shutdown.complete"), log_config=None))
    await lifespan.startup()
    task = lifespan._task
    assert task is not None
    task.cancel()
    await asyncio.wait([task])
    assert not lifespan.error_occurred


# -- uvicorn.main ----------------------------------------------------------------------------------------------


def test_choices_are_for_the_options_of_other_commands() -> None:
    from uvicorn.main import INTERFACE_CHOICES, LEVEL_CHOICES, LIFESPAN_CHOICES

    @click.command()
    @click.option("--log-level", type=LEVEL_CHOICES)
    @click.option("--lifespan", type=LIFESPAN_CHOICES)
    @click.option("--interface", type=INTERFACE_CHOICES)
    def command(**given: Any) -> None:
        click.echo(Config(app, log_config=None, **given).log_level)

    runner = CliRunner()
    taken = runner.invoke(command, ["--log-level", "debug", "--lifespan", "off", "--interface", "asgi3"])
    assert (taken.exit_code, taken.output) == (0, "debug\n")
    assert "one of 'critical', 'error'" in runner.invoke(command, ["--log-level", "loud"]).output


def test_the_callback_of_version_is_for_other_commands() -> None:
    from uvicorn.main import print_version

    option = click.Option(["--version"], is_flag=True, expose_value=False, is_eager=True, callback=print_version)
    result = CliRunner().invoke(click.Command("mine", params=[option]), ["--version"])
    assert result.output.startswith(f"Running uvicorn {uvicorn.__version__} with ")


def test_main_has_what_programs_import_from_it() -> None:
    from uvicorn.main import STARTUP_FAILURE, ChangeReload, Multiprocess, ServerState, logger

    assert STARTUP_FAILURE == 3
    assert logger is logging.getLogger("uvicorn.error")
    assert (ChangeReload, Multiprocess) == (uvicorn.supervisors.ChangeReload, uvicorn.supervisors.Multiprocess)
    assert ServerState is uvicorn.server.ServerState


# -- what a program puts in the place of a class ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "options", "attribute"),
    [
        ("uvicorn.protocols.http.h11_impl.H11Protocol", {"http": "h11"}, "http_protocol_class"),
        ("uvicorn.protocols.http.auto.AutoHTTPProtocol", {"http": "auto"}, "http_protocol_class"),
        ("uvicorn.protocols.websockets.auto.AutoWebSocketsProtocol", {"ws": "auto"}, "ws_protocol_class"),
        ("uvicorn.protocols.websockets.websockets_impl.WebSocketProtocol", {"ws": "websockets"}, "ws_protocol_class"),
        ("uvicorn.protocols.websockets.wsproto_impl.WSProtocol", {"ws": "wsproto"}, "ws_protocol_class"),
        ("uvicorn.lifespan.on.LifespanOn", {"lifespan": "on"}, "lifespan_class"),
        ("uvicorn.lifespan.off.LifespanOff", {"lifespan": "off"}, "lifespan_class"),
    ],
)
def test_a_class_that_is_replaced_where_the_contract_has_it_is_used(
    path: str, options: dict[str, Any], attribute: str
) -> None:
    class Mine: ...

    with mock.patch(path, Mine):
        config = Config(app, log_config=None, **options)
        config.load()
    assert getattr(config, attribute) is Mine


# -- middleware ------------------------------------------------------------------------------------------------


def test_the_names_that_config_has_of_middleware() -> None:
    from uvicorn import config

    for name in ("ASGI2Middleware", "MessageLoggerMiddleware", "ProxyHeadersMiddleware"):
        assert getattr(config, name).__name__ == name
    assert not hasattr(config, "NoMiddleware")


@pytest.mark.parametrize("way", ["class", "method"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ASGI2Middleware", {"interface": "asgi2"}),
        ("MessageLoggerMiddleware", {}),
        ("ProxyHeadersMiddleware", {"proxy_headers": True}),
        ("WSGIMiddleware", {"interface": "wsgi"}),
    ],
)
async def test_a_wrapper_that_a_program_replaces_is_used(
    name: str, settings: dict[str, Any], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uvicorn import config

    class Mine:
        def __init__(self, app: object, **named: object) -> None:
            assert name != "ProxyHeadersMiddleware" or named == {"trusted_hosts": "10.0.0.1"} or way == "method"

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 299, "headers": []})
            await send({"type": "http.response.body"})

    assert config.replaced_wrappers() == []
    if name == "MessageLoggerMiddleware":
        monkeypatch.setattr(logging.getLogger("uvicorn.asgi"), "level", TRACE_LOG_LEVEL)
    if way == "class":
        monkeypatch.setattr(config, name, Mine)
    else:
        monkeypatch.setattr(getattr(config, name), "__call__", Mine.__call__)
    assert config.replaced_wrappers() == [name]
    settings = {"lifespan": "off", "proxy_headers": False, "forwarded_allow_ips": "10.0.0.1", **settings}
    async with serving(app, **settings) as server, connect(server) as client:
        assert (await client.get()).status == 299


@pytest.mark.parametrize("wraps", [False, True])
def test_a_function_that_a_program_replaces_in_vain_is_warned_of_once(
    wraps: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from uvicorn.protocols.http import h11_impl
    from uvicorn.surface import overridden

    def hidden(scope: Scope) -> str:
        return "/"

    monkeypatch.setattr(overridden, "_told_functions", set())
    Config(app, log_config=None).load()
    assert not caplog.records
    made = functools.wraps(h11_impl.get_path_with_query_string)(hidden) if wraps else hidden
    monkeypatch.setattr(h11_impl, "get_path_with_query_string", made)
    for _ in range(2):
        Config(app, log_config=None).load()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("uvicorn.protocols.http.h11_impl.get_path_with_query_string was replaced, and")


def test_each_module_with_such_functions_is_known() -> None:
    from uvicorn.surface.overridden import FUNCTIONS, MODULES

    pytest.importorskip("httptools")
    root = Path(uvicorn.__file__).parent
    doors = [path.relative_to(root.parent).with_suffix("") for path in (root / "protocols").rglob("*.py")]
    names = [".".join(door.parts) for door in doors if door.name != "__init__"]
    found = {name for name in names if set(FUNCTIONS) & set(vars(importlib.import_module(name)))}
    assert found == set(MODULES)


def test_what_the_log_has_in_place_of_long_values() -> None:
    from uvicorn.middleware.message_logger import PLACEHOLDER_FORMAT, message_with_placeholders

    message = {"type": "x", "body": b"12", "text": "abc", "bytes": None, "headers": [(b"a", b"b")]}
    wanted = {"type": "x", "body": "<2 bytes>", "text": "<3 chars>", "bytes": None, "headers": "<...>"}
    assert message_with_placeholders(message) == wanted
    with mock.patch.dict(PLACEHOLDER_FORMAT, {"body": "(hidden)"}):
        assert message_with_placeholders(message)["body"] == "(hidden)"


def test_trusted_hosts_by_the_names_of_the_contract() -> None:
    from uvicorn.middleware.proxy_headers import _TrustedHosts

    trusted = _TrustedHosts("10.0.0.1,192.168.0.0/16,name")
    assert not trusted.always_trust and _TrustedHosts("*").always_trust
    assert trusted.trusted_literals == {"name"}
    assert {str(one) for one in trusted.trusted_hosts} == {"10.0.0.1"}
    assert {str(one) for one in trusted.trusted_networks} == {"192.168.0.0/16"}
    assert trusted.get_trusted_client_address("198.51.100.1:99, 10.0.0.1") == ("198.51.100.1", 99)
    assert trusted.get_trusted_client_address("somebody") == ("somebody", 0)
    assert trusted.get_trusted_client_address("") == ("", 0)


async def test_the_older_name_of_the_wsgi_middleware() -> None:
    pytest.importorskip("a2wsgi")
    from uvicorn.middleware.wsgi import _WSGIMiddleware, build_environ

    def hello(environ: Environ, start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [("content-length", "2")])
        return [environ["wsgi.input"].read()]

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/文/all",
        "root_path": "/文",
        "query_string": b"a=1",
        "headers": [(b"key", b"1"), (b"key", b"2")],
        "client": None,
        "server": None,
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"hi", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await _WSGIMiddleware(hello)(scope, receive, send)
    assert sent[0]["status"] == 200
    assert b"".join(message.get("body", b"") for message in sent[1:]) == b"hi"
    environ = build_environ(scope, {"type": "http.request"}, io.BytesIO(b"hi"))
    assert (environ["SCRIPT_NAME"].encode("latin-1").decode(), environ["PATH_INFO"]) == ("/文", "/all")
    assert environ["HTTP_KEY"] == "1,2"
    assert environ["wsgi.input"].read() == b"hi"


# -- all names -------------------------------------------------------------------------------------------------

LIST = Path(__file__).with_name("contract_names.txt").read_text(encoding="utf-8")


def section(heading: str) -> dict[str, str]:
    """The entries below a heading: what is before the colon, and the words after it."""
    text = re.split(rf"^\[{heading}.*\]$", LIST, flags=re.MULTILINE)[1].partition("\n[")[0]
    entries = re.findall(r"^(\S.*?):((?:.*\n)(?:    .*\n)*)", text, re.MULTILINE)
    return {before: " ".join(after.split()) for before, after in entries}


REASONS = {pattern: reason for reason, patterns in section("absent").items() for pattern in patterns.split()}
NAMES = {f"{module}.{name}" for module, names in section("names").items() for name in names.split()}
MEMBERS = {
    f"{owner}.{member}"
    for owner, members in [*section("members").items(), *section("attributes").items()]
    for member in members.split()
}


def absent(name: str) -> str | None:
    """The reason why a name of the contract is absent."""
    return next((reason for pattern, reason in REASONS.items() if fnmatchcase(name, pattern)), None)


def module_of(name: str) -> ModuleType | None:
    """None where a package that it needs is not installed."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as exc:
        assert not str(exc.name).startswith("uvicorn"), name
        return None
    return sys.modules[name]  # what is called uvicorn.main otherwise is the command


def kind_of(value: object) -> str:
    if hasattr(value, "__origin__"):
        return ""  # `Callable[…]`, which Python 3.10 takes for a class
    return "c" if inspect.isclass(value) else "f" if inspect.isfunction(value) else ""


@pytest.mark.parametrize("module", section("names"))
def test_the_names_of_a_module(module: str) -> None:
    if absent(module):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(module)
        return
    found = module_of(module)
    if found is None:
        pytest.skip("a package that it needs is not installed")
    for name, _, kind in (entry.partition("/") for entry in section("names")[module].split()):
        if absent(f"{module}.{name}"):
            assert not hasattr(found, name), f"{name} is there: it has no place in the list of what is absent"
        else:
            assert kind_of(getattr(found, name)) == kind, name


def objects() -> dict[str, object]:
    """One of each class whose objects have more than the class."""
    settings, reloads = Config(app, log_config=None), Config("a:b", reload=True, log_config=None)
    settings.load()
    server = uvicorn.Server(settings)
    made: dict[str, object] = {
        "uvicorn.config.Config": settings,
        "uvicorn.server.Server": server,
        "uvicorn.server.ServerState": server.server_state,
        "uvicorn.lifespan.on.LifespanOn": LifespanOn(settings),
        "uvicorn.logging.AccessFormatter": AccessFormatter(),
        "uvicorn.supervisors.multiprocess.Multiprocess": uvicorn.supervisors.Multiprocess(settings, server.run, []),
    }
    for path, *arguments in (
        ("uvicorn.lifespan.off.LifespanOff", settings),
        ("uvicorn.middleware.asgi2.ASGI2Middleware", app),
        ("uvicorn.middleware.message_logger.MessageLoggerMiddleware", app),
        ("uvicorn.middleware.proxy_headers.ProxyHeadersMiddleware", app),
        ("uvicorn.middleware.proxy_headers._TrustedHosts", "127.0.0.1"),
        ("uvicorn.middleware.wsgi._WSGIMiddleware", app),
        ("uvicorn.protocols.http.flow_control.FlowControl", mock.Mock()),
        ("uvicorn.protocols.http.h11_impl.H11Protocol", settings, server.server_state, {}),
        ("uvicorn.protocols.http.httptools_impl.HttpToolsProtocol", settings, server.server_state, {}),
        ("uvicorn.supervisors.basereload.BaseReload", reloads, server.run, []),
        ("uvicorn.supervisors.multiprocess.Process", settings, []),
        ("uvicorn.supervisors.statreload.StatReload", reloads, server.run, []),
        ("uvicorn.supervisors.watchfilesreload.FileFilter", reloads),
        ("uvicorn.supervisors.watchfilesreload.WatchFilesReload", reloads, server.run, []),
    ):
        module, _, name = path.rpartition(".")
        try:
            made[path] = getattr(module_of(module), name)(*arguments)
        except (ImportError, AttributeError):
            pass  # a package that it needs is not installed
    return made


async def test_what_classes_and_their_objects_have() -> None:
    made = objects()
    for name in sorted(MEMBERS):
        owner, _, member = name.rpartition(".")
        if absent(owner):
            continue
        module, _, class_name = owner.rpartition(".")
        found = made.get(owner, getattr(module_of(module), class_name, None))
        if found is None:
            continue  # as above
        there = hasattr(found, member) or hasattr(type(found), member)
        assert there is (absent(name) is None), f"{name}: {absent(name) or 'is missing'}"


def test_every_reason_is_of_a_name_and_in_the_page_for_people_who_move() -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "moving.md"
    rows = page.read_text(encoding="utf-8")
    known = {*section("names"), *(name.partition("/")[0] for name in NAMES), *MEMBERS}
    for pattern, reason in REASONS.items():
        assert any(fnmatchcase(name, pattern) for name in known), f"{pattern} fits no name"
        shown = pattern.removeprefix("*.")
        if not shown.rpartition(".")[2].startswith("_"):
            assert re.search(rf"^\|.*`{re.escape(shown)}`.* \| {re.escape(reason)} \|$", rows, re.MULTILINE), shown
