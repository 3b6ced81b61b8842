"""Doors: WebSockets are in `uvicorn.worker.websockets`."""
