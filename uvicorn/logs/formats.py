"""Access log formats other than the default: `--access-log-format` as a format string, or as JSON.

A format is compiled once, to a function from an `AccessRecord` to a line. Everything that comes from a client or from
the application is escaped, so that a line is printable ASCII and stays one line: in text as \\xHH (quotes and
backslashes, too), in JSON as JSON does it. The value of a header is cut at LONGEST bytes.

Owns: the names of formats and atoms, their meaning, escaping, and the formatter for `logging`. Must not: know a
connection, or read a clock except for the time of a line. Fails by: `ConfigError`, which suggests the nearest atom.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as _json_text
from typing import Any, NamedTuple

from uvicorn.errors import ConfigError
from uvicorn.surface.phrases import nearest

UVICORN = "uvicorn"
"""The default: a line of `uvicorn.logging.AccessFormatter`, written when a response begins."""

_COMMON = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
FORMATS = {"common": _COMMON, "combined": _COMMON + ' "%(f)s" "%(a)s"'}
NAMES = (UVICORN, *FORMATS, "json")

LONGEST = 1024
"""Maximum bytes of a header's value in a line."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ATOM = re.compile(r"%(?:%|\(([^)]*)\)(-?[0-9]*(?:\.[0-9]+)?)[sd]|)")
_FIELD = re.compile(r"\{([^{}]+)\}([ieo])")

Found = dict[bytes, bytes]
Line = Callable[["AccessRecord"], str]
_Getter = Callable[["AccessRecord", Found], Any]


class AccessRecord(NamedTuple):
    """One request and its response, after both have ended.

    `method` is "" if the request could not be parsed; `line` is then its first line. `target` begins with the mount
    point. `head` is the response's head as it was sent, b"" for none. `sent` is the number of bytes of the response's
    body, without framing. `duration` is in seconds. `whole`: the response was not cut short.
    """

    client: tuple[str, Any] | None
    method: str
    target: str
    http_version: str
    line: bytes
    fields: list[tuple[bytes, bytes]]
    status: int
    head: bytes
    sent: int
    duration: float
    whole: bool
    request_id: str

    @property
    def quoted(self) -> str:
        """The target, as the default format shows it between quotes."""
        return self.target.replace('"', "%22") or escaped(self.line)


class RequestFormatter(logging.Formatter):
    """Formats the records of `uvicorn.access` by an access log format. A server whose logger has it times requests.

    `fmt` is a format string, or one of `NAMES` except "uvicorn". Raises ConfigError.
    """

    def __init__(self, fmt: str = "json", datefmt: str | None = None, use_colors: bool | None = None) -> None:
        super().__init__()
        self.line = compiled(fmt)
        self.names_requests = fmt == "json" or "%(request_id)" in fmt
        self._json = fmt == "json"

    def format(self, record: logging.LogRecord) -> str:
        exchange = getattr(record, "exchange", None)
        if exchange is not None:
            return self.line(exchange)
        text = record.getMessage()  # not a record of ours
        if not self._json:
            return escaped(text, len(text))
        return f'{{"time":{_json(_iso_time())},"message":{_json(text, len(text))}}}'


def compiled(wanted: str) -> Line:
    """The function that makes a line. Raises ConfigError if `wanted` is not a format."""
    if wanted == "json":
        return _json_line
    if "%" not in wanted:
        if wanted not in FORMATS:
            raise ConfigError(
                f"--access-log-format must be one of {', '.join(NAMES)}, or a format string with %(atoms)s,"
                f" not {wanted!r}{nearest(wanted, NAMES) or '.'}"
            )
        wanted = FORMATS[wanted]
    if not wanted.isprintable():
        raise ConfigError(f"--access-log-format must be one line without control characters, not {wanted!r}.")
    getters: list[_Getter] = []
    names: set[bytes] = set()

    def replace(match: re.Match[str]) -> str:
        name, width = match[1], match[2]
        if match[0] == "%%":
            return "%%"
        if name is None:
            raise ConfigError(
                f"--access-log-format: a % that does not start an atom, at {wanted[match.start() :][:20]!r}."
            )
        getters.append(_getter(name, names))
        return f"%{width}s"

    template, wanted_fields = _ATOM.sub(replace, wanted), frozenset(names)

    def line(exchange: AccessRecord) -> str:
        found = _found(exchange.fields, wanted_fields) if wanted_fields else {}
        return template % tuple([get(exchange, found) for get in getters])

    return line


