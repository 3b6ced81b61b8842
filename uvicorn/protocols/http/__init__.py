"""Doors: HTTP is spoken in `uvicorn.worker.http`."""
