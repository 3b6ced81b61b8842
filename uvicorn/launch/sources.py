"""Where the values of the settings come from: command line, environment, file, default; in this order of precedence.

Owns: that order, at the start and at each reload; and which source an error message names. Must not: know the
parameters of the command. Fails by: ConfigError, with a sentence that names the source.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from uvicorn.config import Config, options
from uvicorn.errors import ConfigError
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.settings import file as configfile
from uvicorn.settings.checks import variables

_log = logging.getLogger("uvicorn.error")


class Sources:
    """The arguments of a Config, and where each of them comes from.

    `explicit` holds those of the command line and of the environment, which win whenever the file is read. `origins`
    says for each name where its value comes from.
    """

    def __init__(self, explicit: Mapping[str, Any], origins: Mapping[str, str], path: str | None) -> None:
        self.explicit = dict(explicit)
        self.path = path
        for name, variable in variables().items():  # they are environment, so they win over the file
            if os.environ.get(variable) and name not in self.explicit:
                self.explicit[name] = None
        from_file = self._read_file()
        self.values = self._merged(from_file)
        self.origins = {**{name: str(path) for name in from_file if name not in self.explicit}, **origins}
        self._config: Config | None = None

    def _read_file(self) -> dict[str, Any]:
        return {} if self.path is None else configfile.read(self.path, options())

    def _merged(self, from_file: Mapping[str, Any]) -> dict[str, Any]:
        """All values, by precedence; the same at the start and at each reload."""
        defaults = {name: declared.command_default for name, declared in options().items()}
        return {**defaults, **from_file, **self.explicit}

    @property
    def config(self) -> Config:
        """Made when it is first asked for. Raises ConfigError."""
        if self._config is None:
            self._config = Config(**self.values)
        return self._config

    def reread(self) -> Config:
        """For a reload: the Config as the file has it now. Raises ConfigError; nothing has changed then.

        A setting that a running master cannot change keeps its value, and a warning names it.
        """
        if self.path is None:
            self._config = self.config.reread()
            return self._config
        values, in_vain = configfile.renewed(options(), self._merged(self._read_file()), self.values)
        if in_vain:
            _log.warning("%s: a reload cannot change %s: restart the server for that.", self.path, ", ".join(in_vain))
        try:
            config = Config(**values)
        except ConfigError:
            self.config.configure_logging()  # the failed Config may have replaced half of it
            raise
        self.values, self._config = values, config
        return config

    def as_file(self) -> str:
        """The values in force, as a configuration file."""
        shown = {name: value for name, value in self.values.items() if value is not LOGGING_CONFIG and value != ""}
        origins = dict(self.origins)
        for name, variable in variables().items():
            if shown[name] is None and os.environ.get(variable):
                shown[name], origins[name] = getattr(self.config, name), variable
        return configfile.dump(shown, origins)


def with_origin(sentence: str, origins: Mapping[str, str]) -> str:
    """A sentence that begins with an option's flag, with the variable or the key of the file that has the value."""

    def rename(found: re.Match[str]) -> str:
        for name, declared in options().items():
            if declared.flag == found[0] and origins.get(name, "command line") != "command line":
                origin = origins[name]
                return origin if origin == declared.env else f"{origin}: {name.replace('_', '-')}"
        return found[0]

    opening = re.match(r"--[a-z\d-]+(?: and --[a-z\d-]+)?", sentence)
    return sentence if opening is None else re.sub(r"--[a-z\d-]+", rename, opening[0]) + sentence[opening.end() :]


# -- variables that are no options -----------------------------------------------------------------------------

_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")
_SERVICE_NAME = re.compile(r"UVICORN_(?:.*_)?(?:SERVICE|PORT)_")
"""Variables that Kubernetes sets for a Service whose name begins with uvicorn."""


def is_service_link(value: str) -> bool:
    """Whether Kubernetes has set a variable to this value, for a Service."""
    return _SERVICE_LINK.match(value) is not None


def misspelt_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like an option and is none."""
    known = {declared.env for declared in options().values()} | {"UVICORN_CONFIG"}
    found = []
    for name in sorted(environ):
        like, value = name.upper(), environ[name]
        if not like.startswith("UVICORN_") or name in known or _SERVICE_NAME.match(like) or is_service_link(value):
            continue
        # Letters that changed places count for much in a short name.
        meant = next((one for one in known if sorted(one) == sorted(like)), "") or _similar(like, known)
        if meant:
            found.append(f"The variable {name} has no effect: did you mean {meant}?")
    return found


def _similar(name: str, known: set[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name[8:], [one[8:] for one in known], 1, 0.8)
    return f"UVICORN_{close[0]}" if close else ""
