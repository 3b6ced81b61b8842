"""A door: the connection that `--http auto` means."""

from __future__ import annotations

from uvicorn.worker.http1.auto import AutoConnection as AutoHTTPProtocol

__all__ = ["AutoHTTPProtocol"]
