"""What a worker whose loop does not turn can still say: which requests are in flight.

A signal handler of Python's runs in a loop that is busy in Python or waits in a call that Python restarts, so this is
said from there (`Server.report_in_flight`). Rejected: a dormant thread that could also speak for blocked C code; every
process that an application forks would then be the fork of a process with threads.

Owns: the text. Must not: change anything: it runs between two bytecodes of whatever hangs. Fails by: nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

REPORTED = 20
"""Requests that are named; of the others only their number."""


def in_flight(connections: Collection[Any], now: float) -> bytes:
    """A line for each request in work (`Connection.in_work`), b"" for none. `now` is seconds of the monotonic clock."""
    told = [in_work(now) for one in connections if (in_work := getattr(one, "in_work", None)) is not None]
    found = [text for text in told if text]
    return f"In flight:\n{listed(found)}\n".encode("utf-8", "backslashreplace") if found else b""


def listed(requests: list[str]) -> str:
    """The first of them, a line each, and the number of the others."""
    more = [f"and {len(requests) - REPORTED} more"] if len(requests) > REPORTED else []
    return "\n".join([f"  {text}" for text in requests[:REPORTED] + more])
