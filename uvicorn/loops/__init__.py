"""Doors: loops are chosen in `uvicorn.worker.loops`."""
