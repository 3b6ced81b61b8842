"""Plain ASGI wrappers; they run in any process and import nothing of the server."""

from __future__ import annotations

from uvicorn.surface.later import submodules

__getattr__, __dir__ = submodules(__name__)
