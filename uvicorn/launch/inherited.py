"""What forked workers inherit from the program that calls us, as warnings: old code, and threads that do not run.

Owns: these warnings. Must not: decide anything. Fails by: nothing.
"""

from __future__ import annotations

import sys
import threading

from uvicorn.config import Config, logger


def warn_of_stale_code(config: Config) -> None:
    """Warn that a reload will not bring new code, where this process holds the application already."""
    if not isinstance(config.app, str):
        logger.warning(
            "The application is an object of this process, so a reload (SIGHUP) starts new workers with the same code."
            ' Pass it as "module:attribute" to load new code.'
        )
    elif config.app.partition(":")[0] in sys.modules:
        logger.warning(
            "This process has already imported the application's module, so a reload (SIGHUP) starts new workers with"
            " the same code. Start the server with the command uvicorn to load new code."
        )
    warn_of_threads()


def warn_of_threads() -> None:
    """Warn of the threads of this process: a fork copies the calling thread only."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        logger.warning("These threads will not run in the workers: %s.", ", ".join(others))
