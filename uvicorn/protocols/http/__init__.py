"""Doors: HTTP is spoken in `uvicorn.worker.http`."""

from __future__ import annotations

from uvicorn.surface.later import submodules

__getattr__, __dir__ = submodules(__name__)
