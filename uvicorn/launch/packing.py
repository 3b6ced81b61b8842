"""Settings as plain data, for another interpreter.

Classes, functions and objects of modules are passed by name: as an import string, and in `log_config` in the form that
`logging.config` reads. What has no name is left out of `log_config`, where a default takes its place; for any other
setting it is an obstacle.

Owns: that conversion. Must not: start anything. Fails by: what it returns names the obstacles.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, NamedTuple

from uvicorn.logs import setup
from uvicorn.surface import naming


class Packed(NamedTuple):
    """What `pack` makes of some settings."""

    settings: dict[str, Any]
    """Plain data, for `marshal`."""
    left_out: list[str]
    """What was left out of `log_config`; a sentence for each."""
    obstacles: list[str]
    """Why another interpreter cannot serve these settings; a clause for each."""


def pack(settings: dict[str, Any]) -> Packed:
    """Convert the arguments of a Config."""
    packed = Packed({}, [], [])
    if not sys.executable or getattr(sys, "frozen", False):
        packed.obstacles.append("this program has no Python interpreter that could be started")
    for name, value in settings.items():
        try:
            if name == "log_config" and isinstance(value, dict):
                packed.settings[name], sentences = setup.spelled(value)
                packed.left_out.extend(sentences)
            else:
                packed.settings[name] = naming.plain(value, naming.name_of)
        except naming.Unnamed as exc:
            packed.obstacles.append(
                f"{name} is {exc}, which cannot be imported by name (define it at the top level of a module)"
            )
        except RecursionError:
            packed.obstacles.append(f"{name} contains itself")
    return packed


def warn_of_left_out(packed: Packed) -> None:
    """Log what was left out of `log_config`."""
    for sentence in packed.left_out:
        logging.getLogger("uvicorn.error").warning("%s", sentence)
