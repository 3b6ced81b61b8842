"""Parses a request head with h11.

Owns: the differences between h11 and our rules. h11 accepts and hides obsolete line folding, a bare LF, control bytes
and a repeated Content-Length, so the raw head is searched for these first. h11 lower-cases a Transfer-Encoding, which
is undone. Each head gets a connection object of its own, because keep-alive, bodies and order are kept elsewhere, for
every codec. Must not: know asyncio, ASGI or the clock. Fails by: `BadRequest`.
"""

from __future__ import annotations

import re

import h11

from uvicorn.errors import BadRequest
from uvicorn.worker.http.headers import Fields, field_name
from uvicorn.worker.http1.request_head import refusal

_CONTROL = re.compile(rb"(?<!\r)\n|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FOLD = re.compile(rb"\r\n[ \t]")
_LENGTHS = re.compile(rb"\r\ncontent-length[ \t]*:([^\r]*)", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:([^\r]*)", re.IGNORECASE)


class H11Codec:
    """Parses one head after the other."""

    __slots__ = ()

    def parse(self, head: bytes) -> Fields:
        """The header fields of `head` (request line to empty line) in order, names lower-cased. Raises BadRequest."""
        if _CONTROL.search(head):
            raise BadRequest(400, "Bare CR or LF, or another control byte in the header")
        if _FOLD.search(head):
            raise BadRequest(400, "Obsolete line folding in the header")
        lengths = _LENGTHS.findall(head)
        if len(lengths) > 1 or (lengths and b"," in lengths[0]):
            raise BadRequest(400, "More than one Content-Length")
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
        try:
            parser.receive_data(head)
            event = parser.next_event()
        except h11.RemoteProtocolError as exc:
            raise refusal(head) from exc
        if not isinstance(event, h11.Request):
            raise BadRequest(400, "Not a request")
        fields = [(field_name(name), value) for name, value in event.headers]
        found = _CODING.search(head)
        if found is not None:
            coding = found[1].rstrip(b" ").lstrip(b" \t")
            if coding.endswith(b"\t"):  # llhttp refuses it
                raise refusal(head)
            fields = [(name, coding if name == b"transfer-encoding" else value) for name, value in fields]
        return fields

    def reuse(self) -> None:
        """Nothing to do: every head has a parser of its own."""
