"""The headers that `--header` adds to every response: from text to pairs of bytes. Pure.

Owns: the forms in which they can be given, which of them can be sent, and `Connection`: its value `close` ends each
connection after the response, and the module that writes responses sends it. Must not: log. Fails by: `ConfigError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from uvicorn.errors import ConfigError
from uvicorn.net import grammar
from uvicorn.surface.phrases import shown

Pair = tuple[str, str]

_PER_CONNECTION = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
"""Headers that the server sends itself (RFC 9110, 7.6.1)."""


class EncodedHeaders(NamedTuple):
    """`encoded`: the headers to send, names in lower case; `closes`: whether every response ends its connection;
    `dropped`: the headers that are not sent, as they were given."""

    encoded: list[tuple[bytes, bytes]]
    closes: bool
    dropped: list[Pair]


def pairs(where: str, value: Any) -> list[Pair]:
    """Pairs of text from a table, or from several pairs or lines `Name: value`. Raises ConfigError naming `where`."""
    return list(_pairs(where, value))


def _pairs(where: str, value: Any) -> Iterator[Pair]:
    if isinstance(value, dict):
        value = value.items()
    for one in value if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else [value]:
        pair = [part.strip(" \t") for part in one.split(":", 1)] if isinstance(one, str) else one
        if isinstance(pair, (list, tuple)) and len(pair) == 2:
            name, text = (part.decode("latin-1") if isinstance(part, bytes) else part for part in pair)
            if isinstance(name, str) and isinstance(text, str):
                yield name, text
                continue
        raise ConfigError(f'{where} must be a list of "Name: value" or a table, not {shown(one)}.')


def encode(given: Iterable[Pair], server_header: bool = False) -> EncodedHeaders:
    """Encode the headers, with `Server: uvicorn` before them if it is wanted and not among them.

    Raises ConfigError for a header that cannot be sent.
    """
    found = EncodedHeaders([], False, [])
    for name, value in given:
        pair = _encoded(name, value)
        if pair[0] == b"content-length":
            raise ConfigError(f"--header {name}: every response has its own length: leave it out.")
        if pair[0] == b"connection" and b"close" in [one.strip() for one in pair[1].lower().split(b",")]:
            found = found._replace(closes=True)
        elif pair[0] in _PER_CONNECTION:
            found.dropped.append((name, value))
        else:
            found.encoded.append(pair)
    if server_header and b"server" not in dict(found.encoded):
        found.encoded.insert(0, (b"server", b"uvicorn"))
    return found


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    try:
        pair = (name.lower().encode("ascii"), value.strip(" \t").encode("latin-1"))
    except UnicodeEncodeError:
        raise ConfigError(f"--header {name}: {value!r} cannot be encoded in Latin-1, as headers must be.") from None
    if not grammar.is_token(pair[0]):
        raise ConfigError(f"--header {name!r} is not a valid header name: use letters, digits and hyphens.")
    if any(byte in pair[1] for byte in b"\r\n\0"):
        raise ConfigError(f"--header {name}: a value must not contain line breaks or NUL: {value!r}.")
    return pair
