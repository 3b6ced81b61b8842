"""Versions and components, for `--version` and for the first line of a log; a bug report has them that way.

Owns: these texts. Must not: import a component in order to name it; the settings have loaded theirs. Fails by: nothing.
"""

from __future__ import annotations

from typing import Any

import uvicorn
from uvicorn.config import HTTP_PROTOCOLS, LOOP_FACTORIES, WS_PROTOCOLS, Config


def interpreter() -> str:
    """`uvicorn 1.2.3 with CPython 3.13.1`."""
    import platform  # imported late: in Python 3.10 it imports subprocess

    return f"uvicorn {uvicorn.__version__} with {platform.python_implementation()} {platform.python_version()}"


def parts(config: Config) -> str:
    """The same, and the components that a server with these settings uses. They must have been loaded.

    A class of the application's is shown as the settings name it, because a master does not import it.
    """
    loop, http, ws = config.loop, config.http, config.ws
    if loop in LOOP_FACTORIES:
        factory = config.get_loop_factory()
        loop = "asyncio" if factory is None else factory.__module__.partition(".")[0]
    if http in HTTP_PROTOCOLS:
        http = getattr(config.http_protocol_class, "library", http)
    if ws in WS_PROTOCOLS:
        ws = getattr(config.ws_protocol_class, "library", "none")
    return f"{interpreter()}, loop {_name(loop)}, HTTP {_name(http)}, WebSockets {_name(ws)}"


def _name(part: Any) -> str:
    if isinstance(part, str):
        return part
    return f"{part.__module__}.{getattr(part, '__qualname__', type(part).__qualname__)}"
