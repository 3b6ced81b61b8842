"""Where a server listens: from the options under "Binding" to listeners, and the line that announces an address.

Owns: which of these options wins. Sockets that a service manager passed replace `--host`, `--port` and `--uds`: a unit
with a socket means that socket, and an address in its command would be a second address. `--fd`
names one descriptor and always wins. Must not: know a Config. Fails by: `BindError`, and nothing stays open then.
"""

from __future__ import annotations

import logging

from uvicorn.net import sockets

_log = logging.getLogger("uvicorn.error")


def bind(host: list[str] | str, port: int, uds: str | None, fd: int | None, backlog: int) -> list[sockets.Listener]:
    """The bound listeners; those that were passed (`fd`, or by a service manager) listen already. Raises BindError."""
    passed = sockets.take_passed()
    if fd is not None:
        return [sockets.adopt(fd, backlog)]
    if passed:
        listeners = sockets.adopt_passed(passed, backlog)
        named = ", ".join(f"{name} ({one.url})" for name, one in zip(passed.values(), listeners, strict=True))
        _log.info("Using the sockets of the service manager instead of --host, --port and --uds: %s", named)
        return listeners
    if uds is not None:
        return [sockets.bind_unix(uds, backlog)]
    return sockets.bind_tcp(comma_separated(host) or "", port, backlog)


def announce(url: str) -> None:
    """Log the line that people and tools wait for."""
    message = "Uvicorn running on %s (Press CTRL+C to quit)"
    colored = "Uvicorn running on \x1b[1m%s\x1b[0m (Press CTRL+C to quit)"
    _log.info(message, url, extra={"color_message": colored})


def comma_separated(value: list[str] | str) -> list[str]:
    """The parts of a list, or of text with commas, without spaces around them; empty parts are left out."""
    parts = value.split(",") if isinstance(value, str) else value
    return [part.strip() for part in parts if part.strip()]
