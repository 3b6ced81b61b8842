"""The FastAPI application of the speed program, apart from the others so that they do not load the framework.

Owns: one JSON endpoint. Imports nothing of this package: it is copied beside the server under test.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def read(name: str = "world") -> dict[str, Any]:
    return {"hello": name, "items": [1, 2, 3]}
