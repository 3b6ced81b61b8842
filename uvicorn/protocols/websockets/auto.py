"""A door: the session that `--ws auto` means."""

from __future__ import annotations

from uvicorn.worker.websockets.auto import AutoSession as AutoWebSocketsProtocol

__all__ = ["AutoWebSocketsProtocol"]
