"""Parsing the header `Forwarded` (RFC 7239) from its end. Pure.

The last element is the one that a trusted proxy has appended; everything before it can come from an untrusted client,
such as a quote that is never closed. So elements are split off from the right: the quotes of the nearest proxy's
element are balanced, so its beginning does not depend on what is left of it.

Owns: the header's grammar. Must not: know whom to trust. Fails by: None for an element that cannot be parsed; nothing
before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from uvicorn.net.grammar import TOKEN_TEXT

_BACKWARDS = re.compile(r'(?:[^",]|"(?:[^"]|"(?=\\))*"(?!\\))*')
"""An element of a reversed value: commas are inside quotes, and quotes inside quotes follow a \\."""
_PAIR = re.compile(rf"""({TOKEN_TEXT})=(?:"((?:[^"\\]|\\.)*)"|([^\s",;\\]+))[ \t]*(?:;[ \t]*|\Z)""")
"""A parameter and the separator after it. No two adjacent parts match the same characters, so matching takes linear
time; one expression for all parameters would backtrack over white space."""
_ESCAPED = re.compile(r"\\(.)")


def elements(value: str) -> Iterator[dict[str, str] | None]:
    """The parameters of each element by lower-case name, the last element first; None for a malformed element.

    An unquoted value may contain more than a token: many proxies write `for=[2001:db8::1]:4711` or `host=a:8080`.
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
