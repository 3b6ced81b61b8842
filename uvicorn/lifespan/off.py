"""A door: running no lifespan."""

from __future__ import annotations

from uvicorn.worker.lifespan import LifespanOff

__all__ = ["LifespanOff"]
