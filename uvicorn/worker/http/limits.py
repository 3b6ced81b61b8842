"""How much a peer may send, and how long it may take.

Owns: `Limits`, the numbers that the options set; `Watch`, which judges one connection by them at every sweep of the
worker's one timer. Pure: numbers in, a verdict out; what is done about it is the connection's business. Must not: read
a clock, know asyncio, a transport or a codec. Fails by: nothing.

The deadlines are coarse (a sweep comes every half second) and cost a request nothing: a connection remembers when it
last heard something, and what a transport holds back is looked at in the sweep alone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.config import Config

NO_LIMIT = 1 << 80

HEAD_BYTES = 65536
HEAD_FIELDS = 128
LINGER = 2.0
"""Seconds that a peer which still sends is listened to after the last response."""
RATE_GRACE = 5.0
"""Seconds of a body before its rate is judged: connections begin slowly."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, counts and seconds. What is switched off is NO_LIMIT or infinite. Not changed once it is made.

    `line` is a request line, `head` that and its header fields together. `header_time` is from the first byte of a head
    (or from connecting) to its last, `body_time` between two parts of a body, `body_rate` the least bytes a second of a
    body on average (0 for none), `write_time` without the peer taking anything of what is written to it. A head of
    `small` bytes is within every limit, whatever is in it (a field takes four at least).
    """

    line: int = NO_LIMIT
    head: int = HEAD_BYTES
    fields: int = HEAD_FIELDS
    body: int = NO_LIMIT
    header_time: float = 30.0
    body_time: float = 60.0
    body_rate: float = 0.0
    write_time: float = 60.0
    small: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "small", min(512, self.line, self.head, 4 * self.fields))

    @classmethod
    def of(cls, config: Config) -> Limits:
        """What the options say."""
        return cls(
            line=config.limit_request_line or NO_LIMIT,
            head=max(512, config.limit_request_headers or config.h11_max_incomplete_event_size or HEAD_BYTES),
            fields=config.limit_request_fields or NO_LIMIT,
            body=config.limit_request_body or NO_LIMIT,
            header_time=config.timeout_request_header or inf,
            body_time=config.timeout_request_body or inf,
            body_rate=config.limit_body_rate or 0.0,
            write_time=config.timeout_write or inf,
        )


class Wait(enum.IntEnum):
    """What a connection waits for."""

    NOBODY = 0
    """Not for its peer: the application is in work, or reading is paused."""
    FIRST = 1
    """For a peer that has sent nothing yet."""
    NEXT = 2
    """For another request."""
    HEAD = 3
    """For the rest of a head."""
    BODY = 4
    """For the rest of a body."""
    REST = 5
    """For the rest of the body of a request that was answered: it is dropped."""
    END = 6
    """For the peer's end, after the last response."""


class Verdict(enum.IntEnum):
    """What is to be done about a connection."""

    STAY = 0
    CLOSE = 1
    LINGER = 2
    """Close our half."""
    ABORT = 3
    STALLED = 4
    """Abort: the peer does not take what is written to it."""
    SLOW_HEAD = 5
    """Answer 408."""
    SLOW_BODY = 6
    """Answer 408."""


_STAY, _NOBODY, _FIRST, _NEXT = Verdict.STAY, Wait.NOBODY, Wait.FIRST, Wait.NEXT


class Watch:
    """What has to be remembered of one connection between two sweeps. Made by its first sweep."""

    __slots__ = ("_body_time", "_swept_at", "_unsent", "_unsent_at")

    def __init__(self, now: float) -> None:
        self._swept_at = now
        self._body_time = 0.0
        self._unsent = 0
        self._unsent_at = -inf

    def new_body(self) -> None:
        """The body of another request begins."""
        self._body_time = 0.0

    def judge(
        self, now: float, limits: Limits, keep_alive: float, wait: Wait, since: float, unsent: int, received: int
    ) -> Verdict:
        """`since` is when the peer was last heard, `unsent` what its transport holds, `received` the size of the body.

        Known weakness: any change of `unsent` counts as progress, also what the application adds for a peer that
        takes nothing. It cannot add much: above the transport's high-water mark its `send` waits.
        """
        elapsed, self._swept_at = now - self._swept_at, now
        if unsent != self._unsent:
            self._unsent, self._unsent_at = unsent, now
        elif unsent and now - self._unsent_at > limits.write_time:
            return Verdict.STALLED
        if wait is _NOBODY:
            return _STAY
        quiet = now - since
        if wait is _NEXT or wait is _FIRST:  # a response under way is no idleness: its time begins at its end
            limit = keep_alive if wait is _NEXT else limits.header_time
            return Verdict.CLOSE if quiet > limit and not unsent and now - self._unsent_at > limit else _STAY
        if wait is Wait.HEAD:
            return Verdict.SLOW_HEAD if quiet > limits.header_time else _STAY
        if wait is Wait.BODY:
            self._body_time += elapsed
            slow = self._body_time > RATE_GRACE and received < limits.body_rate * self._body_time
            return Verdict.SLOW_BODY if slow or quiet > limits.body_time else _STAY
        if wait is Wait.REST:
            return Verdict.LINGER if quiet > keep_alive else _STAY
        return Verdict.ABORT if quiet > LINGER and not unsent and now - self._unsent_at > LINGER else _STAY
