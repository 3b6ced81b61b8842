"""From what a program passes to the plain value of an option, which the rest of the package relies on.

Programs take values from environment variables, other configuration, enumerations and arithmetic: a port as text, a
level in capitals, a path as a Path, a limit of 0. A value with one clear meaning is converted here, once; any other
value is refused. No other module has to check a type again.

Owns: that step, for any option; an `Option` says what is special about it. Must not: know an option by name, import
what a value names, or look at files. Fails by: `ConfigError`, one sentence that names the option.
"""

from __future__ import annotations

import operator
import os
import sys
from typing import Any

from uvicorn.errors import ConfigError
from uvicorn.settings.options import Declared
from uvicorn.surface.phrases import shown

LONGEST = 10**9
"""The longest time, in seconds (31 years). Longer times are cut to it, so that clocks and timers do not overflow."""
MOST = sys.maxsize // 2
"""The largest number of bytes or other things. Larger numbers are cut to it, so that C code does not overflow."""

_TRUE = frozenset(("1", "true", "t", "yes", "y", "on"))
_FALSE = frozenset(("0", "false", "f", "no", "n", "off", ""))


def normalized(option: Declared, value: Any, name: str = "") -> Any:
    """The plain value of an option; `name` is what set it, unless that is the flag. Raises ConfigError."""
    name, spec = name or option.flag, option.spec
    if value is None:
        return None if option.optional else option.default if spec.unset is None else spec.unset
    if spec.read is not None:
        return spec.read(name, value)
    if isinstance(value, os.PathLike) and str in option.types:
        value = os.fsdecode(value)
    if isinstance(value, str):
        return _text(option, name, str.__str__(value))  # the value, if it is a member of an enumeration
    if isinstance(value, bool) or option.types == (bool,):
        if bool in option.types and isinstance(value, int):
            return bool(value)
        raise _refused(option, name, value)
    if int in option.types or float in option.types:
        number = _number(value)
        if number is not None:
            return _bounded(option, name, number)
    if list in option.types and isinstance(value, (list, tuple, set, frozenset)):
        return [_member(option, name, one) for one in value]
    if dict in option.types and isinstance(value, dict):
        return value
    if spec.also is not None and spec.also[1](value):
        return value
    raise _refused(option, name, value)


def function(name: str, value: Any) -> Any:
    """A function, or None. Raises ConfigError."""
    if value is not None and not callable(value):
        raise ConfigError(f"{name} must be a function, not {shown(value)}.")
    return value


def seconds(name: str, value: Any, default: float) -> int | float:
    """A time in seconds. Raises ConfigError."""
    number = default if value is None else None if isinstance(value, bool) else _number(value)
    if number is None or not number >= 0:
        raise ConfigError(f"{name} must be a number of seconds, not {shown(value)}.")
    return min(number, LONGEST)


def _text(option: Declared, name: str, text: str) -> Any:
    if not text and option.spec.blank:
        return None
    if not _can_be_passed_on(text):
        raise ConfigError(f"{name} must not contain a NUL character or a lone surrogate: {shown(text)}.")
    word = text.lower() if option.spec.any_case else text
    if option.any_text or word in option.choices:
        return word
    if bool in option.types and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    if option.spec.other_text:
        return None
    for kind in (int, float):
        if kind in option.types:
            try:
                return _bounded(option, name, kind(text))
            except (ValueError, OverflowError) as exc:
                if isinstance(exc, ConfigError):
                    raise
    raise _refused(option, name, text)


def _can_be_passed_on(text: str) -> bool:
    """Whether text can be passed to the system, to a log and to another process: a NUL would end it there, and a lone
    surrogate cannot be encoded. (Surrogate escapes, which Python makes of undecodable bytes, can be.)
    """
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _number(value: Any) -> int | float | None:
    """A number of any type, as an int or a float; None if it is not a number, or too large."""
    if isinstance(value, float):
        return float(value)
    for kind in (operator.index, float):
        try:
            number: int | float = kind(value)
        except (TypeError, ValueError, OverflowError):
            continue
        return number
    return None


def _bounded(option: Declared, name: str, number: int | float) -> int | float:
    number = option.spec.bounded(name, number)
    if float in option.types:
        return min(number, LONGEST)
    if number != int(number):
        raise _refused(option, name, number)
    return min(int(number), MOST)


def _member(option: Declared, name: str, value: Any) -> str:
    if isinstance(value, (str, os.PathLike)) and _can_be_passed_on(text := os.fsdecode(value)):
        return str.__str__(text)
    raise ConfigError(f"{name} must be text or a list of text, not a list with {shown(value)}.")


def _refused(option: Declared, name: str, value: Any) -> ConfigError:
    wanted = option.kinds()
    if option.spec.also is not None:
        wanted += f" or {option.spec.also[0]}"
    if isinstance(value, str) and len(option.choices) > 1 and not option.any_text:
        wanted = f"one of {', '.join(option.choices)}"
    secret = "password" in option.name
    return ConfigError(f"{name} must be {wanted}, not {type(value).__name__ if secret else shown(value)}.")
