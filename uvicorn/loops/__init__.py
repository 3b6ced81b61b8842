"""Doors: loops are chosen in `uvicorn.worker.loop.kinds`."""

from __future__ import annotations

from uvicorn.surface.later import submodules

__getattr__, __dir__ = submodules(__name__)
