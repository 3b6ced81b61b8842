"""The command line: from arguments, environment and a configuration file to a Config, and what is done with it.

The parameters are derived from `Config`'s declarations. Precedence: command line, environment, file, default.
Owns: that order, and the words of the command. Must not: serve; that is `main.serve`.
Fails by: click's usage error, exit code 2, for what cannot work; else as `main.serve` does.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from uvicorn.config import INTERFACES, LIFESPAN, Config, options
from uvicorn.errors import ConfigError, ExitCode, StartupError, describe_failure
from uvicorn.launch import versions
from uvicorn.logging import LOG_LEVELS, LOGGING_CONFIG
from uvicorn.main import reload_without_fork, serve
from uvicorn.process.exiting import last_word, leave_if_held_up
from uvicorn.settings import file as configfile
from uvicorn.settings.options import Declared
from uvicorn.surface import foreign

_log = logging.getLogger("uvicorn.error")

_FILLED_IN = {"app_dir": ""}
"""Where the command's own default is not the one of `Config`: what it imports is in the current folder."""

_STAND_INS = {"workers": "WEB_CONCURRENCY", "forwarded_allow_ips": "FORWARDED_ALLOW_IPS"}
"""Variables that `Config` reads where the option is unset; they are environment, and win over a file."""

if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType  # generic from click 8.4 on


LEVEL_CHOICES = click.Choice(list(LOG_LEVELS))
LIFESPAN_CHOICES = click.Choice(list(LIFESPAN))
INTERFACE_CHOICES = click.Choice(INTERFACES)
"""For the command lines of programs that pass such an option on."""


# -- parameters ------------------------------------------------------------------------------------------------


class WordOrImport(_TextType):
    """One of a few words, or an import string."""

    name = "word"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self.words)}|MODULE:ATTRIBUTE]"


class WordOrNumber(_TextType):
    """One of a few words, or a whole number."""

    name = "number"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in self.words else click.INT.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self.words)}|INTEGER]"


class EnvironmentOption(click.Option):
    """An option whose faults name the variable that the value came from."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        value = super().value_from_envvar(ctx)
        if isinstance(value, str) and _SERVICE_LINK.match(value):
            raise click.UsageError(
                f"UVICORN_{str(self.name).upper()} is {value!r}: Kubernetes sets it for a Service called uvicorn."
                f" Put enableServiceLinks: false into the pod's spec, rename the Service, or give {self.opts[0]}.",
                ctx,
            )
        return value

    def get_error_hint(self, ctx: click.Context | None) -> str:
        if ctx is not None and ctx.get_parameter_source(str(self.name)) is ParameterSource.ENVIRONMENT:
            return self.envvar if isinstance(self.envvar, str) else f"UVICORN_{str(self.name).upper()}"
        return super().get_error_hint(ctx)


_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")
_SERVICE_NAME = re.compile(r"UVICORN_(?:.*_)?(?:SERVICE|PORT)_")
"""Variables that Kubernetes makes for a Service whose name begins with uvicorn."""


def _misspelt_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that is no option, but looks like one."""
    known = {declared.env for declared in options().values()} | {"UVICORN_CONFIG"}
    found = []
    for name in sorted(environ):
        like, value = name.upper(), environ[name]
        if not like.startswith("UVICORN_") or name in known or _SERVICE_NAME.match(like) or _SERVICE_LINK.match(value):
            continue
        # Letters that changed places count for much in a short name.
        meant = next((one for one in known if sorted(one) == sorted(like)), "") or _like(like, known)
        if meant:
            found.append(f"The variable {name} has no effect: did you mean {meant}?")
    return found


