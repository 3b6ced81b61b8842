"""Which codec `--http auto` means: httptools where it is installed, else h11."""

from __future__ import annotations

from uvicorn.worker.http1.connection import Connection

AutoConnection: type[Connection]

try:
    from uvicorn.worker.http1.httptools_connection import HttpToolsProtocol
except ImportError:
    from uvicorn.worker.http1.h11_connection import H11Protocol

    AutoConnection = H11Protocol
else:
    AutoConnection = HttpToolsProtocol
