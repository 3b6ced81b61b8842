"""How an option is declared, and how the declarations are read back.

An option is one parameter of a signature, annotated with its type and an `Option`. The command line, the environment
variables, the keys of a configuration file and the README's table are derived from what `declarations` finds.

Owns: that derivation. Must not: know any option by name. Fails by: `ConfigError` for a number out of bounds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from uvicorn.errors import ConfigError


class Option(NamedTuple):
    """How one parameter of `Config` is shown to a person.

    `help` is one sentence; `flags` replaces the flag derived from the name; `metavar` names the value; `minimum` and
    `maximum` bound a number. `group` is the heading in `--help` and in the README.
    """

    help: str
    group: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    minimum: float | None = None
    maximum: float | None = None

    def check(self, name: str, value: Any) -> None:
        """Raises ConfigError when a number is out of bounds."""
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return
        if self.minimum is not None and value < self.minimum:
            raise ConfigError(f"{name} must be at least {self.minimum:g}, not {value:g}.")
        if self.maximum is not None and value > self.maximum:
            raise ConfigError(f"{name} must be at most {self.maximum:g}, not {value:g}.")


class Declared(NamedTuple):
    """One parameter as the command line needs it.

    `kind` is bool, int, float or str; `choices` are the words of its Literal; `free` says that other text or numbers
    are allowed beside them; `many` that the flag may be given more than once.
    """

    name: str
    spec: Option
    kind: type
    choices: tuple[str, ...]
    free: bool
    many: bool
    optional: bool
    default: Any

    @property
    def flag(self) -> str:
        return self.spec.flags[0] if self.spec.flags else "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return "UVICORN_" + self.name.upper()


def declarations(function: Callable[..., Any]) -> dict[str, Declared]:
    """Every parameter of `function` that is annotated with an `Option`, in the order of the signature."""
    found: dict[str, Declared] = {}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        annotation, spec = _annotation(hints.get(name))
        if isinstance(spec, Option):
            found[name] = _declare(name, spec, annotation, parameter.default)
    return found


def _annotation(hint: Any) -> tuple[Any, Any]:
    """(type, metadata) of an `Annotated`. Python 3.10 wraps it in an Optional of its own when the default is None."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[:2]
    for member in get_args(hint):
        if get_origin(member) is Annotated:
            return get_args(member)[:2]
    return hint, None


def _declare(name: str, spec: Option, annotation: Any, default: Any) -> Declared:
    members = _flatten(annotation)
    many = any(get_origin(m) is list for m in members)
    choices = tuple(word for m in members if get_origin(m) is Literal for word in get_args(m))
    plain = {m for m in members if isinstance(m, type)} - {type(None)}
    kind = next((k for k in (bool, str, float, int) if k in plain and not (choices and k is int)), str)
    return Declared(
        name=name,
        spec=spec,
        kind=kind,
        choices=choices,
        free=str in plain or int in plain,
        many=many,
        optional=type(None) in members,
        default=None if default is inspect.Parameter.empty else default,
    )


def _flatten(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal or not get_args(annotation):
        return [annotation]
    if get_origin(annotation) is not None and "Union" not in str(get_origin(annotation)):
        return [annotation]
    return [leaf for member in get_args(annotation) for leaf in _flatten(member)]
