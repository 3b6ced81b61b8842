"""A door: uvloop's loop."""

from __future__ import annotations

from uvicorn.worker.loop.kinds import uvloop_loop_factory

__all__ = ["uvloop_loop_factory"]
