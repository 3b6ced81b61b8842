"""A module that is imported when it is first used: for what costs a program time that only names us.

Owns: that one step. Costs nothing afterwards, because the name is then bound to the module itself. Must not: be used
for what every program needs, or in a module's body. Fails by: the ImportError, where it is used.
"""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """`asyncio = Later("asyncio", globals())`: stands for the module until one of its attributes is wanted."""

    def __init__(self, name: str, namespace: dict[str, Any]) -> None:
        self._name = name
        self._namespace = namespace

    def __getattr__(self, attribute: str) -> Any:
        module = self._namespace[self._name] = importlib.import_module(self._name)
        return getattr(module, attribute)
