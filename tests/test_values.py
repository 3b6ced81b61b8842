"""Values of settings from every source; wrong ones are refused before anything has started."""

from __future__ import annotations

import configparser
import decimal
import enum
import inspect
import io
import logging
import math
import re
import signal
import socket
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from applications import Receive, Scope, Send
from clients import connect
from programs import PATIENCE, Program, Start
from servers import port_of, serving
from uvicorn.config import Config, options
from uvicorn.errors import ConfigError, StartupError
from uvicorn.launch.sources import Sources
from uvicorn.main import main
from uvicorn.worker.server import Server

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["server"][0].encode()})
"""
CALLER = """
import uvicorn
if __name__ == "__main__":
    uvicorn.run("good:app", port=0, {settings})
"""
WAYS = ["", "workers=2", "reload=True"]
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="there is no master without fork")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("kind", ["file", "parser"])
def test_a_logging_configuration_that_is_open_already(kind: str) -> None:
    text = "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nlevel=WARNING\nhandlers=\n"
    given: io.StringIO | configparser.ConfigParser = io.StringIO(text)
    if kind == "parser":
        given = configparser.ConfigParser()
        given.read_string(text)
    before = (logging.root.level, list(logging.root.handlers))
    try:
        Config("app:app", log_config=given)  # type: ignore[arg-type]  # as programs pass it
        assert logging.root.level == logging.WARNING
    finally:
        logging.root.level, logging.root.handlers = before


# -- several addresses -----------------------------------------------------------------------------------------

TWO = ["127.0.0.1", "127.0.0.2"]


def asked(program: Program) -> list[str]:
    """The answer of each of the addresses, once the program serves on both."""
    ports = [program.expect(rf"running on http://{re.escape(host)}:(\d+) ")[1] for host in TWO]
    assert len(set(ports)) == 1
    answers = []
    for host in TWO:
        with urllib.request.urlopen(f"http://{host}:{ports[0]}/", timeout=PATIENCE) as answer:
            answers.append(answer.read().decode())
    return answers


@needs_fork
@pytest.mark.parametrize("way", WAYS)
def test_run_listens_on_every_address_of_a_list(folder: Path, start_program: Start, way: str) -> None:
    program = start_program(CALLER.format(settings=f"host={TWO!r}, {way}"))
    assert asked(program) == TWO


@needs_fork
@pytest.mark.parametrize("way", ["argument", "environment", "file"])
def test_the_command_listens_on_every_address_that_is_named(folder: Path, start_command: Start, way: str) -> None:
    arguments, environment = ["good:app", "--port", "0"], {}
    if way == "argument":
        arguments += ["--host", ",".join(TWO), "--workers", "2"]
    elif way == "environment":
        environment["UVICORN_HOST"] = ",".join(TWO)
    else:
        if sys.version_info < (3, 11):
            pytest.importorskip("tomli")
        (folder / "uvicorn.toml").write_text(f"host = {TWO!r}\n")
        arguments += ["--config", "uvicorn.toml"]
    assert asked(start_command(*arguments, env=environment)) == TWO


# -- values that have one clear meaning ------------------------------------------------------------------------


class Level(str, enum.Enum):
    DEBUG = "DEBUG"


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("log_level", "INFO", "info"),
        ("log_level", "Warning", "warning"),
        ("log_level", Level.DEBUG, "debug"),
        ("log_level", logging.ERROR, logging.ERROR),
        ("workers", 0, 1),
        ("workers", -1, 1),
        ("workers", "3", 3),
        ("limit_concurrency", 0, 0),
        ("backlog", 0, 0),
        ("backlog", -1, 0),
        ("backlog", 10**30, 2**31 - 1),
        ("timeout_graceful_shutdown", -1, 0),
        ("timeout_keep_alive", -1, 0),
        ("timeout_keep_alive", "7", 7),
        ("timeout_keep_alive", "0.5", 0.5),
        ("timeout_keep_alive", 2592000, 2592000),
        ("timeout_keep_alive", None, 5),
        ("limit_max_requests", 1e3, 1000),
        ("port", "8080", 8080),
        ("port", None, 0),
        ("ws_max_queue", 0, 1),
        ("ws_ping_interval", decimal.Decimal("1.5"), 1.5),
        ("loop", None, "none"),
        ("ws", None, "none"),
        ("http", None, "auto"),
        ("uds", "", None),
        ("ssl_certfile", "", None),
        ("proxy_headers", None, True),
        ("access_log", 0, False),
        ("access_log", "no", False),
        ("use_colors", "yes", True),
        ("use_colors", "auto", None),
        ("ssl_version", ssl.PROTOCOL_TLS_SERVER, 17),
        ("ssl_cert_reqs", ssl.CERT_REQUIRED, 2),
        ("root_path", None, ""),
        ("forwarded_allow_ips", ("10.0.0.1",), ["10.0.0.1"]),
        ("pid", Path("x"), "x"),
        ("headers", {"A": "b"}, [("A", "b")]),
        ("headers", [(b"A", b"\xe9")], [("A", "\xe9")]),
        ("headers", ["A: b"], [("A", "b")]),
        ("headers", None, []),
        ("timeout_notify", "30", 30.0),
        ("timeout_notify", None, 30),
    ],
)
def test_what_a_value_means(name: str, given: Any, meant: object) -> None:
    found = getattr(Config("app:app", **{name: given}), name)
    assert (found, type(found)) == (meant, type(meant))


def test_a_level_in_capitals_by_each_way(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UVICORN_LOG_LEVEL", "WARNING")
    assert "'good:app'" not in CliRunner().invoke(main, ["good:app", "--print-config"]).output
    for arguments, level in (([], "warning"), (["--log-level", "Debug"], "debug")):
        shown = CliRunner().invoke(main, ["good:app", "--print-config", *arguments])
        assert f'log_level = "{level}"' in shown.output, shown.output
    (folder / "uvicorn.toml").write_text('log-level = "ERROR"\n')
    assert Config(**Sources({"app": "good:app"}, {}, "uvicorn.toml").values).log_level == "error"


@pytest.mark.parametrize(("text", "count"), [("0", 1), (" 2 ", 2), ("", 1), ("-1", 1)])
def test_web_concurrency_of_none_is_one(monkeypatch: pytest.MonkeyPatch, text: str, count: int) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", text)
    assert Config("app:app").workers == count


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here", "more_body": None})


async def test_limits_of_none_let_everybody_in() -> None:
    async with serving(echo, lifespan="off", limit_concurrency=0, limit_max_requests=0, backlog=0) as server:
        for _ in range(2):
            async with connect(server) as client:
                assert (await client.get())[::2] == (200, b"here")


# -- the environment file --------------------------------------------------------------------------------------


def test_an_environment_file_that_is_not_there_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "uvicorn.error")
    assert Config("app:app", env_file="", log_config=None)._environment is None
    assert caplog.messages == []
    assert Config("app:app", env_file="nowhere.env", log_config=None)._environment is None
    assert caplog.messages == ["There is no environment file 'nowhere.env': continuing without it."]


@needs_fork
@pytest.mark.parametrize("way", WAYS)
def test_run_warns_once_of_what_it_leaves_out(folder: Path, start_program: Start, way: str) -> None:
    headers = [("Connection", "close"), ("Connection", "keep-alive"), ("Keep-Alive", "timeout=5")]
    program = start_program(CALLER.format(settings=f"env_file='nowhere.env', headers={headers}, {way}"))
    port = program.listens()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.lower().count(b"connection: close\r\n") == answer.lower().count(b"connection") == 1
    assert program.text.count("There is no environment file 'nowhere.env'") == 1
    left_out = "--header Connection: keep-alive, Keep-Alive: timeout=5 is not sent"
    assert program.text.count(left_out) == 1


@pytest.mark.parametrize("way", ["argument", "environment", "file"])
def test_the_command_refuses_an_environment_file_that_is_not_there(
    way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"argument": ["--env-file", "nowhere.env"], "environment": [], "file": ["--config", "uvicorn.toml"]}
    if way == "environment":
        monkeypatch.setenv("UVICORN_ENV_FILE", "nowhere.env")
    Path("uvicorn.toml").write_text('env-file = "nowhere.env"')
    result = CliRunner().invoke(main, ["good:app", *arguments[way]])
    assert result.exit_code == 2
    assert "nowhere.env" in result.output


# -- Connection: close -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize("headers", [[("Connection", "close")], [("connection", "x-a, Close"), ("X-A", "b")]])
async def test_every_answer_closes(http: str, headers: list[tuple[str, str]]) -> None:
    async with serving(echo, lifespan="off", http=http, headers=headers) as server:
        for version in ("1.1", "1.0"):
            async with connect(server) as client:
                client.send(f"GET / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".encode() * 2)
                answer = await client.ended()
                assert answer.count(b"HTTP/1.1 200") == answer.lower().count(b"connection: close\r\n") == 1
                assert answer.endswith(b"here")


def test_another_value_of_connection_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "uvicorn.error")
    config = Config(echo, headers=[("Connection", "x-a"), ("B", "c"), ("Upgrade", "h2c")], log_config=None)
    assert config.headers == [("B", "c")]
    assert caplog.messages == [
        "--header Connection: x-a, Upgrade: h2c is not sent: the server manages its connections itself."
    ]


# -- messages that hold None -----------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [None, False])
async def test_a_body_of_none_is_empty(more: bool | None) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        if more is None:
            await send({"type": "http.response.body", "body": None, "more_body": True})
        await send({"type": "http.response.body", "body": None, "more_body": more})

    async with serving(app, lifespan="off") as server, connect(server) as client:
        assert (await client.get())[::2] == (200, b"")
        assert (await client.get())[::2] == (200, b"")


# -- every option, and values that it was not made for ---------------------------------------------------------


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("not me")


NAMES = [name for name in inspect.signature(Config).parameters if name != "app"]
ODD: list[object] = [
    *(None, True, False, "", "256.1.1.1.1", "\0", "\udc80", b"bytes", [], ["256.1.1.1.1"], [1], [None], ["\0"], {}),
    *("\ud800", ["\ud800"]),
    *({"a": 1}, {1, 2}, 0, 1, -1, -(10**30), 10**30, 10**400, 10**5000, 0.5, math.nan, math.inf, -math.inf, 1e300),
    *("9" * 5000, "nan", "-1", "1e400", object(), Unshowable(), Path("256.1.1.1.1"), Path("\udc80"), iter(())),
    *(decimal.Decimal("1.5"), decimal.Decimal("NaN"), decimal.Decimal("sNaN"), 1j, Level.DEBUG, b"", bytearray(b"x")),
]


def named(exc: Exception, name: str) -> bool:
    """Check that the error is one sentence that names the setting."""
    flag = options()[name].flag if name in options() else name
    text = str(exc)
    assert flag in text or (name == "headers" and "header" in text), (name, text)
    assert text.endswith(".") and "\n" not in text, text
    return True


@pytest.mark.parametrize("name", NAMES)
async def test_a_value_is_refused_before_anything_starts_or_it_is_served_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ODD:
        settings: dict[str, Any] = {"port": 0, "lifespan": "off", "log_config": None, name: value}
        if name == "log_config" and value is None:
            continue
        try:
            config = Config(echo, **settings)
        except ConfigError as exc:
            named(exc, name)
            continue
        if sys.platform != "win32":
            from uvicorn.supervisor.master import policy_of

            policy_of(config)
        try:
            async with Server(config).running() as server:
                if config.uds is None and name not in ("limit_request_line", "proxy_protocol"):  # that refuses it
                    async with connect(port_of(server)) as client:
                        assert (await client.get()).status == 200, (name, value)
        except StartupError as exc:  # no such name, file or descriptor; and `echo` is no factory
            assert config.factory or named(exc, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("port", "http"), ("host", 5), ("headers", 5), ("headers", [("a", 1)]), ("limit_concurrency", -1)),
        *(("lifespan", "maybe"), ("timeout_graceful_shutdown", "soon"), ("root_path", 1), ("ssl_keyfile", "key.pem")),
    ],
)
async def test_what_is_changed_to_before_the_start_is_refused_too(name: str, value: object) -> None:
    config = Config(echo, port=0, lifespan="off", log_config=None)
    setattr(config, name, value)
    with pytest.raises(ConfigError) as caught:
        async with Server(config).running():
            pass
    named(caught.value, name)
    with pytest.raises(ConfigError):
        config.bind()


@pytest.mark.parametrize(
    ("name", "value"), [("port", "0"), ("backlog", 10**30), ("host", ("127.0.0.1",)), ("headers", {"A": "b"})]
)
async def test_what_is_changed_to_before_the_start_is_made_plain(name: str, value: object) -> None:
    config = Config(echo, port=0, lifespan="off", log_config=None)
    setattr(config, name, value)
    async with Server(config).running() as server, connect(port_of(server)) as client:
        assert (await client.get()).status == 200


@pytest.mark.parametrize("name", sorted(options()))
def test_the_command_and_a_file_refuse_with_exit_2_or_take(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    texts = ["", "256.1.1.1.1", "-1", "0", "9" * 5000, "1e400", "nan", "a:b", "\udc80"]
    ways = [[options()[name].flag, text] for text in texts if name != "app"]
    for number, line in enumerate(("''", "'x'", "'\\u0000'", "1e400", "nan", "-1", "9" * 400, "[1]", "{a=1}", "true")):
        Path(f"{number}.toml").write_text(f"{name} = {line.replace(chr(39), chr(34))}\n")
        ways.append(["--config", f"{number}.toml"])
    for way in ways:
        result = CliRunner().invoke(main, ["good:app", "--check-config", *way])
        assert result.exception is None or isinstance(result.exception, SystemExit), (way, result.exc_info)
        assert result.exit_code in (0, 2, 3), (way, result.output)
        assert "Traceback" not in result.output


# -- limits that a master alone can keep -----------------------------------------------------------------------

LIMITS = {
    "limit_worker_memory": "1GB",
    "limit_worker_lifetime": 9,
    "timeout_worker_boot": 9,
    "timeout_worker_healthcheck": 9,
}
IN_VAIN = (
    "--limit-worker-memory, --limit-worker-lifetime, --timeout-worker-boot, --timeout-worker-healthcheck: no effect"
)


def of_limits(messages: list[str]) -> list[str]:
    return [text for text in messages if "no effect" in text]


async def test_limits_without_a_master_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo, lifespan="off", **LIMITS):
        pass
    (text,) = of_limits(caplog.messages)
    assert text.startswith(f"{IN_VAIN} without a master.") and "--supervise" in text
    caplog.clear()
    async with serving(echo, lifespan="off", **dict.fromkeys(LIMITS, 0)), serving(echo, lifespan="off"):
        pass
    assert of_limits(caplog.messages) == []


@needs_fork
@pytest.mark.parametrize(("way", "count"), [("", 1), ("supervise=True", 0), ("workers=2", 0), ("reload=True", 1)])
def test_run_warns_of_limits_without_a_master(folder: Path, start_program: Start, way: str, count: int) -> None:
    program = start_program(CALLER.format(settings=f"**{LIMITS}, {way}"))
    program.expect("Application startup complete")
    assert program.end(signal.SIGINT) in (0, -2)
    assert program.text.count(IN_VAIN) == program.text.count("no effect") == count
