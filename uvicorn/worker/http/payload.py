"""The bytes that an application sends, and how long it may send before other tasks run.

For HTTP and for WebSockets. Must not: know a wire. Fails by: TypeError for anything but bytes.
"""

from __future__ import annotations

from typing import Any

TURN = 64
"""Messages of an application after which the others get a turn of the loop, if nothing else made this one wait: a
client that takes everything at once, or a response of which nothing is written (to HEAD), must not hold them up for
ever."""


def as_bytes(data: Any, rule: str) -> bytes:
    """Other bytes-like objects are taken too, and None, which is empty. Raises TypeError for anything else, before a
    byte is on the wire; `rule` is the beginning of its sentence.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if data is None:
        return b""
    raise TypeError(f"{rule}, not {type(data).__name__}.")