# -- escaping --------------------------------------------------------------------------------------------------


def escaped(value: bytes | str, longest: int = LONGEST) -> str:
    """Printable ASCII; quotes, backslashes and all other bytes as \\xHH, as in nginx."""
    text = value if isinstance(value, str) else value.decode("latin-1")
    if len(text) > longest:
        return escaped(text[:longest], longest) + "..."
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    data = value[:longest] if isinstance(value, bytes) else text.encode("utf-8", "surrogatepass")
    return "".join([chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02X}" for c in data])


def _json(value: bytes | str, longest: int = LONGEST) -> str:
    """A JSON string in ASCII. Bytes that are not UTF-8 become \\xhh, because many parsers reject lone surrogates."""
    if isinstance(value, bytes):
        text = value[:longest].decode("utf-8", "backslashreplace")
    else:
        text = value[:longest].encode("utf-8", "backslashreplace").decode()
    if len(value) > longest:
        text += "..."
    return _json_text(text).replace("\x7f", "\\u007f")


def _json_field(found: Found, name: bytes) -> str:
    value = found.get(name)
    return "null" if value is None else _json(value)


def _found(fields: list[tuple[bytes, bytes]], names: frozenset[bytes]) -> Found:
    """The values of these headers; repeated ones are joined by commas (RFC 9110, 5.3)."""
    found: Found = {}
    for name, value in fields:
        if name in names:
            found[name] = found[name] + b", " + value if name in found else value
    return found


# -- JSON ------------------------------------------------------------------------------------------------------

_JSON_FIELDS = frozenset((b"host", b"referer", b"user-agent"))


def _json_line(e: AccessRecord) -> str:
    found = _found(e.fields, _JSON_FIELDS)
    client = "null" if e.client is None else _json(str(e.client[0]))
    request_id = _json(e.request_id) if e.request_id else "null"
    if e.method:
        path, _, query = e.target.partition("?")
        size = len(e.target)
        request = (
            f'"method":"{e.method}","path":{_json(path, size)},"query":{_json(query, size)},'
            f'"http_version":"{e.http_version}"'
        )
    else:
        request = f'"method":null,"path":null,"query":null,"http_version":null,"line":{_json(e.line)}'
    return (
        f'{{"time":"{_iso_time()}","client":{client},{request},"status":{e.status},"bytes":{e.sent},'
        f'"duration":{e.duration:.6f},"complete":{"true" if e.whole else "false"},"request_id":{request_id},'
        f'"host":{_json_field(found, b"host")},"referer":{_json_field(found, b"referer")},'
        f'"user_agent":{_json_field(found, b"user-agent")},"pid":{os.getpid()}}}'
    )


# -- times -----------------------------------------------------------------------------------------------------

_second = -1
_shown = ("", "")


def _times(now: int) -> tuple[str, str]:
    """This second in the common log format (local time), and in ISO 8601 (UTC)."""
    global _second, _shown
    if now != _second:
        t, u = time.localtime(now), time.gmtime(now)
        zone = t.tm_gmtoff // 60
        sign = "-" if zone < 0 else "+"
        local = f"{t.tm_mday:02}/{_MONTHS[t.tm_mon - 1]}/{t.tm_year}:{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
        _shown = (
            f"[{local} {sign}{abs(zone) // 60:02}{abs(zone) % 60:02}]",
            f"{u.tm_year}-{u.tm_mon:02}-{u.tm_mday:02}T{u.tm_hour:02}:{u.tm_min:02}:{u.tm_sec:02}",
        )
        _second = now
    return _shown


def _common_time(e: AccessRecord, found: Found) -> str:
    return _times(int(time.time()))[0]


def _iso_time() -> str:
    now = time.time()
    return f"{_times(int(now))[1]}.{int(now * 1000) % 1000:03}Z"


# -- atoms -----------------------------------------------------------------------------------------------------


def _request_line(e: AccessRecord, found: Found) -> str:
    if e.method:
        return f"{e.method} {escaped(e.target, len(e.target))} HTTP/{e.http_version}"
    return escaped(e.line) or "-"


def _user(e: AccessRecord, found: Found) -> str:
    """The user name in `Authorization: Basic`; its password is not verified."""
    kind, _, credentials = found.get(b"authorization", b"").partition(b" ")
    if kind.lower() != b"basic":
        return "-"
    try:
        name = base64.b64decode(credentials.strip(), validate=True).partition(b":")[0]
    except binascii.Error:
        return "-"
    return escaped(name).replace(" ", "\\x20") or "-"


def _request_field(name: bytes) -> _Getter:
    return lambda e, found: escaped(found.get(name, b"")) or "-"


def _response_field(name: bytes) -> _Getter:
    def get(e: AccessRecord, found: Found) -> str:
        lines = [line.partition(b":") for line in e.head.split(b"\r\n")[1:]]
        return escaped(b", ".join([value.strip() for key, _, value in lines if key.lower() == name])) or "-"

    return get


def _constant(text: str) -> _Getter:
    return lambda e, found: text


_ATOMS: dict[str, _Getter] = {
    "h": lambda e, found: escaped(str(e.client[0])).replace(" ", "\\x20") or "-" if e.client else "-",
    "l": _constant("-"),
    "u": _user,
    "t": _common_time,
    "r": _request_line,
    "m": lambda e, found: e.method or "-",
    "U": lambda e, found: escaped(e.target.partition("?")[0], len(e.target)) or "-",
    "q": lambda e, found: escaped(e.target.partition("?")[2], len(e.target)),
    "H": lambda e, found: f"HTTP/{e.http_version}" if e.http_version else "-",
    "s": lambda e, found: e.status,
    "B": lambda e, found: e.sent,
    "b": lambda e, found: e.sent or "-",
    "f": _request_field(b"referer"),
    "a": _request_field(b"user-agent"),
    "T": lambda e, found: int(e.duration),
    "M": lambda e, found: int(e.duration * 1e3),
    "D": lambda e, found: int(e.duration * 1e6),
    "L": lambda e, found: f"{e.duration:.6f}",
    "p": lambda e, found: f"<{os.getpid()}>",
    "X": lambda e, found: "+" if e.whole else "X",
    "request_id": lambda e, found: escaped(e.request_id) or "-",
}
_FIELDS_OF = {"u": b"authorization", "f": b"referer", "a": b"user-agent"}


def _getter(name: str, names: set[bytes]) -> _Getter:
    """The function for `%(name)s`. The request headers that it needs are added to `names`."""
    if name in _ATOMS:
        if name in _FIELDS_OF:
            names.add(_FIELDS_OF[name])
        return _ATOMS[name]
    match = _FIELD.fullmatch(name)
    if match is None:
        known = [*_ATOMS, "{user-agent}i", "{content-type}o", "{HOME}e"]
        likely = nearest(name, [*_ATOMS, f"{{{name.strip('{}ieo')}}}i"]) if "{" in name or "}" in name else ""
        likely = likely or nearest(name, known)
        raise ConfigError(
            f"--access-log-format: there is no %({name})s"
            + (likely or f"; there are {' '.join(_ATOMS)}, {{header}}i, {{header}}o and {{VARIABLE}}e.")
        )
    if match[2] == "e":
        return _constant(escaped(os.environ.get(match[1], "")) or "-")
    field = match[1].lower().encode("latin-1", "replace")
    if match[2] == "o":
        return _response_field(field)
    names.add(field)
    return _request_field(field)
