"""How much a peer may send, and how long it may take, as the options say. Only data."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.config import Config

NO_LIMIT = 1 << 80

HEAD_BYTES = 65536
HEAD_FIELDS = 128


class PeerLimits:
    """Bytes, counts and seconds; NO_LIMIT or infinite for a limit that is switched off.

    `line`: a request line. `head`: the line and its header fields. `header_time`: from the first byte of a head (or
    from connecting) to its last one. `body_time`: between two parts of a body. `body_rate`: the lowest average of bytes
    per second, 0 for none. `write_time`: how long the peer may read nothing. `small`: a head of so many bytes is within
    every limit, because a field takes at least four bytes.
    """

    __slots__ = ("body", "body_rate", "body_time", "fields", "head", "header_time", "line", "small", "write_time")

    def __init__(
        self,
        line: int = NO_LIMIT,
        head: int = HEAD_BYTES,
        fields: int = HEAD_FIELDS,
        body: int = NO_LIMIT,
        header_time: float = 30.0,
        body_time: float = 60.0,
        body_rate: float = 0.0,
        write_time: float = 60.0,
    ) -> None:
        self.line = line
        self.head = head
        self.fields = fields
        self.body = body
        self.header_time = header_time
        self.body_time = body_time
        self.body_rate = body_rate
        self.write_time = write_time
        self.small = min(512, line, head, 4 * fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PeerLimits) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

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
