"""A door: the connection whose heads httptools parses."""

from __future__ import annotations

from uvicorn.worker.http.httptools_connection import HttptoolsConnection as HttpToolsProtocol

__all__ = ["HttpToolsProtocol"]
