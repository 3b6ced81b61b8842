"""A door: the connection whose heads h11 parses."""

from __future__ import annotations

from uvicorn.worker.http.h11_connection import H11Connection as H11Protocol

__all__ = ["H11Protocol"]
