"""The field `Forwarded` (RFC 7239), read from its end. Pure.

What a trusted proxy appended stands last; what stands before may be anybody's, an opened quote that is never closed
among it. So elements are cut off from the right: where the nearest proxy's own element begins does not depend on what
is left of it, because that element has whole quotes.

Owns: the field's grammar. Must not: know whom to trust. Fails by: an element that cannot be read is None, and so is
everything before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from uvicorn.grammar import TOKEN_TEXT

_BACKWARDS = re.compile(r'(?:[^",]|"(?:[^"]|"(?=\\))*"(?!\\))*')
"""An element in a value that is written backwards: its commas stand in quotes, its quotes in quotes behind a \\."""
_PAIR = rf"""({TOKEN_TEXT})=(?:"((?:[^"\\]|\\.)*)"|([^\s",;\\]+))"""
_PAIRS = re.compile(rf"[ \t]*{_PAIR}(?:[ \t]*;[ \t]*{_PAIR})*[ \t]*;?[ \t]*")
_ONE = re.compile(_PAIR)
_ESCAPED = re.compile(r"\\(.)")


def elements(value: str) -> Iterator[dict[str, str] | None]:
    """The parameters of each element by their lower-cased names, the last element first; None where one is malformed.

    A value without quotes may hold more than a token: many proxies write `for=[2001:db8::1]:4711` or `host=a:8080`.
    """
    backwards = value[::-1]
    at = 0
    while at <= len(backwards):
        found = _BACKWARDS.match(backwards, at)
        end = found.end() if found is not None else at
        if end < len(backwards) and backwards[end] != ",":
            yield None
            return
        yield _parameters(backwards[at:end][::-1])
        at = end + 1


def _parameters(element: str) -> dict[str, str] | None:
    if not _PAIRS.fullmatch(element):
        return None
    parameters: dict[str, str] = {}
    for name, quoted, plain in _ONE.findall(element):
        if name.lower() in parameters:
            return None
        parameters[name.lower()] = plain or _ESCAPED.sub(r"\1", quoted)
    return parameters
