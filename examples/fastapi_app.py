"""A FastAPI application: a small shelf of books, with its documentation at /docs. Needs `pip install fastapi`.

$ uvicorn --app-dir examples fastapi_app:app
"""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

app = FastAPI(title="Books")


class Book(BaseModel):
    title: str
    year: int = Field(ge=1450)


shelf: dict[int, Book] = {1: Book(title="The Practice of Programming", year=1999)}


@app.get("/books/{number}")
async def read_book(number: int) -> Book:
    if number not in shelf:
        raise HTTPException(404, "no such book")
    return shelf[number]


@app.post("/books", status_code=201)
async def add_book(book: Book) -> dict[str, int]:
    number = max(shelf) + 1
    shelf[number] = book
    return {"number": number}
