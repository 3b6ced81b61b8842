"""What the machine remembers, as plain data and back: for a master that replaces itself.

Owns: `dump` and `load`. What is dumped consists of dictionaries with names as keys, lists, strings, numbers, booleans
and None, so JSON or marshal can carry it. A dataclass, or a class with `_fields`, becomes a dictionary of them (but
those that are `DERIVED`: they follow from the others), an enumeration its value, a dictionary a list of pairs. `load`
is guided by the annotated types. A field that the data does not have keeps its default, and one that the class does
not have is left out: the other version may be older or newer.

Must not: know a class by name. Fails by: TypeError, ValueError or KeyError for data that does not fit the type.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

DERIVED: Mapping[str, bool] = types.MappingProxyType({"derived": True})
"""Metadata of a field that is not dumped."""

T = TypeVar("T")


def dump(value: Any) -> Any:
    """`value` as plain data."""
    if dataclasses.is_dataclass(value):
        return {field.name: dump(getattr(value, field.name)) for field in _fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "_fields"):
        return {name: dump(getattr(value, name)) for name in value._fields}
    if isinstance(value, dict):
        return [[dump(key), dump(one)] for key, one in value.items()]
    if isinstance(value, set | frozenset):
        return [dump(one) for one in sorted(value)]
    if isinstance(value, list | tuple):
        return [dump(one) for one in value]
    assert value is None or isinstance(value, str | int | float), f"{value!r} is no plain data"
    return value


def load(kind: type[T], data: Any) -> T:
    """The inverse of `dump`, for a value of the type `kind`."""
    loaded: T = _load(kind, data)
    return loaded


def _load(kind: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (one,) = [argument for argument in arguments if argument is not type(None)]
        return None if data is None else _load(one, data)
    if origin is dict:
        return {_load(arguments[0], key): _load(arguments[1], one) for key, one in data}
    if origin in (set, list):
        return origin(_load(arguments[0], one) for one in data)
    if origin is tuple:
        return tuple(_load(argument, one) for argument, one in zip(arguments, data, strict=True))
    if dataclasses.is_dataclass(kind):
        return _load_named(kind, {field.name for field in _fields(kind)}, data)
    if hasattr(kind, "_fields"):
        return _load_named(kind, set(kind._fields), data)
    if issubclass(kind, enum.Enum):
        return kind(data)
    return data


def _load_named(kind: Any, names: set[str], data: Mapping[str, Any]) -> Any:
    types_of = typing.get_type_hints(kind)
    return kind(**{name: _load(types_of[name], one) for name, one in data.items() if name in names})


def _fields(kind: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(kind) if not field.metadata.get("derived")]
