"""What a log line looks like, and that configuring it leaves the dictionary of the program alone."""

from __future__ import annotations

import builtins
import contextlib
import copy
import io
import json
import logging
import logging.config
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import uvicorn.config
from applications import Receive, Scope, Send
from programs import Start
from uvicorn import errors
from uvicorn.config import Config, LogLevelType
from uvicorn.errors import ConfigError
from uvicorn.logging import (
    LOG_LEVELS,
    LOGGING_CONFIG,
    TRACE_LOG_LEVEL,
    AccessFormatter,
    ColourizedFormatter,
    DefaultFormatter,
)
from uvicorn.supervisor.actions import Status
from uvicorn.supervisor.child import set_title
from uvicorn.supervisor.notify import Notifier

NAMES = ["uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"]


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def record(level: int = logging.INFO, text: str = "text", *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("uvicorn.error", level, __file__, 1, text, arguments, None)
    made.__dict__.update(extra)
    return made


def access(status: int = 200, method: str = "GET") -> logging.LogRecord:
    return record(logging.INFO, '%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", method, "/a?b", "1.1", status)


DEFAULT = "%(levelprefix)s %(message)s"
ACCESS = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (logging.DEBUG, "DEBUG:    text"),
        (logging.INFO, "INFO:     text"),
        (logging.WARNING, "WARNING:  text"),
        (logging.ERROR, "ERROR:    text"),
        (logging.CRITICAL, "CRITICAL: text"),
        (25, "Level 25: text"),
    ],
)
def test_lines_begin_in_one_column(level: int, line: str) -> None:
    assert DefaultFormatter(DEFAULT, use_colors=False).format(record(level)) == line


def test_colours() -> None:
    formatter = DefaultFormatter(DEFAULT, use_colors=True)
    assert formatter.format(record()) == "\x1b[32mINFO\x1b[0m:     text"
    assert formatter.format(record(logging.ERROR)) == "\x1b[31mERROR\x1b[0m:    text"
    coloured = record(text="at %s", color_message="at \x1b[1m%s\x1b[0m")
    coloured.args = ("here",)
    assert formatter.format(coloured) == "\x1b[32mINFO\x1b[0m:     at \x1b[1mhere\x1b[0m"
    assert DefaultFormatter(DEFAULT, use_colors=False).format(coloured) == "INFO:     at here"


def test_a_record_is_left_as_it_was() -> None:
    """Other handlers see it as well."""
    first = record(color_message="\x1b[1mtext")
    before = dict(first.__dict__)
    DefaultFormatter(DEFAULT, use_colors=True).format(first)
    assert first.__dict__ == {**before, "message": "text"}
    second = access()
    AccessFormatter(ACCESS, use_colors=True).format(second)
    assert second.args == ("127.0.0.1:5", "GET", "/a?b", "1.1", 200)


@pytest.mark.parametrize(
    ("status", "text"), [(200, "200 OK"), (404, "404 Not Found"), (500, "500 Internal Server Error"), (299, "299 ")]
)
def test_an_access_line(status: int, text: str) -> None:
    line = AccessFormatter(ACCESS, use_colors=False).format(access(status))
    assert line == f'INFO:     127.0.0.1:5 - "GET /a?b HTTP/1.1" {text}'


@pytest.mark.parametrize(("status", "colour"), [(200, 32), (302, 33), (404, 31), (500, 91)])
def test_an_access_line_in_colours(status: int, colour: int) -> None:
    line = AccessFormatter(ACCESS, use_colors=True).format(access(status))
    assert '"\x1b[1mGET /a?b HTTP/1.1\x1b[0m"' in line and f"\x1b[{colour}m{status} " in line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("formatter", "stream"), [(DefaultFormatter, "stderr"), (AccessFormatter, "stdout")])
