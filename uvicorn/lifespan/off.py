"""A door: what other programs import from here lives in `uvicorn.worker.lifespan`."""

from __future__ import annotations

from uvicorn.worker.lifespan import LifespanOff

__all__ = ["LifespanOff"]
