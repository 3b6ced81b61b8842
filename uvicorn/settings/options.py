"""How an option is declared, and how the declarations are read back.

An option is one annotated field of a class (`with_parameters`): its type and an `Option`. The command line, the
environment variables, the keys of a configuration file and the README's tables are derived from what `declarations`
finds.

Owns: that derivation, and checking a value against its declaration. Must not: know any option by name. Fails by:
`ConfigError`, one sentence that names the option.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from uvicorn.errors import ConfigError
from uvicorn.surface.phrases import shown

if TYPE_CHECKING:
    from dataclasses import KW_ONLY as KW_ONLY

    from typing_extensions import dataclass_transform
else:

    class KW_ONLY:
        """Annotates a field that is none: the parameters after it are passed by keyword."""

    def dataclass_transform():
        """For type checkers, which then know the parameters."""
        return lambda decorator: decorator


Fields = TypeVar("Fields")

CONFIG_ONLY = "a parameter of Config, and not of run()"
"""Annotates a field that is neither an option nor a parameter of `run()`."""


class Option(NamedTuple):
    """How one option is declared, beside its type and its default.

    For a person: `help` is a sentence or two, `group` the heading in `--help` and in the README; `flags` replaces the
    flag that is derived from the name, and `metavar` the name of the value. `valued`: a bool that takes true or false,
    and not a pair of flags. `numbers`: the command line takes a whole number as well as the words of the Literal.
    `pairs`: a list of (name, value), each written as `Name:Value`. `command_default` is the default on the command
    line and in a file, if it is not that of `Config`.

    For a value: `minimum` and `maximum` bound a number; `exists`: the path must exist. `restart`: a reload cannot
    change the option, because the master uses it when it starts. `variable` names an environment variable that sets the
    option while it is None; `fallback` is the value if the variable is not set either.

    What a program may pass besides (see `values`): a number below `floor` or above `ceiling` is taken for that bound;
    `unset` is the value of None, if that is not the default; `blank`: empty text is None; `any_case`: words in upper
    case, too; `other_text`: any other text is None; `also`: (its name in an error message, a function that accepts a
    value as it is); `read`: a function that replaces all of this.
    """

    help: str
    group: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    exists: bool = False
    restart: bool = False
    valued: bool = False
    numbers: bool = False
    pairs: bool = False
    command_default: Any = None
    variable: str = ""
    fallback: Any = None
    floor: int | None = None
    ceiling: int | None = None
    unset: Any = None
    blank: bool = False
    any_case: bool = False
    other_text: bool = False
    also: tuple[str, Callable[[Any], bool]] | None = None
    read: Callable[[str, Any], Any] | None = None

    def bounded(self, name: str, value: int | float) -> int | float:
        """The number, limited to `floor` and `ceiling`. Raises ConfigError below `minimum` and above `maximum`."""
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be a number, not {value:g}.")
        if self.floor is not None and value < self.floor:
            return self.floor
        if self.ceiling is not None and value > self.ceiling:
            return self.ceiling
        if self.minimum is not None and value < self.minimum:
            raise ConfigError(f"{name} must be at least {self.minimum}, not {shown(value)}.")
        if self.maximum is not None and value > self.maximum:
            raise ConfigError(f"{name} must be at most {self.maximum}, not {shown(value)}.")
        return value


class Declared(NamedTuple):
    """One option, as the command line and a file need it.

    `kind` is the type of its value on the command line: bool, int, float or str. `choices` are the words of its
    Literal; `any_text`: any other text is allowed, too. `many`: the flag can be repeated. `optional`: it can be None.
    `types` are the types that a file can have.
    """

    name: str
    spec: Option
    kind: type
    choices: tuple[str, ...]
    many: bool
    optional: bool
    any_text: bool
    default: Any
    types: tuple[type, ...]

    @property
    def flag(self) -> str:
        return self.spec.flags[0] if self.spec.flags else "--" + self.name.replace("_", "-")

    @property
    def command_default(self) -> Any:
        """The default of the command line and of a file."""
        return self.default if self.spec.command_default is None else self.spec.command_default

    @property
    def env(self) -> str:
        return "UVICORN_" + self.name.upper()

    def check_type(self, name: str, value: Any) -> None:
        """Raises ConfigError if the option cannot have a value of this type, or this word."""
        number = isinstance(value, int) and not isinstance(value, bool) and float in self.types
        if not number and type(value) not in self.types:
            raise ConfigError(f"{name} must be {self.kinds()}, not {value!r}.")
        word = value.lower() if isinstance(value, str) and self.spec.any_case else value
        if isinstance(word, str) and self.choices and not self.any_text and word not in self.choices:
            raise ConfigError(f"{name} must be one of {', '.join(self.choices)}, not {value!r}.")

    def kinds(self) -> str:
        """What a value can be, for an error message."""
        hidden = {int} if float in self.types else {str} if self.choices and not self.any_text else set()
        words = list(self.choices) if hidden == {str} else []
        return " or ".join([_KINDS[kind] for kind in _KINDS if kind in self.types and kind not in hidden] + words)


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
}


@dataclass_transform()
def with_parameters(settings: type[Fields]) -> type[Fields]:
    """Class decorator: `__init__` takes the annotated fields as parameters, sets them and calls `__post_init__`.

    As `dataclasses.dataclass` does, for a fraction of its time (the module imports `inspect`, and this is part of
    naming `uvicorn.Config`). Unlike there, objects share a default that can be changed, which is what programs expect
    of LOGGING_CONFIG.
    """
    fields = settings.__annotations__
    namespace: dict[str, Any] = {"_set": _set_fields}
    parameters = ["*" if kind is KW_ONLY else name for name, kind in fields.items()]
    exec(f"def __init__(self, {', '.join(parameters)}):\n _set(self, locals())", namespace)
    init = namespace["__init__"]
    positional = parameters[: parameters.index("*")]
    defaults = {name: vars(settings)[name] for name in parameters if name in vars(settings)}
    init.__defaults__ = tuple(defaults[name] for name in positional if name in defaults)
    init.__kwdefaults__ = {name: value for name, value in defaults.items() if name not in positional}
    init.__annotations__ = {name: kind for name, kind in fields.items() if kind is not KW_ONLY} | {"return": None}
    init.__module__, init.__qualname__ = settings.__module__, f"{settings.__qualname__}.__init__"
    setattr(settings, "__init__", init)  # noqa: B010  # a type checker allows no assignment
    return settings


def _set_fields(settings: Any, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name != "self":
            setattr(settings, name, value)
    settings.__post_init__()


def declarations(settings: type[Any]) -> dict[str, Declared]:
    """Every field that is annotated with an `Option`, in order."""
    found: dict[str, Declared] = {}
    kinds: dict[str, Any] = settings.__annotations__
    for name, kind in kinds.items():
        if get_origin(kind) is Annotated:
            annotation, spec = get_args(kind)[:2]
            if isinstance(spec, Option):
                found[name] = _declare(name, spec, annotation, vars(settings).get(name))
    return found


def _declare(name: str, spec: Option, annotation: Any, default: Any) -> Declared:
    members = _flatten(annotation)
    origins = {get_origin(m) for m in members}
    choices = tuple(word for m in members if get_origin(m) is Literal for word in get_args(m))
    plain = {m for m in members if isinstance(m, type)} - {type(None)}
    types = (plain | origins & {list, dict} | ({str} if choices or os.PathLike in origins else set())) & _KINDS.keys()
    kind = next((k for k in (bool, str, float, int) if k in plain and not (choices and k is int)), str)
    return Declared(
        name=name,
        spec=spec,
        kind=kind,
        choices=choices,
        many=list in origins and bool(spec.flags),
        optional=type(None) in members,
        any_text=str in plain,
        default=default,
        types=tuple(kind for kind in _KINDS if kind in types),
    )


def _flatten(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal or not get_args(annotation):
        return [annotation]
    if get_origin(annotation) is not None and "Union" not in str(get_origin(annotation)):
        return [annotation]
    return [leaf for member in get_args(annotation) for leaf in _flatten(member)]
