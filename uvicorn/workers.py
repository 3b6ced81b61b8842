"""A door: the worker classes for gunicorn, `gunicorn -k uvicorn.workers.UvicornWorker`."""

from __future__ import annotations

from uvicorn.worker.gunicorn import UvicornH11Worker, UvicornWorker

__all__ = ["UvicornH11Worker", "UvicornWorker"]
