"""A door: what other programs import from here lives in `uvicorn.embedding`."""

from __future__ import annotations

from uvicorn.embedding import Multiprocess

__all__ = ["Multiprocess"]
