"""The header fields that every response gets (Date, Server, `--header`), and the format of the date.

Not in a room of HTTP's versions, because a server has them before it has a connection, and imports nothing else of HTTP
for them. Owns: their rendered form. Must not: know a request or read a clock.
"""

from __future__ import annotations

import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(seconds: float) -> bytes:
    """A time (seconds since 1970) in the format of RFC 9110, 5.6.7. `email.utils` would take 5 ms to import."""
    t = time.gmtime(seconds)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    return f"{day}, {t.tm_mday:02} {month} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT".encode()


class DefaultFields:
    """The fields of every response, unless the application sends its own.

    `pairs` is the list in ASGI's form; setting it renders `block`.
    """

    __slots__ = ("_pairs", "block")

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        return self._pairs

    @pairs.setter
    def pairs(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs
        self.block = b"".join(b"%b: %b\r\n" % pair for pair in pairs)

    def without(self, date: bool, server: bool) -> bytes:
        """The block without what the application has sent itself."""
        if not date and not server:
            return self.block
        skipped = {b"date"} if date else set()
        if server:
            skipped.add(b"server")
        return b"".join(b"%b: %b\r\n" % (n, v) for n, v in self._pairs if n.lower() not in skipped)
