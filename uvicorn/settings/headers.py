"""The fields that `--header` adds to every response: from what a person or a program gives to pairs of bytes. Pure.

Owns: the forms in which they may come, which of them can be sent, and what `Connection` means among them: `close` ends
each connection after its answer, and is then said by whoever frames a response. Must not: log. Fails by: `ConfigError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from uvicorn.errors import ConfigError
from uvicorn.net import grammar
from uvicorn.surface.phrases import shown

Pair = tuple[str, str]

_PER_CONNECTION = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
"""What the server says itself, connection by connection (RFC 9110, 7.6.1)."""


class Fields(NamedTuple):
    """`encoded`: what is sent, names in lower case; `closes`: whether each answer ends its connection; `dropped`: what
    is not sent, as it was given."""

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


def encode(given: Iterable[Pair], server_header: bool = False) -> Fields:
    """What of `given` is sent, after `Server: uvicorn` if that is wanted and not given. Raises ConfigError for a field
    that cannot be sent.
    """
    found = Fields([], False, [])
    for name, value in given:
        pair = _encoded(name, value)
        if pair[0] == b"content-length":
            raise ConfigError(f"--header {name}: each response has a length of its own; leave it out.")
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
        raise ConfigError(f"--header {name}: {value!r} cannot be encoded: a header is Latin-1.") from None
    if not grammar.is_token(pair[0]):
        raise ConfigError(f"--header {name!r} is no name for a header: letters, digits and hyphens, please.")
    if any(byte in pair[1] for byte in b"\r\n\0"):
        raise ConfigError(f"--header {name}: a value has no line ends and no NUL: {value!r}.")
    return pair
