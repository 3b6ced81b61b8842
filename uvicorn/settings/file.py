"""The configuration file: `uvicorn.toml`, or `[tool.uvicorn]` of a pyproject.toml.

Keys are the names of the options, with hyphens or underscores; their types are those of the declarations.
Owns: reading a file to checked values, writing values as a file, and what a reload can change. Must not: make a Config,
read the command line or the environment, or know an option by name.
Fails by: `ConfigError`, one sentence with the file and the key.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from uvicorn.errors import ConfigError
from uvicorn.settings import headers
from uvicorn.settings.options import Declared
from uvicorn.surface.phrases import nearest

Declarations = Mapping[str, Declared]


def read(path: str, declared: Declarations) -> dict[str, Any]:
    """The settings in that file, under the names of `Config`'s parameters. Raises ConfigError."""
    table = _section(path, _parse(path))
    known = {name: name for name in declared}
    known.update((one.flag.removeprefix("--").replace("-", "_"), name) for name, one in declared.items())
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = known.get(key.replace("-", "_"))
        if name is None:
            raise ConfigError(f"{path}: there is no option {key}{nearest(key.replace('-', '_'), known) or '.'}")
        if name in values:
            raise ConfigError(f"{path}: {key} is set twice.")
        values[name] = _checked(f"{path}: {key}", declared[name], value)
    return values


def _parse(path: str) -> dict[str, Any]:
    try:
        toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise ConfigError(f"{path}: Python 3.10 reads TOML with the package tomli. Run: pip install tomli") from None
    try:
        with open(path, "rb") as file:
            values: dict[str, Any] = toml.load(file)
            return values
    except OSError as exc:
        raise ConfigError(f"Cannot read the configuration file {path}: {exc.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: a TOML file must be UTF-8.") from None
    except toml.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}.") from None


def _section(path: str, document: dict[str, Any]) -> dict[str, Any]:
    if os.path.basename(path) != "pyproject.toml":
        return document
    tools = document.get("tool")
    section = tools.get("uvicorn") if isinstance(tools, dict) else None
    if not isinstance(section, dict):
        raise ConfigError(f"{path} has no section [tool.uvicorn].")
    return section


def _checked(where: str, declared: Declared, value: Any) -> Any:
    if declared.spec.pairs:
        return [[name, text.strip(" \t")] for name, text in headers.pairs(where, value)]
    declared.check_type(where, value)
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        raise ConfigError(f"{where} must be a list of text, not {value!r}.")
    if declared.spec.exists and isinstance(value, str) and value and not declared.many and not os.path.exists(value):
        raise ConfigError(f"{where}: there is no file {value!r}.")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return declared.spec.bounded(where, value)
    if declared.many and isinstance(value, str):
        return [value]
    return value


# -- a reload --------------------------------------------------------------------------------------------------


def renewed(
    declared: Declarations, wanted: Mapping[str, Any], before: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The values for the Config of a reload, and the names of options that a reload cannot change.

    `wanted` are the values that the file has now, `before` those in force. An option that the master used when it
    started keeps its value.
    """
    values, in_vain = dict(before), []
    for name, value in wanted.items():
        if value == before.get(name):
            continue
        if declared[name].spec.restart:
            in_vain.append(name)
        else:
            values[name] = value
    return values, in_vain


# -- values as a file ------------------------------------------------------------------------------------------


def dump(values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """`values` as TOML that `read` accepts, without those that are unset; with the source of each in a comment."""
    lines = []
    for name, value in values.items():
        if value is None or (isinstance(value, (list, dict)) and not value):
            continue
        if "password" in name:
            lines.append(f"# {name} is set, and not shown")
            continue
        source = sources.get(name)
        lines.append(f"{name} = {_toml(value)}" + (f"  # {source}" if source else ""))
    return "".join(line + "\n" for line in lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(str(key))} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return _text(os.fspath(value))


def _text(text: str) -> str:
    """A basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
