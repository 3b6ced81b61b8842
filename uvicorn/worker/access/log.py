"""The access log as a worker writes it: who listens, what they need, and the short way to a file.

A plain line is told when a response begins and needs nothing but the request. When a handler of `uvicorn.access` has a
`RequestFormatter`, requests are followed to the end of their response instead (`entry`).

The short way: when the only listener is a handler of ours with a formatter of ours, and nobody has changed how logging
works, the line is handed to the handler as text. A record, and a turn of each filter, handler and formatter, cost ten
times as much, and nobody would see them. A filter, a level, another handler or propagation ends it at once.

Owns: that choice, and request ids. Must not: know a transport or a codec. Fails by: nothing of its own.
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
"""What stands for a status when the client left before there was one (nginx's number)."""

MESSAGE = '%s - "%s %s HTTP/%s" %d'

_INFO = logging.INFO
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_USED = ("info", "_log", "makeRecord", "handle", "callHandlers", "isEnabledFor")


class AccessLog:
    """The access log of one server. Until `settle` it goes the long way and knows plain lines only.

    `follows`: requests are followed to the end of their response.
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
        """Look who listens now. True when somebody wants plain lines; `follows` is set when they want more."""
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
        """A plain line."""
        handler = self._direct
        if handler is not None and self._still(handler):
            handler.put(f'INFO:     {client} - "{method} {path} HTTP/{http_version}" {status_text(status)}')
        else:
            self._log.info(MESSAGE, client, method, path, http_version, status)

    def tell(self, e: AccessRecord) -> None:
        """The line of a request that was followed. Its record has the arguments of a plain one, for filters."""
        handler = self._direct
        if handler is not None and self._still(handler):
            handler.put(self._formatter.line(e))
        else:
            client = shown(e.client)
            self._log.info(MESSAGE, client, e.method, e.quoted, e.http_version, e.status, extra={"exchange": e})

    def _still(self, handler: LineHandler) -> bool:
        """Whether nobody else listens, and nobody has a word in it."""
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
        """What becomes the line of a request; None when none are followed."""
        if not self.follows:
            return None
        from uvicorn.worker.access.entry import Entry

        return Entry(self, request, scope, trusted)

    def request_id(self, request: Request, trusted: bool) -> str:
        """What a trusted proxy calls this request, else a name of ours: 32 hexadecimal digits."""
        return (trusted and _given_id(request)) or f"{self._random.getrandbits(128):032x}"


def named(entry: Entry | None, request: Request, client: str, line: str, trusted: bool) -> str:
    """A request in a line about a fault. It begins as its access line does, so that one leads to the other, and ends
    with what the access log (`entry`), or a trusted proxy, calls it."""
    request_id = (entry is not None and entry.request_id) or (trusted and _given_id(request))
    return f'{client} - "{line}", request {request_id}' if request_id else f'{client} - "{line}"'


def _given_id(request: Request) -> str:
    for name, value in request.fields:
        if name == b"x-request-id":
            return value.decode("ascii") if _GIVEN_ID.fullmatch(value) else ""
    return ""


def shown(client: tuple[str, Any] | None) -> str:
    """A client's address as a plain line has it. A forwarded one may have a zone of any bytes (fe80::1%…)."""
    if client is None:
        return ""
    text = f"{client[0]}:{client[1]}"
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def shown_target(mount: str, target: bytes) -> str:
    """A request's path and query, printable ASCII already, as it stands between quotes."""
    text = mount + target.decode("ascii")
    return text.replace('"', "%22") if '"' in text else text


def _followers(log: logging.Logger | None) -> list[RequestFormatter]:
    """The formatters that records of this logger reach and that want more than a plain line."""
    module = sys.modules.get("uvicorn.logs.formats")  # who has one has imported it
    found: list[RequestFormatter] = []
    while module is not None and log is not None:
        found += [h.formatter for h in log.handlers if isinstance(h.formatter, module.RequestFormatter)]
        log = log.parent if log.propagate else None
    return [formatter for formatter in found if formatter is not None]


def _is_untouched(log: logging.Logger) -> bool:
    """Whether logging works as the standard library has it: programs that watch it replace parts of it."""
    parts = [getattr(logging.Logger, name) for name in _USED]
    standard = all(type(part) is FunctionType and part.__globals__ is vars(logging) for part in parts)
    return standard and type(log) is logging.Logger and logging.getLogRecordFactory() is logging.LogRecord


def _is_plain(formatter: logging.Formatter | None) -> bool:
    """Whether it makes exactly the line that `AccessLog.line` makes."""
    if type(formatter) is not AccessFormatter or formatter.use_colors:
        return False
    return formatter._fmt == ACCESS_FORMAT and "get_status_code" not in vars(formatter)
