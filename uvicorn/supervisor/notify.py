"""systemd's notification protocol: one datagram a message, to the socket that NOTIFY_SOCKET names.

Owns: the address, the wire form, and what the manager asked for (`watchdog`: the interval in seconds in which it
expects a message; 0 if it expects none). The variables are removed from the environment when they are read, so that no
worker and no program started by one can speak for the service. Must not: decide what is sent, or block. Fails by: one
debug line for the first datagram that could not be sent; the service goes on.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

from uvicorn.supervisor.actions import Status

logger = logging.getLogger("uvicorn.error")

_DIGITS = 20
"""Of the largest number of microseconds that a manager can send, which has 64 bits."""


class Notifier:
    """Sends READY=1 and the like. Without an address it sends nothing."""

    def __init__(self, address: str | None, watchdog: float = 0.0) -> None:
        self._address: str | None = address or None
        self._failed = False
        self.watchdog = watchdog if self._address else 0.0

    @classmethod
    def take(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Read the manager's variables from the environment, and remove them there."""
        address, period, pid = (environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        asked = pid in ("", str(os.getpid())) and period.isdecimal() and len(period) <= _DIGITS
        return cls(address, int(period) / 1_000_000 if asked else 0.0)

    def send(self, status: Status, text: str, now: float) -> None:
        """One message: what changed and the STATUS line. `now` is the monotonic clock, in seconds."""
        if self._address is None:
            return
        lines = [f"STATUS={text}"]
        if status is Status.READY:
            lines.insert(0, "READY=1")
        elif status is Status.WATCHDOG:
            lines.insert(0, "WATCHDOG=1")
        elif status is Status.STOPPING:
            lines.insert(0, "STOPPING=1")
        elif status is Status.RELOADING:
            lines[:0] = ["RELOADING=1", f"MONOTONIC_USEC={int(now * 1_000_000)}"]
        self._datagram(self._address, "\n".join(lines).encode("utf-8", "backslashreplace"))

    def _datagram(self, address: str, data: bytes) -> None:
        if address.startswith("@"):  # an abstract name: the first byte is zero
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(data, address)
        except (OSError, ValueError) as exc:  # what is no address is the second
            if not self._failed:
                self._failed = True
                logger.debug("The service manager cannot be notified: %s.", exc)
