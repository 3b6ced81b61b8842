"""A door: colours for a terminal."""

from __future__ import annotations

from click import style

__all__ = ["style"]
