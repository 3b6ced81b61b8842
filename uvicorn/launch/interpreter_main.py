"""What the interpreter runs that `own_interpreter` starts: it reads the settings and is the master.

Owns: taking the caller's place: its arguments, its environment variables, its signals. Must not: import a module of the
program. Fails by: the exit code; a ConfigError is printed on standard error.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
from typing import NoReturn

from uvicorn.config import Config
from uvicorn.errors import ConfigError, ExitCode, say
from uvicorn.launch.serving import serve
from uvicorn.process.exiting import last_word
from uvicorn.settings import environment
from uvicorn.supervisor.caller import Caller
from uvicorn.supervisor.kernel import Kernel


def main(source: int, lifeline: int) -> NoReturn:
    """Read the settings from descriptor `source`, serve, and exit. The caller writes signal numbers to `lifeline`."""
    with open(source, "rb") as pipe:
        data = pipe.read()
    if not data:  # the caller has died
        sys.exit(ExitCode.INTERNAL)
    sys.argv[:], settings, ignores_hangup, from_files = marshal.loads(data)
    environment.applied.update(from_files)
    if ignores_hangup:  # the caller ignores SIGHUP (nohup), and a new process would keep that
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for name in ("LISTEN_PID", "WATCHDOG_PID"):  # they name the caller, whose place this process takes
        if os.environ.get(name) == str(os.getppid()):
            os.environ[name] = str(os.getpid())
    try:
        config = Config(**settings)
        config.supervise = True
        with last_word(for_good=True):
            code = serve(config, kernel=lambda: _make_kernel(lifeline))
    except ConfigError as exc:
        say(f"Error: {exc}")
        code = ExitCode.USAGE
    sys.exit(code)


def _make_kernel(lifeline: int) -> Kernel:
    kernel = Kernel(Caller(lifeline))
    signal.pthread_sigmask(signal.SIG_SETMASK, set())  # blocked since the start; from here on the kernel handles them
    return kernel