def test_colours_where_a_terminal_is(
    monkeypatch: pytest.MonkeyPatch, formatter: type[ColourizedFormatter], stream: str
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    assert not formatter().use_colors
    monkeypatch.setattr(sys, stream, Terminal())
    assert formatter().use_colors
    assert not formatter(use_colors=False).use_colors


def test_an_exception_follows_its_line() -> None:
    fault = record(logging.ERROR, "Exception in ASGI application\n")
    try:
        raise ValueError("x")
    except ValueError:
        fault.exc_info = sys.exc_info()
    text = DefaultFormatter(DEFAULT, use_colors=False).format(fault)
    assert text.startswith("ERROR:    Exception in ASGI application\n") and text.endswith("ValueError: x")


# -- as Config sets it up --------------------------------------------------------------------------------------


def test_the_default_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    Config(app)
    logging.getLogger("uvicorn.error").info("hello")
    logging.getLogger("uvicorn.error").debug("not this")
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/", "1.1", 200)
    out, err = capsys.readouterr()
    assert err == "INFO:     hello\n"
    assert out == 'INFO:     1.2.3.4:5 - "GET / HTTP/1.1" 200 OK\n'


@pytest.mark.parametrize("name", sorted(LOG_LEVELS))
def test_levels(name: LogLevelType) -> None:
    Config(app, log_level=name)
    assert {logging.getLogger(logger).level for logger in NAMES[1:]} == {LOG_LEVELS[name]}


def test_a_level_may_be_a_number_and_trace_has_a_name() -> None:
    Config(app, log_level=TRACE_LOG_LEVEL)
    assert logging.getLogger("uvicorn.error").isEnabledFor(5)
    assert logging.getLevelName(5) == "TRACE"


def test_no_access_log(capsys: pytest.CaptureFixture[str]) -> None:
    Config(app, access_log=False)
    logging.getLogger("uvicorn.access").info("x")
    assert capsys.readouterr() == ("", "")
    assert not logging.getLogger("uvicorn.access").hasHandlers()


@pytest.mark.parametrize("colours", [True, False])
def test_colours_as_asked_and_the_programs_dictionary_stays_as_it_was(
    colours: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    before = copy.deepcopy(LOGGING_CONFIG)
    Config(app, use_colors=colours)
    assert before == LOGGING_CONFIG
    logging.getLogger("uvicorn.error").info("x")
    assert ("\x1b[" in capsys.readouterr().err) is colours


def test_a_dictionary_of_the_programs_own(capsys: pytest.CaptureFixture[str]) -> None:
    own = copy.deepcopy(LOGGING_CONFIG)
    own["formatters"]["default"]["fmt"] = "mine %(levelprefix)s%(message)s"
    Config(app, log_config=own)
    logging.getLogger("uvicorn.error").info("x")
    assert capsys.readouterr().err == "mine INFO:    x\n"


def test_no_configuration_touches_nothing() -> None:
    marker = logging.NullHandler()
    logging.getLogger("uvicorn.access").handlers = [marker]
    logging.getLogger("uvicorn.error").setLevel(33)
    Config(app, log_config=None)
    assert logging.getLogger("uvicorn.access").handlers == [marker]
    assert logging.getLogger("uvicorn.error").level == 33


# -- log_config as a file --------------------------------------------------------------------------------------

INI = """
[loggers]
keys = root, uvicorn

[handlers]
keys = mine

[formatters]
keys = mine

[logger_root]
handlers =

[logger_uvicorn]
qualname = uvicorn
level = INFO
propagate = 0
handlers = mine

[handler_mine]
class = StreamHandler
formatter = mine
args = (sys.stderr,)

[formatter_mine]
format = ini %(message)s
"""


def own_config() -> dict[str, Any]:
    own = copy.deepcopy(LOGGING_CONFIG)
    own["formatters"]["default"]["fmt"] = "own %(levelprefix)s%(message)s"
    return own


@pytest.mark.parametrize("kind", ["json", "yaml", "yml", "ini", "conf", "Path"])
def test_a_file(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"log.{kind.lower()}"
    if kind in ("yaml", "yml"):
        pytest.importorskip("yaml")
    if kind == "Path":
        path = path.with_suffix(".json")
    path.write_text(INI if kind in ("ini", "conf") else json.dumps(own_config()))
    other = logging.getLogger("test.other")
    Config(app, log_config=path if kind == "Path" else str(path))
    logging.getLogger("uvicorn.error").info("x")
    assert capsys.readouterr().err == ("ini x\n" if kind in ("ini", "conf") else "own INFO:    x\n")
    assert not other.disabled


def test_colours_reach_what_a_file_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.json").write_text(json.dumps(own_config()))
    Config(app, log_config=str(tmp_path / "log.json"), use_colors=True)
    logging.getLogger("uvicorn.error").info("x")
    assert "\x1b[32mINFO" in capsys.readouterr().err


@pytest.mark.parametrize("colours", [True, False])
def test_colours_are_set_for_both_formatters(colours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`logging.config` is used as a module, because programs patch it."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("uvicorn.config.logging.config.dictConfig", seen.append)
    Config(app, use_colors=colours)
    assert {name: spec["use_colors"] for name, spec in seen[0]["formatters"].items()} == {
        "default": colours,
        "access": colours,
    }


def test_open_is_looked_up_in_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: str, *arguments: object) -> io.StringIO:
        assert path == "imagined.json"
        return io.StringIO(json.dumps({"version": 1, "disable_existing_loggers": False}))

    monkeypatch.setattr(uvicorn.config, "open", opened, raising=False)
    Config(app, log_config="imagined.json")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("nowhere.json", None, "No such file or directory"),
        ("nowhere.ini", None, "there is no such file"),
        ("log.json", "{", "line 1 column 2"),
        ("log.json", "[]", "it does not contain a dictionary for logging.config.dictConfig"),
        ("log.json", '{"version": 2}', "Unsupported version: 2"),
        ("log.json", '{"version": 1, "handlers": {"h": {"class": "no.Such"}}}', "Unable to configure handler 'h'"),
        ("log.ini", "[loggers]\nkeys = nobody\n", "there is no 'formatters'"),
        ("log.ini", "no section", "no section"),
    ],
)
def test_a_file_that_cannot_be_used(name: str, text: str | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        Config(app, log_config=str(path))
    assert str(raised.value).startswith(f"--log-config {path} cannot be used: ")
    assert sentence in str(raised.value)


def test_yaml_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def importing(name: str, *arguments: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *arguments)

    (tmp_path / "log.yaml").write_text("version: 1")
    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(ConfigError, match=r"YAML needs the package PyYAML\. Run: pip install PyYAML"):
        Config(app, log_config=str(tmp_path / "log.yaml"))


def test_a_line_that_a_stream_cannot_encode_is_escaped(start_command: Start, tmp_path: Path) -> None:
    """Neither the process title nor a line with the application's name may end the server."""
    (tmp_path / "\N{LATIN SMALL LETTER U WITH DIAERESIS}ber.py").write_text(
        "import logging\n"
        "logging.getLogger('uvicorn.error').info('caf\\u00e9 \\udcff')\n"
        "async def app(scope, receive, send): raise RuntimeError('\\u2603')\n",
        encoding="utf-8",
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"}
    name = os.fsdecode("\N{LATIN SMALL LETTER U WITH DIAERESIS}ber:app".encode())
    server = start_command(name, "--port", "0", "--supervise", "--lifespan", "off", env=plain)
    server.expect(r"caf\\xe9 \\udcff")
    assert server.port
    with contextlib.closing(server.ask("/")) as connection:
        assert connection.getresponse().status == 500
    server.expect(r"RuntimeError: \\u2603")
    assert "Logging error" not in server.text
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("stream", [None, object(), io.TextIOWrapper(io.BytesIO(), "ascii", "strict")])
def test_a_last_word_never_fails(stream: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    errors.say("caf\u00e9 \udcff")
    if isinstance(stream, io.TextIOWrapper):
        assert stream.buffer.getvalue() == b"caf\\xe9 \\udcff\n"


def test_a_stream_that_cannot_say_whether_it_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, object())
    assert not DefaultFormatter().use_colors and not ColourizedFormatter().use_colors


@pytest.mark.parametrize("fault", [UnicodeEncodeError("ascii", "x", 0, 1, "no"), RuntimeError("no")])
def test_a_title_that_cannot_be_set_is_none(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setitem(sys.modules, "setproctitle", mock.Mock(setproctitle=said.append))
    set_title("\udcc3\udcbcber")
    assert said == ["\u00fcber"]
    monkeypatch.setitem(sys.modules, "setproctitle", mock.Mock(setproctitle=mock.Mock(side_effect=fault)))
    set_title("app")


def test_a_status_that_cannot_be_encoded_or_sent_ends_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        Notifier(path).send(Status.READY, "\udcff", 0.0)
        assert manager.recv(100) == b"READY=1\nSTATUS=\\udcff"
    Notifier("/x\0y").send(Status.READY, "", 0.0)
