"""What a setting may be, by each way in which it can come; what is refused, is refused before anything has started."""

from __future__ import annotations

import re
import sys
import urllib.request
from pathlib import Path

import pytest

from programs import PATIENCE, Program, Start

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["server"][0].encode()})
"""
CALLER = """
import uvicorn
if __name__ == "__main__":
    uvicorn.run("good:app", port=0, {settings})
"""
WAYS = ["", "workers=2", "reload=True"]
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="there is no master without fork")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(APP)
    return tmp_path


# -- several addresses -----------------------------------------------------------------------------------------

TWO = ["127.0.0.1", "127.0.0.2"]


def asked(program: Program) -> list[str]:
    """What each of the addresses says that it is, once the program serves on both."""
    ports = [program.expect(rf"running on http://{re.escape(host)}:(\d+) ")[1] for host in TWO]
    assert len(set(ports)) == 1
    answers = []
    for host in TWO:
        with urllib.request.urlopen(f"http://{host}:{ports[0]}/", timeout=PATIENCE) as answer:
            answers.append(answer.read().decode())
    return answers


@needs_fork
@pytest.mark.parametrize("way", WAYS)
def test_run_listens_on_every_address_of_a_list(folder: Path, start_program: Start, way: str) -> None:
    program = start_program(CALLER.format(settings=f"host={TWO!r}, {way}"))
    assert asked(program) == TWO


@needs_fork
@pytest.mark.parametrize("way", ["argument", "environment", "file"])
def test_the_command_listens_on_every_address_that_is_named(folder: Path, start_command: Start, way: str) -> None:
    arguments, environment = ["good:app", "--port", "0"], {}
    if way == "argument":
        arguments += ["--host", ",".join(TWO), "--workers", "2"]
    elif way == "environment":
        environment["UVICORN_HOST"] = ",".join(TWO)
    else:
        if sys.version_info < (3, 11):
            pytest.importorskip("tomli")
        (folder / "uvicorn.toml").write_text(f"host = {TWO!r}\n")
        arguments += ["--config", "uvicorn.toml"]
    assert asked(start_command(*arguments, env=environment)) == TWO
