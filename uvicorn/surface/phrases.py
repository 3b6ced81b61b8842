"""Parts of the messages about wrong values.

Owns: how a value is quoted, and the guess at what was meant. Must not: raise. Fails by: nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def shown(value: Any) -> str:
    """Any value, as a message shows it."""
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, an object that cannot be shown
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` if `word` is similar to one of those, else nothing."""
    import difflib

    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
