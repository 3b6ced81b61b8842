"""Parses a request head with httptools (llhttp).

Owns: the differences between llhttp and our rules. llhttp gets one whole head at a time and never a body, so it can
neither read too far nor stop too early (see `reader`). It hides two spaces in the request line, `RTSP/1.0` and an empty
first line; `reader` finds these, because it splits the request line itself. Must not: know asyncio, ASGI or the clock.
Fails by: `BadRequest`.
"""

from __future__ import annotations

import httptools

from uvicorn.worker.http.headers import Fields, field_name, known_names
from uvicorn.worker.http1.request_head import refusal


class HttptoolsCodec:
    """Parses one head after the other.

    A parser that has seen a body announced, an end, a fault or an upgrade reads the next head wrongly, or not at all,
    and connections share this codec: none is used a second time unless `reuse` says so.
    """

    __slots__ = ("_collected", "_idle", "_used", "on_header")

    def __init__(self) -> None:
        self._idle: httptools.HttpRequestParser | None = None
        self._used: httptools.HttpRequestParser | None = None
        self._collected: Fields = []
        append, known = self._collected.append, known_names.get

        def on_header(name: bytes, value: bytes) -> None:  # a closure: called for each field, it looks nothing up
            append((known(name) or field_name(name), value))

        self.on_header = on_header

    def parse(self, head: bytes) -> Fields:
        """The header fields of `head` (request line to empty line) in order, names lower-cased. Raises BadRequest."""
        parser = self._idle
        fresh = parser is None
        if parser is None:
            parser = httptools.HttpRequestParser(self)
        self._idle = self._used = None
        collected = self._collected
        collected.clear()
        try:
            parser.feed_data(head)
            self._used = parser
        except httptools.HttpParserUpgrade:
            pass  # llhttp takes the rest of the connection for another protocol; we do not
        except httptools.HttpParserError as exc:
            if not fresh:  # llhttp saw the end of the connection where we did not (`Proxy-Connection: close`)
                return self.parse(head)
            raise refusal(head) from exc
        fields = collected[:]
        # llhttp leaves white space behind a value. (`in` is five times as slow as `find`: it tries an integer first.)
        if head.find(b" \r\n") >= 0 or head.find(b"\t") >= 0:
            for name, value in fields:
                # llhttp refuses this by itself, but not in a request that asks for an upgrade.
                if name == b"transfer-encoding" and value.rstrip(b" ").endswith(b"\t"):
                    raise refusal(head)
            fields[:] = [(name, value.rstrip(b" \t")) for name, value in fields]
        return fields

    def reuse(self) -> None:
        """The head just parsed has no body and is not the last of its connection: its parser may read another one."""
        self._idle = self._used
