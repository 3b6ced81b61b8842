"""The command `uvicorn` in the test's own process."""

from __future__ import annotations

from unittest import mock

from uvicorn.config import Config
from uvicorn.main import main


def config_of(*arguments: str) -> Config:
    """The settings with which the command would serve."""
    served: list[Config] = []

    def serve(config: Config, reread: object = None) -> int:
        served.append(config)
        return 0

    with mock.patch("uvicorn.launch.command.serve", serve):
        try:
            main(list(arguments), standalone_mode=False)
        except SystemExit as left:
            assert not left.code, left.code
    (config,) = served
    return config
