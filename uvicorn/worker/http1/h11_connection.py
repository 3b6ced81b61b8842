"""The connection whose heads h11 parses: pure Python, everywhere. A module of its own, so that who does not need it
does not import it."""

from __future__ import annotations

from uvicorn.worker.http1.codec_h11 import H11Codec
from uvicorn.worker.http1.connection import Connection


class H11Protocol(Connection):
    """A Connection with one attribute changed."""

    __slots__ = ()
    codec_class = H11Codec
    library = "h11"
    door = "uvicorn.protocols.http.h11_impl"
