"""A door: the loop that `--loop auto` means."""

from __future__ import annotations

from uvicorn.worker.loop.kinds import auto_loop_factory

__all__ = ["auto_loop_factory"]
