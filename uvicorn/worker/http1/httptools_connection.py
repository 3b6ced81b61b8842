"""The connection whose heads httptools parses: the default where it is installed."""

from __future__ import annotations

from uvicorn.worker.http1.codec_httptools import HttptoolsCodec
from uvicorn.worker.http1.connection import Connection


class HttpToolsProtocol(Connection):
    """A Connection with one attribute changed."""

    __slots__ = ()
    codec_class = HttptoolsCodec
    library = "httptools"
    door = "uvicorn.protocols.http.httptools_impl"
