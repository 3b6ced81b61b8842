"""One request, checked, in the form that every version of HTTP has.

Owns: the data. Each version of HTTP has a subclass with its own checks (`http1/request_head`). Must not: know a wire,
asyncio or ASGI.
"""

from __future__ import annotations

from uvicorn.worker.http.headers import Fields


class Request:
    """What a client asks for.

    `target` is the path and the query as they were sent, printable ASCII; `raw_path` and `query_string` are its parts,
    and `path` has no percent-escapes any more. `http_version` is "1.0", "1.1" or "2". `fields` have lower-case names.
    `content_length` is None for a body of unknown length and 0 for none. `expect_continue`: the client waits for a 100
    before it sends its body. `forwarded`: a proxy's fields are there, which are read only if the peer is trusted.
    `takes_trailers`: it is HTTP/2, or the client has said `TE: trailers` (RFC 9110, 10.1.4).
    """

    __slots__ = (
        "content_length",
        "expect_continue",
        "fields",
        "forwarded",
        "http_version",
        "method",
        "path",
        "query_string",
        "raw_path",
        "takes_trailers",
        "target",
    )

    method: str
    target: bytes
    path: str
    raw_path: bytes
    query_string: bytes
    http_version: str
    fields: Fields
    content_length: int | None
    expect_continue: bool
    forwarded: bool
    takes_trailers: bool
