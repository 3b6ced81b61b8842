"""`log_config` for the module logging.config, and which parts of it a process can set up.

A part is a formatter, a filter or a handler. Two kinds have to be left out somewhere, and the default one takes the
place of a formatter or a handler then, so that every line still goes somewhere:

* a master imports no module of the application, so the parts that name one are set up in its workers only (`apply`);
* settings that travel to another interpreter hold nothing but plain data: what has a name in a module is written as
  `logging.config` reads it ("module.attribute", "ext://module.attribute"), and a part with anything else is left out,
  with a sentence (`spelled`).

Owns: those rewritings. Must not: change the dictionary that was given. Fails by: whatever `logging.config`, a parser or
a class of the user's raises.
"""

from __future__ import annotations

import logging.config
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from uvicorn.importer import importing_for_us
from uvicorn.logging import LOGGING_CONFIG, with_colors
from uvicorn.surface import naming

_SECTIONS = ("formatters", "filters", "handlers")
_NAMES = ("()", "class", "queue", "listener")
"""Keys whose text is a name, without "ext://"."""

Parts = dict[str, set[str]]
"""Names of formatters, filters and handlers, by section."""


def apply(wanted: Any, use_colors: bool | None, without: str | None = None) -> bool:
    """Set logging up, by a dictionary or a file in the .ini form (its name, or what has it open); True when something
    was left out, because it names a module of the application `without` that is not imported yet."""
    if isinstance(wanted, (str, os.PathLike)):
        return _apply_ini(os.fspath(wanted), without)
    if not isinstance(wanted, dict):  # an open file, or a parser that has read one
        with importing_for_us():
            logging.config.fileConfig(wanted, disable_existing_loggers=False)
        return False
    left = {} if without is None else _naming_modules_of(without, wanted)
    with importing_for_us():
        logging.config.dictConfig(with_colors(_replaced(wanted, left), use_colors))
    return bool(left)


# -- for a master ----------------------------------------------------------------------------------------------


def _naming_modules_of(app: str, config: dict[str, Any]) -> Parts:
    """The parts that need a module of the application which this process has not imported."""
    return _parts(config, lambda name, part: any(_is_foreign(text, app) for text in _names_in(part)))


def _is_foreign(name: str, app: str) -> bool:
    return name.rpartition(".")[0] not in sys.modules and naming.is_applications(name, app)


def _names_in(value: Any, key: object = None) -> Iterator[str]:
    """Every "module.attribute" that `logging.config` would look up."""
    if isinstance(value, str) and (value.startswith("ext://") or key in _NAMES):
        name = value.removeprefix("ext://")
        if "." in name and not name.startswith("cfg:"):
            yield name
    elif isinstance(value, dict):
        for inner, one in value.items():
            yield from _names_in(one, inner)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _names_in(one)


def _apply_ini(path: str, without: str | None) -> bool:
    if not os.path.exists(path):
        raise FileNotFoundError("there is no such file")  # Python 3.10 and 3.11 say KeyError: 'formatters'
    import configparser

    parser = configparser.ConfigParser()
    left = []
    try:
        parser.read(path)
        for section in parser.sections() if without is not None else ():
            name = parser[section].get("class", "", raw=True)
            handles = section.startswith("handler_")
            if (
                without is None
                or "." not in name
                or (handles and _is_in_logging(name))
                or not _is_foreign(name, without)
            ):
                continue
            left.append(section)
            for key in ("class", "args", "kwargs"):
                parser.remove_option(section, key)
            if handles:
                parser[section].update({"class": "StreamHandler", "args": "(sys.stderr,)"})
        with importing_for_us():
            logging.config.fileConfig(parser if left else path, disable_existing_loggers=False)
    except configparser.Error as exc:  # as Python 3.12 has it
        raise RuntimeError(" ".join(str(exc).split())) from None
    return bool(left)


def _is_in_logging(name: str) -> bool:
    """A handler may also be called `handlers.RotatingFileHandler`: names are looked up in the module logging first."""
    found: Any = logging
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


# -- for another interpreter -----------------------------------------------------------------------------------


def spelled(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`config` as plain data, and a sentence for each part that is left out."""
    sentences: list[str] = []

    def cannot_travel(name: str, part: Any) -> bool:
        try:
            _spell(part)
        except naming.Unnamed as exc:
            sentences.append(
                f"log_config: {name} has {exc}, which no module has under a name, so it is left out and the default is"
                " used. Define that at the top level of a module to keep it."
            )
            return True
        return False

    reduced = _replaced(config, _parts(config, cannot_travel, (*_SECTIONS, "loggers")))
    return {naming.plain(key, _refuse): _spell(value) for key, value in reduced.items()}, sentences


def _spell(value: Any, key: object = None) -> Any:
    if isinstance(value, dict):
        return {naming.plain(inner, _refuse): _spell(one, inner) for inner, one in value.items()}
    return naming.plain(value, _dotted if key in _NAMES else _refuse if key == "filters" else _external)


def _dotted(value: Any) -> str:
    return naming.name_of(value).replace(":", ".")


def _external(value: Any) -> str:
    return "ext://" + _dotted(value)


def _refuse(value: Any) -> str:
    raise naming.Unnamed(value)


# -- parts -----------------------------------------------------------------------------------------------------


def _parts(config: dict[str, Any], chosen: Callable[[str, Any], bool], sections: tuple[str, ...] = _SECTIONS) -> Parts:
    """The parts for which `chosen(what a person calls it, the part)` is true."""
    found = {
        section: {
            name for name, part in (config.get(section) or {}).items() if chosen(f"{section[:-1]} {name!r}", part)
        }
        for section in sections
    }
    return {section: names for section, names in found.items() if names}


def _replaced(config: dict[str, Any], left: Parts) -> dict[str, Any]:
    """`config` with the defaults in the place of those formatters and handlers, and without those filters. Of a logger
    everything but its filters is plain anyway."""
    if not left:
        return config
    fresh = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for name in left.get("formatters", ()):
        fresh["formatters"][name] = LOGGING_CONFIG["formatters"]["access" if name == "access" else "default"]
    for name in left.get("filters", ()):
        del fresh["filters"][name]
    for name in left.get("handlers", ()):
        old = config["handlers"][name]
        kept = {key: old[key] for key in ("level", "formatter") if isinstance(old.get(key), (str, int))}
        fresh["handlers"][name] = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", **kept}
    gone = left.get("filters", set())
    for section in ("handlers", "loggers"):
        for name, part in (fresh.get(section) or {}).items():
            fresh[section][name] = _without_filters(part, gone)
    if "root" in fresh:
        fresh["root"] = _without_filters(fresh["root"], gone)
    return fresh


def _without_filters(part: Any, gone: set[str]) -> Any:
    if not isinstance(part, dict) or not part.get("filters"):
        return part
    return {**part, "filters": [one for one in part["filters"] if isinstance(one, str) and one not in gone]}
