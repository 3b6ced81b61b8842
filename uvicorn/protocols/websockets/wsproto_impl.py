"""A door: the session over the package wsproto."""

from __future__ import annotations

from uvicorn.worker.websockets.wsproto_session import WsprotoSession as WSProtocol

__all__ = ["WSProtocol"]
