"""`python -m uvicorn`."""

from uvicorn.main import main

if __name__ == "__main__":
    main(prog_name="uvicorn")
