"""Turning the values that were given into settings that a server can start with.

Steps, in this order: `normalize` (each value by its declaration), `drop_missing_file`, `fill_in` (options that a
variable sets while they are unset), `warnings_about` (what has no effect), `check` (values that need more than their
type, and combinations).

Owns: these steps. Must not: import what a setting names, look at sockets or certificates, or log.
Fails by: `ConfigError`, one sentence that begins with the option.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from uvicorn.errors import ConfigError
from uvicorn.net.endpoint import comma_separated
from uvicorn.settings import headers, values
from uvicorn.settings.declared import Settings, options
from uvicorn.settings.options import Declared

_RESOLVED_ONCE = frozenset(("reload_dirs", "reload_includes", "reload_excludes"))
"""Options whose attributes hold the resolved paths (`reload_paths`) once a Config is made."""


def normalize(settings: Settings) -> None:
    """Convert every option to the plain value that the rest of the package relies on. Raises ConfigError.

    An option that a subclass has as a property of its own is left alone.
    """
    if isinstance(settings.app, str) and settings.app.count(".") == 3 and settings.app.replace(".", "").isdigit():
        raise ConfigError(
            f"The application comes first: run(app, {settings.app!r}, …), but an address was given in its place."
        )
    given = vars(settings)
    for name, option in options().items():
        if name in given and name not in _RESOLVED_ONCE:
            setattr(settings, name, values.normalized(option, given[name]))
    settings.headers = settings.headers or []
    settings.timeout_notify = values.seconds("timeout_notify", settings.timeout_notify, 30)
    settings.callback_notify = values.function("callback_notify", settings.callback_notify)
    settings.ssl_context_factory = values.function("ssl_context_factory", settings.ssl_context_factory)


def snapshot(settings: Settings) -> dict[str, Any]:
    """The values as they are now, to be compared later. Lists are copied, because programs change them in place."""
    given = vars(settings)
    names = [name for name in Settings.__annotations__ if name in given]
    return {name: list(given[name]) if type(given[name]) is list else given[name] for name in names}


def drop_missing_file(settings: Settings) -> list[str]:
    """Unset `env_file` if the file does not exist, and return a warning."""
    if settings.env_file is None or os.path.exists(settings.env_file):
        return []
    name, settings.env_file = os.fspath(settings.env_file), None
    return [f"There is no environment file {name!r}: continuing without it."]


def fill_in(settings: Settings) -> dict[str, Any]:
    """Set the options that are None from their variables (`Option.variable`), and return their names and values.

    Afterwards `workers` is a number. Raises ConfigError.
    """
    from uvicorn.net import proxies

    unset = [name for name in variables() if getattr(settings, name) is None]
    for name in unset:
        setattr(settings, name, _read_variable(options()[name]))
    if settings.workers == "auto":
        from uvicorn.settings import container

        settings.workers = container.cpus()
    source = "FORWARDED_ALLOW_IPS" if "forwarded_allow_ips" in unset else "--forwarded-allow-ips"
    for text in proxies.TrustedProxies(settings.forwarded_allow_ips or "").misspelt():
        raise ConfigError(f"{source}: {text!r} is not an address or a network.")
    return {name: getattr(settings, name) for name in unset}


def variables() -> dict[str, str]:
    """The names of the options with a variable other than UVICORN_…, and those variables."""
    return {name: option.spec.variable for name, option in options().items() if option.spec.variable}


def _read_variable(option: Declared) -> Any:
    """The value of the option's variable, or its fallback. Raises ConfigError."""
    text = os.environ.get(option.spec.variable)
    if text is None or not (option.any_text or text.strip()):
        return option.spec.fallback
    return values.normalized(option, text if option.any_text else text.strip(), option.spec.variable)


def warnings_about(settings: Settings) -> list[str]:
    """Warnings about options without effect. Removes the `headers` that the server sends itself."""
    found = []
    dropped = headers.encode(settings.headers or []).dropped
    if dropped:
        said = ", ".join(f"{name}: {value}" for name, value in dropped)
        found.append(f"--header {said} is not sent: the server manages its connections itself.")
        settings.headers = [pair for pair in settings.headers or [] if pair not in dropped]
    if settings.ssl_ca_certs is not None and not has_tls(settings):
        found.append("--ssl-ca-certs has no effect without --ssl-certfile: connections are not encrypted.")
    return found


def has_tls(settings: Settings) -> bool:
    return bool(settings.ssl_keyfile or settings.ssl_certfile or settings.ssl_context_factory)


def check(settings: Settings, words: Mapping[str, Collection[str]]) -> None:
    """Check values and combinations. Raises ConfigError.

    `words` are the values of `loop`, `http` and `ws` that are not import strings.
    """
    for name, known in words.items():
        value = getattr(settings, name)
        if isinstance(value, str) and value not in known and ":" not in value:
            raise ConfigError(
                f"--{name} must be one of {', '.join(sorted(known))},"
                f" or an import string <module>:<attribute>, not {value!r}."
            )
    if settings.access_log_format != "uvicorn":
        from uvicorn.logs import formats

        formats.compiled(settings.access_log_format)
    if settings.limit_worker_memory is not None:
        from uvicorn.settings import container

        container.parse_size(settings.limit_worker_memory)
    from uvicorn.net import proxies

    if wrong := proxies.misnamed(comma_separated(settings.forwarded_headers)):
        raise ConfigError(f"--forwarded-headers: {wrong}")
    if not comma_separated(settings.host) and not isinstance(settings.host, str):
        raise ConfigError("--host must be an address, or empty text for all addresses, not an empty list.")
    try:
        settings.root_path.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"--root-path {settings.root_path!r} cannot be encoded in UTF-8.") from None
    if settings.ssl_keyfile and not (settings.ssl_certfile or settings.ssl_context_factory):
        raise ConfigError("--ssl-keyfile needs --ssl-certfile.")
    if settings.uds is not None and settings.fd is not None:
        raise ConfigError("--uds and --fd cannot be used together: choose one.")


def needs_master(supervise: bool | None, workers: int, reload: bool) -> bool:
    """Whether to run under a master. Raises ConfigError when `--no-supervise` contradicts another option."""
    if reload:
        if supervise is False:
            raise ConfigError("--no-supervise runs one process, and --reload needs a second: leave one out.")
        return True
    if supervise is not None:
        if not supervise and workers > 1:
            raise ConfigError("--no-supervise runs one process: leave it out, or use --workers 1.")
        return supervise
    return workers > 1 or os.getpid() == 1 or "NOTIFY_SOCKET" in os.environ
