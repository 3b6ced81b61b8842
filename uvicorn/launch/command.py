"""The command `uvicorn`: reads the settings, then checks, prints or serves them.

Owns: what the command does, and its exit code. Must not: serve by itself (`serving`), or know where a value comes from
(`sources`). Fails by: click's usage error, exit code 2, for settings that cannot work; otherwise by the exit code of
`serving.serve`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from uvicorn.config import Config, logger, options
from uvicorn.errors import ConfigError, ExitCode
from uvicorn.launch import parameters, sources
from uvicorn.launch.replaced import replaced_run
from uvicorn.launch.serving import log_startup_failure, reload_without_fork, serve
from uvicorn.launch.sources import Sources
from uvicorn.process.exiting import last_word, leave_if_held_up
from uvicorn.worker.startup import preload


def _command(
    *, config_file: str | None = None, check_config: bool = False, print_config: bool = False, **given: Any
) -> None:
    """Serve the ASGI application APP, given as <module>:<attribute>."""
    ctx = click.get_current_context(silent=True)
    _fill_standard_descriptors()
    origins: dict[str, str] = {}
    try:
        explicit, origins = parameters.given_values(ctx, given)
        settings = Sources(explicit, origins, config_file)
        origins = settings.origins
        if settings.values["app"] is None:
            if not print_config:
                raise click.MissingParameter(ctx=ctx, param_hint="'APP'", param_type="argument")
            settings.values["app"] = ""
        if print_config:
            _ = settings.config
            click.echo(settings.as_file(), nl=False)
            return
        _ = settings.config  # sets up logging too
        for sentence in sources.misspelt_variables(os.environ):
            logger.warning("%s", sentence)
        if check_config:
            code = _check(settings.config)
        elif (run := replaced_run()) is not None:
            values = dict(settings.values)
            run(values.pop("app"), **values)
            return
        else:
            with last_word(for_good=_is_the_program()):
                code = _serve(settings)
    except ConfigError as exc:
        raise click.UsageError(sources.with_origin(str(exc), origins), ctx) from None
    if _is_the_program():
        leave_if_held_up(code)
    if code != ExitCode.OK:
        sys.exit(code)


def _is_the_program() -> bool:
    """Whether this process ends with the command: no program called it that goes on afterwards."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return (
        spec.name == "uvicorn.__main__" if spec is not None else Path(getattr(main, "__file__", "")).stem == "uvicorn"
    )


def _serve(settings: Sources) -> int:
    code = reload_without_fork(settings.config, settings.values)
    return serve(settings.config, settings.reread) if code is None else code


@log_startup_failure
def _check(config: Config) -> int:
    """Do what a start does, without binding and without the lifespan. Returns the exit code. Raises ConfigError."""
    _ = config.needs_master
    with config.raising():
        config.load()
        preload(config)
        config.get_loop_factory()
    click.echo("The configuration is valid, and the application can be imported.")
    return int(ExitCode.OK)


def _fill_standard_descriptors() -> None:
    """Open /dev/null as 0, 1 and 2 where a service manager has closed them.

    A socket that got such a number would be written to as a log.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _build() -> click.Command:
    app = click.Argument(["app"], envvar="UVICORN_APP", required=False, metavar="APP")  # a file may name it instead
    of_options = [parameters.of_option(declared) for name, declared in options().items() if name != "app"]
    return parameters.GroupedCommand(
        "uvicorn",
        params=[app, *of_options, *parameters.of_command()],
        callback=_command,
        help=_command.__doc__,
        context_settings={"auto_envvar_prefix": "UVICORN"},
    )


main = _build()
