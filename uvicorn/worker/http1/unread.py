"""The access log entry of an invalid request.

Imported only for an access log with entries. Must not: decide anything. Fails by: nothing.
"""

from __future__ import annotations

from typing import Any

from uvicorn.errors import BadRequest
from uvicorn.logs.formats import AccessRecord
from uvicorn.worker.http1.request_line import request_line


def unread(client: tuple[str, Any] | None, begin: bytes, status: int, sent: int) -> AccessRecord:
    """What is known: the first line, split if it is a valid request line."""
    first = begin.lstrip(b"\r\n").partition(b"\n")[0].removesuffix(b"\r")
    method = target = version = ""
    try:
        line = request_line(first)
        shown = line.target.decode("ascii")
    except (BadRequest, UnicodeDecodeError):
        pass  # then the line is logged as it is
    else:
        if shown.isprintable():
            method, target, version = line.method, shown, line.http_version
    return AccessRecord(client, method, target, version, first, [], status, b"", sent, 0.0, True, "")
