"""A door: zuvloop's loop."""

from __future__ import annotations

from uvicorn.worker.loop.kinds import zuvloop_loop_factory

__all__ = ["zuvloop_loop_factory"]