def _like(name: str, known: set[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name[8:], [one[8:] for one in known], 1, 0.8)
    return f"UVICORN_{close[0]}" if close else ""


def _parameter(declared: Declared) -> click.Option:
    flag, spec = declared.flag, declared.spec
    default = _FILLED_IN.get(declared.name, declared.default)
    common: dict[str, Any] = {"help": spec.help, "default": default, "show_envvar": False}
    if declared.kind is bool and spec.valued:
        return EnvironmentOption([declared.name, flag], type=click.BOOL, show_default=True, **common)
    if declared.kind is bool:
        # A flag that is off by default and has no unset state needs no way to switch it off.
        both = declared.optional or default or declared.name == "supervise"
        return EnvironmentOption([declared.name, f"{flag}/--no-{flag[2:]}" if both else flag], is_flag=True, **common)
    kind: Any = {int: click.INT, float: click.FLOAT, str: click.STRING}[declared.kind]
    words = tuple(word for word in declared.choices if word != "none")
    if declared.many:
        common["multiple"] = True
    if declared.name == "workers":
        kind = WordOrNumber(words)
    elif words and declared.any_text:
        kind = WordOrImport(words)
    elif words:
        kind = click.Choice(words, case_sensitive=not spec.any_case)
    elif spec.exists:
        kind = click.Path(exists=True)
    shown = default not in (None, "") and not isinstance(default, dict)
    if isinstance(default, dict):
        common["default"] = None
    return EnvironmentOption([declared.name, flag], type=kind, metavar=spec.metavar, show_default=shown, **common)


def print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """The callback of `--version`."""
    if value and not ctx.resilient_parsing:
        click.echo(f"Running {versions.interpreter()} on {platform.system()}")
        ctx.exit()


def _own_parameters() -> list[click.Parameter]:
    """What is no setting of a server."""
    return [
        EnvironmentOption(
            ["config_file", "--config"],
            metavar="FILE",
            envvar="UVICORN_CONFIG",
            help="Read settings from this TOML file; of a pyproject.toml its section [tool.uvicorn].",
        ),
        click.Option(
            ["--check-config"],
            is_flag=True,
            allow_from_autoenv=False,
            help="Check the settings, import the application, and exit.",
        ),
        click.Option(
            ["--print-config"],
            is_flag=True,
            allow_from_autoenv=False,
            help="Show the settings in force, and where each comes from, as a configuration file; and exit.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=print_version,
            help="Show the versions of uvicorn and Python, and the system, and exit.",
        ),
    ]


class GroupedCommand(click.Command):
    """`--help` with the options under the headings that their declarations name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as exc:
            sentence = foreign.option(exc.option_name, _value_of(exc.option_name, given))
            if sentence:
                raise click.UsageError(sentence, ctx) from None
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                declared = options().get(parameter.name or "")
                groups.setdefault(declared.spec.group if declared else "Other", []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        with formatter.section("Environment"):
            formatter.write_text("Every option can be set as UVICORN_<NAME>, for example UVICORN_PORT=80.")


def _value_of(name: str, args: list[str]) -> str:
    """What stands with an option that the parser does not know: `-w 4`, `-w4`, `--bind=x`."""
    for index, one in enumerate(args):
        if one == name:
            return args[index + 1] if index + 1 < len(args) else ""
        if one.startswith(name) and (len(name) == 2 or one.startswith(f"{name}=")):
            return one[len(name) :].lstrip("=")
    return ""


# -- settings --------------------------------------------------------------------------------------------------


class Settings:
    """The arguments of a Config, and where each of them comes from.

    `explicit` are those of the command line and the environment, which win whenever the file is read.
    """

    def __init__(self, explicit: Mapping[str, Any], sources: Mapping[str, str], path: str | None) -> None:
        self.explicit = dict(explicit)
        self.path = path
        for name, variable in _STAND_INS.items():
            if os.environ.get(variable) and name not in self.explicit:
                self.explicit[name] = None
        from_file = self._read_file()
        self.values = self._merged(from_file)
        self.sources = {**{name: str(path) for name in from_file if name not in self.explicit}, **sources}
        self._config: Config | None = None

    def _read_file(self) -> dict[str, Any]:
        return {} if self.path is None else configfile.read(self.path, options())

    def _merged(self, from_file: Mapping[str, Any]) -> dict[str, Any]:
        """The same at the start and at each reload, in the order of precedence."""
        defaults = {name: declared.default for name, declared in options().items()}
        return {**defaults, **_FILLED_IN, **from_file, **self.explicit}

    @property
    def config(self) -> Config:
        """Made when first asked for. Raises ConfigError."""
        if self._config is None:
            self._config = Config(**self.values)
        return self._config

    def reread(self) -> Config:
        """For a reload: the Config as the file has it now. Raises ConfigError, and nothing has changed then.

        A setting that a running master cannot change keeps its value, and the log names it.
        """
        if self.path is None:
            self._config = self.config.reread()
            return self._config
        values, in_vain = configfile.renewed(options(), self._merged(self._read_file()), self.values)
        if in_vain:
            _log.warning("%s: a reload does not change %s: restart for that.", self.path, ", ".join(in_vain))
        try:
            config = Config(**values)
        except ConfigError:
            self.config.configure_logging()  # it may have been half replaced
            raise
        self.values, self._config = values, config
        return config

    def as_file(self) -> str:
        """The values in force as a configuration file."""
        shown = {name: value for name, value in self.values.items() if value is not LOGGING_CONFIG and value != ""}
        sources = dict(self.sources)
        for name, variable in _STAND_INS.items():
            if shown[name] is None and os.environ.get(variable):
                shown[name], sources[name] = getattr(self.config, name), variable
        return configfile.dump(shown, sources)


def _explicit(ctx: click.Context | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What was said on the command line or in the environment, as `Config` takes it, and where."""
    values, sources = {}, {}
    for name, value in given.items():
        source = ParameterSource.COMMANDLINE if ctx is None else ctx.get_parameter_source(name)
        if source not in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
            continue
        declared = options()[name]
        where = declared.flag if source is ParameterSource.COMMANDLINE else declared.env
        if declared.many:
            value = [_split_header(where, one) if name == "headers" else one for one in value or ()] or None
        values[name] = LOGGING_CONFIG if name == "log_config" and value is None else value
        sources[name] = "command line" if source is ParameterSource.COMMANDLINE else where
    return values, sources


def _split_header(where: str, text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError(f"{where} must be Name:Value, not {text!r}.")
    return [name, value]


# -- the command -----------------------------------------------------------------------------------------------


composition: Any = sys.modules[serve.__module__]  # the package's attribute of that name is the command
_OUR_RUN = composition.run


def _command(
    *, config_file: str | None = None, check_config: bool = False, print_config: bool = False, **given: Any
) -> None:
    """Serve the ASGI application APP, given as <module>:<attribute>."""
    ctx = click.get_current_context(silent=True)
    _fill_standard_descriptors()
    sources: dict[str, str] = {}
    try:
        explicit, sources = _explicit(ctx, given)
        settings = Settings(explicit, sources, config_file)
        sources = settings.sources
        if settings.values["app"] is None:
            if not print_config:
                raise click.MissingParameter(ctx=ctx, param_hint="'APP'", param_type="argument")
            settings.values["app"] = ""
        if print_config:
            _ = settings.config
            click.echo(settings.as_file(), nl=False)
            return
        _ = settings.config  # and logging with it
        for sentence in _misspelt_variables(os.environ):
            _log.warning("%s", sentence)
        if check_config:
            code = _check(settings.config)
        elif composition.run is not _OUR_RUN:  # somebody wants to start it himself
            values = dict(settings.values)
            composition.run(values.pop("app"), **values)
            return
        else:
            with last_word(for_good=_is_the_program()):
                code = _serve(settings)
    except ConfigError as exc:
        raise click.UsageError(_where_set(str(exc), sources), ctx) from None
    if _is_the_program():
        leave_if_held_up(code)
    if code != ExitCode.OK:
        sys.exit(code)


def _is_the_program() -> bool:
    """Whether this process ends with the command: it is no program that calls it and goes on."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return (
        spec.name == "uvicorn.__main__" if spec is not None else Path(getattr(main, "__file__", "")).stem == "uvicorn"
    )


def _serve(settings: Settings) -> int:
    code = reload_without_fork(settings.config, settings.values)
    return serve(settings.config, settings.reread) if code is None else code


def _where_set(sentence: str, sources: Mapping[str, str]) -> str:
    """A sentence that opens with an option's flag, about what a person has set: a variable, a key in a file."""

    def rename(found: re.Match[str]) -> str:
        for name, declared in options().items():
            if declared.flag == found[0] and sources.get(name, "command line") != "command line":
                source = sources[name]
                return source if source == declared.env else f"{source}: {name.replace('_', '-')}"
        return found[0]

    opening = re.match(r"--[a-z\d-]+(?: and --[a-z\d-]+)?", sentence)
    return sentence if opening is None else re.sub(r"--[a-z\d-]+", rename, opening[0]) + sentence[opening.end() :]


def _check(config: Config) -> int:
    """What a start would find out, short of binding and of the lifespan. Raises ConfigError."""
    _ = config.needs_master
    try:
        with config.raising():
            config.load()
            config.get_loop_factory()
    except StartupError as exc:
        _log.error("%s", describe_failure(exc))
        return int(exc.exit_code)
    click.echo("The configuration is valid, and the application can be imported.")
    return int(ExitCode.OK)


def _fill_standard_descriptors() -> None:
    """A service manager may close 0, 1 or 2: a socket that got such a number would be written to as a log."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _build() -> click.Command:
    app = click.Argument(["app"], envvar="UVICORN_APP", required=False, metavar="APP")  # or it is in the file
    return GroupedCommand(
        "uvicorn",
        params=[app, *(_parameter(one) for name, one in options().items() if name != "app"), *_own_parameters()],
        callback=_command,
        help=_command.__doc__,
        context_settings={"auto_envvar_prefix": "UVICORN"},
    )


main = _build()
