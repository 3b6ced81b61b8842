"""Doors: the protocols are in `uvicorn.worker`."""
