"""What a log line looks like, and that configuring it leaves the dictionary of the program alone."""

from __future__ import annotations

import copy
import io
import logging
import logging.config
import sys
from typing import Any

import pytest

from uvicorn.config import Config
from uvicorn.logging import LOG_LEVELS, LOGGING_CONFIG, TRACE_LOG_LEVEL, AccessFormatter, DefaultFormatter

NAMES = ["uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"]


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def record(level: int = logging.INFO, text: str = "text", *arguments: Any, **extra: Any) -> logging.LogRecord:
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
def test_colours_where_a_terminal_is(monkeypatch: pytest.MonkeyPatch, formatter: Any, stream: str) -> None:
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
def test_levels(name: Any) -> None:
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
