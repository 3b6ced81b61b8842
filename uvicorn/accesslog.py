"""A door: the formatters of access logs, as log configurations name them."""

from __future__ import annotations

from uvicorn.logs.formats import RequestFormatter

__all__ = ["RequestFormatter"]
