"""What an application tells the program that watches it: words, each a datagram, whichever process says it.

Owns: the address (in the environment) and the sending. Must not: be needed; without the address nothing is said.
"""

from __future__ import annotations

import os
import socket

FAILS = "COMPATIBILITY_FAIL" in os.environ
"""Whether the start-up of the application is to fail."""


def note(*words: object) -> None:
    address = os.environ.get("COMPATIBILITY_NOTES")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(" ".join(map(str, words)).encode(), address)
