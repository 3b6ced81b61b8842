"""The default logging configuration and its formatters.

Owns: `LOGGING_CONFIG` (a dictionary for `logging.config.dictConfig`, which programs may change before they start a
server) and the formatters that it names. The names of the loggers are public: `uvicorn`, `uvicorn.error`,
`uvicorn.access`, `uvicorn.asgi`. The `args` of an access record are (client_addr, method, full_path, http_version,
status_code). Must not: know a request, a process or a file. Fails by: nothing of its own.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TextIO

from uvicorn.surface.later import Later

if TYPE_CHECKING:
    import http

    import click
else:
    click = Later("click", globals())
    http = Later("http", globals())

TRACE_LOG_LEVEL = 5

LOG_LEVELS: dict[str, int] = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE_LOG_LEVEL,
}

ACCESS_FORMAT = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
"""The format of the default access line, whatever a program makes of LOGGING_CONFIG."""

LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {
            "()": "uvicorn.logging.DefaultFormatter",
            "fmt": "%(levelprefix)s %(message)s",
            "use_colors": None,
        },
        "access": {
            "()": "uvicorn.logging.AccessFormatter",
            "fmt": ACCESS_FORMAT,
        },
    },
    "handlers": {
        "default": {
            "formatter": "default",
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stderr",
        },
        "access": {
            "formatter": "access",
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
        },
    },
    "loggers": {
        "uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "uvicorn.error": {"level": "INFO"},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}


def with_colors(config: dict[str, Any], use_colors: bool | None) -> dict[str, Any]:
    """A copy of `config` with `use_colors` set in its formatters "default" and "access"; `config` if it is None."""
    if use_colors is None or "formatters" not in config:
        return config
    formatters = {
        name: {**spec, "use_colors": use_colors} if name in ("default", "access") else spec
        for name, spec in config["formatters"].items()
    }
    return {**config, "formatters": formatters}


Colour = Callable[[Any], str]


def _colour(name: str) -> Colour:
    return lambda text: click.style(str(text), fg=name)


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether it is a terminal. A closed standard stream is None or raises, and a program may have replaced it by
    anything.
    """
    try:
        return stream is not None and bool(stream.isatty())
    except Exception:
        return False


class ColourizedFormatter(logging.Formatter):
    """A formatter with `%(levelprefix)s`: the level's name and a colon, padded to ten columns.

    `use_colors=None` uses colors if standard output is a terminal. `level_name_colors` maps a level to the function
    that colors its name; programs may change it, or have another one in a subclass.
    """

    level_name_colors: dict[int, Colour] = {  # noqa: RUF012  # no ClassVar: a subclass may set it per object
        TRACE_LOG_LEVEL: _colour("blue"),
        logging.DEBUG: _colour("cyan"),
        logging.INFO: _colour("green"),
        logging.WARNING: _colour("yellow"),
        logging.ERROR: _colour("red"),
        logging.CRITICAL: _colour("bright_red"),
    }

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        self.use_colors = _is_terminal(sys.stdout) if use_colors is None else use_colors
        super().__init__(fmt=fmt, datefmt=datefmt, style=style)

    def color_level_name(self, level_name: str, level_no: int) -> str:
        """The level's name in its color; unknown levels are not colored."""
        return self.level_name_colors.get(level_no, str)(level_name)

    def should_use_colors(self) -> bool:
        """For subclasses: whether the output of this formatter can show colors."""
        return True

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format a copy of `record`, so that other handlers see it unchanged."""
        return self._format_twin(_twin(record))

    def _format_twin(self, twin: logging.LogRecord) -> str:
        name = twin.levelname
        padding = " " * (8 - len(name))
        if self.use_colors:
            name = self.color_level_name(name, twin.levelno)
            if "color_message" in twin.__dict__:
                twin.msg = twin.__dict__["color_message"]
                twin.__dict__["message"] = twin.getMessage()
        twin.__dict__["levelprefix"] = f"{name}:{padding}"
        return super().formatMessage(twin)


class DefaultFormatter(ColourizedFormatter):
    """The formatter of every logger but the access log's. `use_colors=None` uses colors if standard error, where these
    lines go, is a terminal.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        if use_colors is None:
            use_colors = _is_terminal(sys.stderr)
        super().__init__(fmt, datefmt, style, use_colors)

    def should_use_colors(self) -> bool:
        return _is_terminal(sys.stderr)


class AccessFormatter(ColourizedFormatter):
    """Adds `%(client_addr)s`, `%(request_line)s` and `%(status_code)s` (number and phrase) to an access record.

    `status_code_colours` maps the first digit of a status to the function that colors number and phrase.
    """

    status_code_colours: dict[int, Colour] = {  # noqa: RUF012  # as above
        1: _colour("bright_white"),
        2: _colour("green"),
        3: _colour("yellow"),
        4: _colour("red"),
        5: _colour("bright_red"),
    }

    def get_status_code(self, status_code: int) -> str:
        """`200 OK`, colored by its first digit; a status without a phrase is the number and a space."""
        text = status_text(status_code)
        if self.use_colors:
            return self.status_code_colours.get(status_code // 100, str)(text)
        return text

    def formatMessage(self, record: logging.LogRecord) -> str:
        twin = _twin(record)
        client_addr, method, full_path, http_version, status_code = record.args  # type: ignore[misc]  # our contract
        request_line = f"{method} {full_path} HTTP/{http_version}"
        if self.use_colors:
            request_line = click.style(request_line, bold=True)
        twin.__dict__.update(
            client_addr=client_addr,
            request_line=request_line,
            status_code=self.get_status_code(status_code),  # type: ignore[arg-type]  # our contract
        )
        return self._format_twin(twin)


def _twin(record: logging.LogRecord) -> logging.LogRecord:
    """A copy, six times as fast as `copy.copy`: it is made for every line."""
    twin = logging.LogRecord.__new__(type(record))
    twin.__dict__.update(record.__dict__)
    return twin


@lru_cache(maxsize=1000)
def status_text(status_code: int) -> str:
    """`200 OK`; a status without a phrase is the number and a space."""
    try:
        return f"{status_code} {http.HTTPStatus(status_code).phrase}"
    except ValueError:
        return f"{status_code} "
