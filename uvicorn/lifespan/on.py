"""A door: running an application's lifespan."""

from __future__ import annotations

from uvicorn.worker.lifespan import LifespanOn

__all__ = ["LifespanOn"]
