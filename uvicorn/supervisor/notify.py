"""systemd's notification protocol: one datagram a message, to the socket that NOTIFY_SOCKET names.

Owns: the address and the wire form. The variable is removed from the environment when it is read, so that
no worker and no program started by one can speak for the service. Must not: decide what is said, or block.
Fails by: one debug line for the first datagram that could not be sent; the service goes on.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

from uvicorn.supervisor.actions import Status

logger = logging.getLogger("uvicorn.error")


class Notifier:
    """Says READY=1 and its kin. Without an address it says nothing."""

    def __init__(self, address: str | None) -> None:
        self._address: str | None = address or None
        self._failed = False

    @classmethod
    def take(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Read the address from the environment, and take it away from there."""
        return cls(environ.pop("NOTIFY_SOCKET", None))

    def send(self, status: Status, text: str, now: float) -> None:
        """One message: what changed and the STATUS line. `now` is the monotonic clock, in seconds."""
        if self._address is None:
            return
        lines = [f"STATUS={text}"]
        if status is Status.READY:
            lines.insert(0, "READY=1")
        elif status is Status.STOPPING:
            lines.insert(0, "STOPPING=1")
        elif status is Status.RELOADING:
            lines[:0] = ["RELOADING=1", f"MONOTONIC_USEC={int(now * 1_000_000)}"]
        self._datagram(self._address, "\n".join(lines).encode())

    def _datagram(self, address: str, data: bytes) -> None:
        if address.startswith("@"):  # an abstract name: the first byte is zero
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(data, address)
        except OSError as exc:
            if not self._failed:
                self._failed = True
                logger.debug("The service manager cannot be notified: %s.", exc)
