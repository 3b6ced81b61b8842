"""The access log of a worker: who listens, what they need, and a shortcut to a log file.

A line without duration and size is written when a response starts. If a handler of `uvicorn.access` has a
`RequestFormatter`, each request has an `entry` instead, which is written when its response has ended.

The shortcut: if the only listener is one of our handlers with one of our formatters, and `logging` was not changed, the
handler gets the line as text. A `LogRecord`, with the calls of filters, handlers and formatters, costs ten times as
much and would not be seen by anyone. A filter, a level, another handler or propagation ends the shortcut at once.

Owns: that decision, and request ids. Must not: know a transport or a codec. Fails by: nothing.
"""

from __future__ import annotations

import logging
import os
import random
import re
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.logging import ACCESS_FORMAT, AccessFormatter, status_text
from uvicorn.logs.files import LineHandler

if TYPE_CHECKING:
    from uvicorn.logs.formats import AccessRecord, RequestFormatter
    from uvicorn.worker.access.entry import Entry
    from uvicorn.worker.http.request import Request

CLIENT_LEFT = 499
"""The status that is logged if the client has left before the response (nginx's number)."""

MESSAGE = '%s - "%s %s HTTP/%s" %d'

_INFO = logging.INFO
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_USED = ("info", "_log", "makeRecord", "handle", "callHandlers", "isEnabledFor")


class AccessLog:
    """The access log of one server. Before `settle` it writes lines without durations, through `logging`.

    `follows`: requests have entries, for durations and sizes.
    """

    CLIENT_LEFT: ClassVar[int] = CLIENT_LEFT

    __slots__ = ("_direct", "_formatter", "_log", "_random", "follows", "names_requests")

    def __init__(self) -> None:
        self._log = logging.getLogger("uvicorn.access")
        self._direct: LineHandler | None = None
        self._formatter: Any = None
        self._random = random.Random()
        self.follows = self.names_requests = False

    def settle(self, wanted: bool) -> bool:
        """Look who listens now. True if lines are wanted when a response starts; `follows` is set if entries are."""
        log = self._log
        wanted = wanted and log.hasHandlers() and log.isEnabledFor(_INFO)
        followers = _followers(log) if wanted else []
        self.names_requests = any(formatter.names_requests for formatter in followers)
        self._random.seed(os.urandom(16))  # a fork has the state of its parent
        self._direct = self._formatter = None
        self.follows = bool(followers)
        if wanted and len(log.handlers) == 1 and _is_untouched(log):
            handler = log.handlers[0]
            if isinstance(handler, LineHandler) and (handler.formatter in followers or _is_plain(handler.formatter)):
                self._direct, self._formatter = handler, handler.formatter
        return wanted and not followers

    def line(self, client: str, method: str, path: str, http_version: str, status: int) -> None:
        """Write a line without duration and size."""
        handler = self._direct
        if handler is not None and self._still(handler):
            handler.put(f'INFO:     {client} - "{method} {path} HTTP/{http_version}" {status_text(status)}')
        else:
            self._log.info(MESSAGE, client, method, path, http_version, status)

    def tell(self, e: AccessRecord) -> None:
        """Write the line of an entry. Its `LogRecord` has the usual arguments, because filters look at them."""
        handler = self._direct
        if handler is not None and self._still(handler):
            handler.put(self._formatter.line(e))
        else:
            client = shown(e.client)
            self._log.info(MESSAGE, client, e.method, e.quoted, e.http_version, e.status, extra={"exchange": e})

    def _still(self, handler: LineHandler) -> bool:
        """Whether the shortcut still has the same result."""
        log = self._log
        handlers = log.handlers
        return (
            len(handlers) == 1
            and handlers[0] is handler
            and handler.formatter is self._formatter
            and not (log.filters or log.propagate or handler.filters)
            and handler.level <= _INFO
            and log.isEnabledFor(_INFO)
        )

    def follow(self, request: Request, scope: dict[str, Any], trusted: bool) -> Entry | None:
        """A new entry for a request; None if none are wanted."""
        if not self.follows:
            return None
        from uvicorn.worker.access.entry import Entry

        return Entry(self, request, scope, trusted)

    def refused(self, client: tuple[str, Any] | None, status: int, sent: int) -> None:
        """Write a line for a request that could not be read, and of which there is nothing to show."""
        if self.follows:
            from uvicorn.logs.formats import AccessRecord

            self.tell(AccessRecord(client, "", "", "", b"", [], status, b"", sent, 0.0, True, ""))

    def request_id(self, request: Request, trusted: bool) -> str:
        """The id that a trusted proxy has given to this request, else a new one: 32 hexadecimal digits."""
        return (trusted and _given_id(request)) or f"{self._random.getrandbits(128):032x}"


def named(entry: Entry | None, request: Request, client: str, line: str, trusted: bool) -> str:
    """A request in a log line about a failure. It starts like the line in the access log, so that both can be found,
    and ends with the request id of the access log (`entry`) or of a trusted proxy."""
    request_id = (entry is not None and entry.request_id) or (trusted and _given_id(request))
    return f'{client} - "{line}", request {request_id}' if request_id else f'{client} - "{line}"'


def _given_id(request: Request) -> str:
    for name, value in request.fields:
        if name == b"x-request-id":
            return value.decode("ascii") if _GIVEN_ID.fullmatch(value) else ""
    return ""


def shown(client: tuple[str, Any] | None) -> str:
    """A client's address in a log line. A forwarded one may have a zone with any bytes (fe80::1%…)."""
    if client is None:
        return ""
    text = f"{client[0]}:{client[1]}"
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def shown_target(mount: str, target: bytes) -> str:
    """The path and query of a request, for a log line that quotes it. They are printable ASCII already."""
    text = mount + target.decode("ascii")
    return text.replace('"', "%22") if '"' in text else text


def _followers(log: logging.Logger | None) -> list[RequestFormatter]:
    """The formatters of this logger's records that need durations and sizes."""
    module = sys.modules.get("uvicorn.logs.formats")  # who has one has imported it
    found: list[RequestFormatter] = []
    while module is not None and log is not None:
        found += [h.formatter for h in log.handlers if isinstance(h.formatter, module.RequestFormatter)]
        log = log.parent if log.propagate else None
    return [formatter for formatter in found if formatter is not None]


def _is_untouched(log: logging.Logger) -> bool:
    """Whether `logging` is as in the standard library: tools that observe it replace parts of it."""
    parts = [getattr(logging.Logger, name) for name in _USED]
    standard = all(type(part) is FunctionType and part.__globals__ is vars(logging) for part in parts)
    return standard and type(log) is logging.Logger and logging.getLogRecordFactory() is logging.LogRecord


def _is_plain(formatter: logging.Formatter | None) -> bool:
    """Whether it makes exactly the line that `AccessLog.line` makes."""
    if type(formatter) is not AccessFormatter or formatter.use_colors:
        return False
    return formatter._fmt == ACCESS_FORMAT and "get_status_code" not in vars(formatter)
