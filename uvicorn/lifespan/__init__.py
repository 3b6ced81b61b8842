"""Doors: the lifespan is run in `uvicorn.worker.lifespan`."""
