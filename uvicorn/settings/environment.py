"""The environment file: variables for the application, read at the start and again at every reload.

States: not read → applied → applied again. A variable of the real environment always wins over the file; a variable
that is no longer in the file is removed.

Owns: which variables of this process come from the file. Must not: parse the file (python-dotenv does), or change any
other variable. Fails by: ConfigError; nothing is changed then.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from uvicorn.errors import ConfigError

applied: dict[str, dict[str, str]] = {}
"""The variables that each file has set in this process. They are not part of the real environment: an interpreter that
takes over from this one inherits them, and is told which they are."""


class EnvironmentFile:
    """One file, applied to the environment each time that it is read."""

    def __init__(self, path: str | os.PathLike[str], environ: MutableMapping[str, str] = os.environ) -> None:
        self.path = os.path.abspath(path)
        self._environ = environ

    def apply(self) -> None:
        """Read the file and set its variables. Raises ConfigError when it cannot be read."""
        try:
            from dotenv import dotenv_values
        except ImportError:
            raise ConfigError("--env-file needs the package python-dotenv. Run: pip install python-dotenv") from None
        try:
            with open(self.path, encoding="utf-8") as file:
                found = dotenv_values(stream=file)
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"Cannot read --env-file {self.path}: {reason}.") from None
        for name, value in applied.get(self.path, {}).items():
            if self._environ.get(name) == value:  # not changed by anybody else since
                del self._environ[name]
        fresh = {name: value for name, value in found.items() if value is not None and name not in self._environ}
        self._environ.update(fresh)
        applied[self.path] = fresh
