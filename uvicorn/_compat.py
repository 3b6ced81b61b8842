"""A door: running a coroutine in a loop of a given kind."""

from __future__ import annotations

from uvicorn.worker.loop.kinds import asyncio_run

__all__ = ["asyncio_run"]
