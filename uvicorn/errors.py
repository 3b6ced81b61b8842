"""Errors by whose they are, and the exit codes.

Owns: the exception tree and the table of exit codes. Three kinds of fault are three classes: the peer's
(`BadRequest`, carries an HTTP status), the application's (its own exceptions, or `StartupError` when it cannot be
started), and ours (anything else). Must not: log, exit, or know which process it runs in.
"""

from __future__ import annotations

import enum
import sys
import traceback
from types import TracebackType


class ExitCode(enum.IntEnum):
    """Exit codes of the command and of every worker; the same with one worker and with many."""

    OK = 0
    """Asked to stop, and drained."""
    INTERNAL = 1
    """A fault of the server itself, or an application whose lifespan ended while it was served."""
    USAGE = 2
    """A wrong option, value or combination."""
    STARTUP = 3
    """The application could not be started: import, attribute, lifespan, bind, TLS."""
    CRASH_LOOP = 4
    """Workers kept dying and the restart budget is spent."""
    FORCED = 5
    """The drain deadline passed and the master had to kill a worker."""


class UvicornError(Exception):
    """Base class of this package's exceptions with a known reason; the text is one sentence."""

    exit_code = ExitCode.INTERNAL


class ConfigError(UvicornError, ValueError):
    """An option has a value that cannot work."""

    exit_code = ExitCode.USAGE


class StartupError(UvicornError):
    """The application, or what it needs to be served, could not be started.

    `__cause__`, when there is one, is the application's own exception: its traceback is shown with the sentence.
    """

    exit_code = ExitCode.STARTUP


class BindError(StartupError):
    """A listening socket could not be opened."""


class LifespanError(StartupError):
    """The application said `lifespan.startup.failed`, or raised during startup."""


class BadRequest(Exception):
    """An error of the peer: answered with `status`, never shown to the application.

    `reason` is for the log and the response body; it quotes nothing the peer sent. `fields` go into the response.
    """

    def __init__(self, status: int, reason: str, fields: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.fields = fields

    @property
    def body(self) -> str:
        """The body of the response. In a 400 it begins as that of uvicorn 0.54, which clients may look for."""
        return f"Invalid HTTP request received. {self.reason}" if self.status == 400 else self.reason


class ClientDisconnected(OSError):
    """Raised by the application's `send` once the peer has left (ASGI spec, HTTP, "Disconnected Client")."""


def describe_failure(error: BaseException) -> str:
    """The message of a startup failure, preceded by the application's traceback if there is one.

    Frames of the import machinery and of this package above the application's first frame are cut: they do not help
    to find the error.
    """
    cause = error.__cause__ if isinstance(error, StartupError) else error
    if cause is None:
        return str(error)
    text = "".join(traceback.format_exception(*shown(cause))).rstrip()
    return f"{text}\n{error}" if isinstance(error, StartupError) else text


def shown(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """`exc_info` for `logging` from an exception of the application, without the frames that do not help."""
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return type(error), error, frames


def _is_machinery(filename: str) -> bool:
    machinery = ("<frozen importlib", "<builtin>/frozen importlib", _PACKAGE)  # the second is PyPy's
    return filename.startswith(machinery) or "/importlib/" in filename


_PACKAGE = __file__.rpartition("errors.py")[0]


def say(text: str) -> None:
    """Write a line to standard error, not to the log. Never fails, even if it is closed, full, or cannot encode it."""
    try:
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass
