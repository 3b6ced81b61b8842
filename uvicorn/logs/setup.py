"""Setting up logging: `log_config` first, then the level, the log files and the access log's format on top of it.

A part of a configuration is a formatter, a filter or a handler. Parts are left out in two cases. The default formatter
or handler replaces them, so that every line is still written somewhere:

* a master imports no module of the application, so parts that name one are set up in its workers only (`apply`);
* settings for another interpreter are plain data. An object that a module has under a name is written as
  `logging.config` reads it ("module.attribute", "ext://module.attribute"). A part with any other object is left out,
  and a sentence says so (`spelled`).

Owns: the order of these steps, and those rewritings. Must not: change the dictionary that was given, or know a Config.
Fails by: `ConfigError` (`configure`); the other functions by what `logging.config`, a parser or a user's class raises.
"""

from __future__ import annotations

import logging.config
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from uvicorn.errors import ConfigError
from uvicorn.importer import importing_for_us
from uvicorn.logging import LOG_LEVELS, LOGGING_CONFIG, TRACE_LOG_LEVEL, with_colors
from uvicorn.logs import files
from uvicorn.surface import naming

_SECTIONS = ("formatters", "filters", "handlers")
_NAMES = ("()", "class", "queue", "listener")
"""Keys whose values are import names without "ext://"."""

Parts = dict[str, set[str]]
"""Names of formatters, filters and handlers, by section."""


class LogOptions(NamedTuple):
    """The options under "Logging", by their names."""

    log_config: Any
    log_level: str | int | None
    use_colors: bool | None
    access_log: bool
    access_log_file: str | os.PathLike[str] | None
    access_log_format: str
    log_file: str | os.PathLike[str] | None


def configure(options: LogOptions, open_file: Callable[..., IO[Any]] = open, without: str | None = None) -> bool:
    """Set up the loggers of this process; True when parts that name a module of the application `without` were left
    out. Raises ConfigError.
    """
    logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
    left_out = False
    if options.log_config is not None:
        try:
            config = options.log_config if isinstance(options.log_config, dict) else read(options.log_config, open_file)
            left_out = apply(config, options.use_colors, without)
        except Exception as exc:  # whatever a parser, a handler's class or a formatter raises
            raise _unusable(options.log_config, exc) from exc
    if options.log_level is not None:
        level = LOG_LEVELS[options.log_level] if isinstance(options.log_level, str) else options.log_level
        for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
            logging.getLogger(name).setLevel(level)
    _set_up_access_log(options)
    if options.log_file is not None:
        files.to_file(["uvicorn", "uvicorn.error", "uvicorn.asgi"], "--log-file", options.log_file)
    elif options.log_config is not None:
        for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
            files.replace_console(name)
    return left_out


def _unusable(log_config: Any, exc: Exception) -> ConfigError:
    source = log_config if isinstance(log_config, str) else type(log_config).__name__
    reason = f"there is no {exc}" if isinstance(exc, KeyError) else str(exc.__cause__ or exc)
    where = f": {exc}" if exc.__cause__ is not None else ""
    return ConfigError(f"--log-config {source} cannot be used{where}: {reason.removesuffix('.')}.")


def _set_up_access_log(options: LogOptions) -> None:
    access = logging.getLogger("uvicorn.access")
    if not options.access_log:
        access.handlers = []
        access.propagate = False
        return
    if options.access_log_file is not None:
        files.to_file(["uvicorn.access"], "--access-log-file", options.access_log_file, batched=True)
        access.propagate = False  # the file replaces every other destination, also those of parent loggers
    elif options.log_config is not None:
        files.replace_console("uvicorn.access", batched=True)
    if options.access_log_format != "uvicorn":
        _format_access_log(access, options.access_log_format)


def _format_access_log(access: logging.Logger, text: str) -> None:
    """Give every handler of this logger a formatter of ours; a logger without handlers gets one to standard output."""
    from uvicorn.logs import formats

    formatter = formats.RequestFormatter(text)
    if not access.handlers:
        access.addHandler(logging.StreamHandler(sys.stdout))
        access.propagate = False
        files.replace_console(access.name, batched=True)
    for handler in access.handlers:
        handler.setFormatter(formatter)


def read(source: Any, open_file: Callable[..., IO[Any]] = open) -> Any:
    """The dictionary in a .json or .yaml file. Anything else is returned as it is: the path of a file in the .ini form
    of `logging.config`, or what has such a file open. Raises ValueError, ImportError, and what a parser raises.
    """
    suffix = os.path.splitext(source)[1].lower() if isinstance(source, (str, os.PathLike)) else ""
    if suffix == ".json":
        import json

        with open_file(source) as file:
            loaded = json.load(file)
    elif suffix in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError:
            raise ImportError("YAML needs the package PyYAML. Run: pip install PyYAML") from None
        with open_file(source) as file:
            loaded = yaml.safe_load(file)
    else:
        return source
    if not isinstance(loaded, dict):
        raise ValueError("it does not contain a dictionary for logging.config.dictConfig")
    return loaded


def apply(wanted: Any, use_colors: bool | None, without: str | None = None) -> bool:
    """Apply a dictionary, or a file in .ini form (its path, an open file, or a parser).

    Parts that name a module of the application `without`, which is not imported yet, are left out; whether there were
    any.
    """
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
    """The parts that need a module of the application that this process has not imported."""
    return _parts(config, lambda name, part: any(_is_foreign(text, app) for text in _names_in(part)))


def _is_foreign(name: str, app: str) -> bool:
    return name.rpartition(".")[0] not in sys.modules and naming.is_applications(name, app)


def _names_in(value: Any, key: object = None) -> Iterator[str]:
    """Every "module.attribute" that `logging.config` would import."""
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
    """Whether the module logging has the name, where it is looked up first: `handlers.RotatingFileHandler`, for one."""
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
                f"log_config: {name} has {exc}, which cannot be imported by name. It is left out, and the"
                " default is used: define it at the top level of a module to keep it."
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
    """The parts for which `chosen(name of the part in a sentence, part)` is true."""
    found = {
        section: {
            name for name, part in (config.get(section) or {}).items() if chosen(f"{section[:-1]} {name!r}", part)
        }
        for section in sections
    }
    return {section: names for section, names in found.items() if names}


def _replaced(config: dict[str, Any], left: Parts) -> dict[str, Any]:
    """`config` with the defaults in place of these formatters and handlers, and without these filters."""
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
