"""Doors: what other programs import from here lives in `uvicorn.worker.lifespan`."""
