"""How much a peer may send, and how long it may take: the numbers that the options set. Data alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.config import Config

NO_LIMIT = 1 << 80

HEAD_BYTES = 65536
HEAD_FIELDS = 128


@dataclass(frozen=True, slots=True)
class PeerLimits:
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
    def of(cls, config: Config) -> PeerLimits:
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
