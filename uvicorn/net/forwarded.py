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

from uvicorn.net.grammar import TOKEN_TEXT

_BACKWARDS = re.compile(r'(?:[^",]|"(?:[^"]|"(?=\\))*"(?!\\))*')
"""An element in a value that is written backwards: its commas stand in quotes, its quotes in quotes behind a \\."""
_PAIR = re.compile(rf"""({TOKEN_TEXT})=(?:"((?:[^"\\]|\\.)*)"|([^\s",;\\]+))[ \t]*(?:;[ \t]*|\Z)""")
"""A parameter, and what divides it from the next one. No two neighbours in it can match the same characters, so that it
is read in linear time; one expression for all parameters would try every way to share out white space."""
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
    element = element.strip(" \t")
    parameters: dict[str, str] = {}
    at = 0
    while at < len(element):
        pair = _PAIR.match(element, at)
        if pair is None or pair[1].lower() in parameters:
            return None
        parameters[pair[1].lower()] = pair[3] or _ESCAPED.sub(r"\1", pair[2])
        at = pair.end()
    return parameters or None
