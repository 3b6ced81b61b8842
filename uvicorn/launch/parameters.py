"""The parameters of the command, made from the declarations of the options, and how `--help` shows them.

Owns: the click types, and the parameters that are no settings (`--config`, `--version`, …). Must not: read a file, or
make a Config. Fails by: click's usage errors, and ConfigError for a header without a colon.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from uvicorn.config import INTERFACES, LIFESPAN, options
from uvicorn.errors import ConfigError
from uvicorn.launch import versions
from uvicorn.launch.sources import is_service_link
from uvicorn.logging import LOG_LEVELS
from uvicorn.settings.declared import GROUPS
from uvicorn.settings.options import Declared
from uvicorn.surface import foreign

if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType  # generic from click 8.4 on


# For the command lines of programs that have such an option too.
LEVEL_CHOICES = click.Choice(list(LOG_LEVELS))
LIFESPAN_CHOICES = click.Choice(list(LIFESPAN))
INTERFACE_CHOICES = click.Choice(INTERFACES)


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
    """An option whose errors name the environment variable that the value came from."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        value = super().value_from_envvar(ctx)
        if isinstance(value, str) and is_service_link(value):
            raise click.UsageError(
                f"UVICORN_{str(self.name).upper()} is {value!r}: Kubernetes sets it for a Service named uvicorn."
                f" Set enableServiceLinks: false in the pod's spec, rename the Service, or use {self.opts[0]}.",
                ctx,
            )
        return value

    def get_error_hint(self, ctx: click.Context | None) -> str:
        if ctx is not None and ctx.get_parameter_source(str(self.name)) is ParameterSource.ENVIRONMENT:
            return self.envvar if isinstance(self.envvar, str) else f"UVICORN_{str(self.name).upper()}"
        return super().get_error_hint(ctx)


def of_option(declared: Declared) -> click.Option:
    """The parameter of one option."""
    flag, spec = declared.flag, declared.spec
    default = declared.command_default
    common: dict[str, Any] = {"help": spec.help, "default": default, "show_envvar": False}
    if declared.kind is bool and spec.valued:
        return EnvironmentOption([declared.name, flag], type=click.BOOL, show_default=True, **common)
    if declared.kind is bool:
        # A flag that is off by default and has no unset state needs no way to switch it off.
        both = declared.optional or default
        return EnvironmentOption([declared.name, f"{flag}/--no-{flag[2:]}" if both else flag], is_flag=True, **common)
    kind: Any = {int: click.INT, float: click.FLOAT, str: click.STRING}[declared.kind]
    words = tuple(word for word in declared.choices if word != "none")
    if declared.many:
        common["multiple"] = True
    if spec.numbers:
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


def of_command() -> list[click.Parameter]:
    """The parameters that are no settings of a server."""
    return [
        EnvironmentOption(
            ["config_file", "--config"],
            metavar="FILE",
            envvar="UVICORN_CONFIG",
            help="Read options from this TOML file; of a pyproject.toml, from its section [tool.uvicorn].",
        ),
        click.Option(
            ["--check-config"],
            is_flag=True,
            allow_from_autoenv=False,
            help="Check the configuration, import the application, and exit.",
        ),
        click.Option(
            ["--print-config"],
            is_flag=True,
            allow_from_autoenv=False,
            help="Show the configuration and where each value comes from, as a configuration file, and exit.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=print_version,
            help="Show the version of uvicorn and exit.",
        ),
    ]


def given_values(ctx: click.Context | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the command line and the environment say, as `Config` takes it; and for each name, which of both.

    Raises ConfigError.
    """
    values, origins = {}, {}
    for name, value in given.items():
        source = ParameterSource.COMMANDLINE if ctx is None else ctx.get_parameter_source(name)
        if source not in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
            continue
        declared = options()[name]
        where = declared.flag if source is ParameterSource.COMMANDLINE else declared.env
        if declared.many:
            value = [_split_pair(where, one) if declared.spec.pairs else one for one in value or ()] or None
        if value is None and isinstance(declared.default, dict):  # which click is not told
            value = declared.default
        values[name] = value
        origins[name] = "command line" if source is ParameterSource.COMMANDLINE else where
    return values, origins


def _split_pair(where: str, text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError(f"{where} must be Name:Value, not {text!r}.")
    return [name, value]


class GroupedCommand(click.Command):
    """A command whose `--help` shows the options in the groups of their declarations."""

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
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*GROUPS, "Other")}
        for parameter in self.get_params(ctx):
            declared = options().get(parameter.name or "")
            record = parameter.get_help_record(ctx)
            if declared and isinstance(parameter, click.Argument):
                record = (parameter.make_metavar(ctx), declared.spec.help)
            if record is not None:
                groups[declared.spec.group if declared else "Other"].append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        with formatter.section("Environment"):
            formatter.write_text(
                "Each option can also be set by a variable UVICORN_<NAME>, for example UVICORN_PORT=80."
            )


def _value_of(name: str, args: list[str]) -> str:
    """What is given for an option that the parser does not know: `-w 4`, `-w4`, `--bind=x`."""
    for index, one in enumerate(args):
        if one == name:
            return args[index + 1] if index + 1 < len(args) else ""
        if one.startswith(name) and (len(name) == 2 or one.startswith(f"{name}=")):
            return one[len(name) :].lstrip("=")
    return ""
