"""A property that may be assigned: for attributes of ours on classes that programs subclass.

A subclass may have an attribute of that name for itself: with a `property` its assignment would be an AttributeError.
Owns: the one descriptor. Must not: be used where a replaced value would break the server. Fails by: nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class replaceable(Generic[T]):  # used like `property`
    """Computed at each access, unless the object has an attribute of that name."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> replaceable[T]: ...

    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...

    def __get__(self, instance: object | None, owner: type[Any]) -> replaceable[T] | T:
        return self if instance is None else self._function(instance)
