"""What the access log says of bytes that were no acceptable request.

Imported only when an access log follows requests. Must not: decide anything. Fails by: nothing.
"""

from __future__ import annotations

from typing import Any

from uvicorn.errors import BadRequest
from uvicorn.logs.formats import AccessRecord
from uvicorn.worker.http1.request_line import request_line


def unread(client: tuple[str, Any] | None, begin: bytes, status: int, sent: int) -> AccessRecord:
    """Their line, in parts if it is one at all."""
    first = begin.lstrip(b"\r\n").partition(b"\n")[0].removesuffix(b"\r")
    method = target = version = ""
    try:
        line = request_line(first)
        shown = line.target.decode("ascii")
    except (BadRequest, UnicodeDecodeError):
        pass  # then it is told as it is
    else:
        if shown.isprintable():
            method, target, version = line.method, shown, line.http_version
    return AccessRecord(client, method, target, version, first, [], status, b"", sent, 0.0, True, "")
