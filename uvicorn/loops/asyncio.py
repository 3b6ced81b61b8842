"""A door: asyncio's own loop."""

from __future__ import annotations

from uvicorn.worker.loop.kinds import asyncio_loop_factory

__all__ = ["asyncio_loop_factory"]
