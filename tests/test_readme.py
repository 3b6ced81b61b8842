"""The README and docs/ are right: their programs run, their commands serve, the table lists the existing options.

The convention they keep: every ```python block opens with a comment that names its file; the lines of ```console blocks
that start with `$ uvicorn` or `$ python` are commands that work beside those files. Ports are replaced by 0.
"""

from __future__ import annotations

import re
import runpy
import shlex
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import uvicorn
from programs import RUNNING, Program, Start

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))]

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\w+\.py)\n")
PORT = re.compile(r'(port=|"127\.0\.0\.1", )\d+')


class Block(NamedTuple):
    language: str
    text: str

    @property
    def file_name(self) -> str:
        named = FILE_NAME.match(self.text)
        assert named, f"a python block does not open with its file's name: {self.text[:60]!r}"
        return named[1]


BLOCKS = [Block(*found.groups()) for page in PAGES for found in FENCED.finditer(page)]
PROGRAMS = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [
    shlex.split(line.removeprefix("$ "), comments=True)
    for block in BLOCKS
    if block.language == "console"
    for line in block.text.replace("\\\n", " ").splitlines()
    if line.startswith(("$ uvicorn ", "$ python "))
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all programs of the pages."""
    for block in PROGRAMS:
        (tmp_path / block.file_name).write_text(PORT.sub(r"\g<1>0", block.text), encoding="utf-8")
    return tmp_path


def use(program: Program) -> int:
    """Wait until it serves, if it does, send a request and SIGTERM, and return the exit code."""
    if program.until(lambda: re.search(RUNNING, program.text), RUNNING):
        assert program.get()
        program.tell(signal.SIGTERM)
    return program.end()


def test_there_is_something_to_run() -> None:
    assert PROGRAMS and COMMANDS
    files = [block.file_name for block in PROGRAMS]
    assert len(set(files)) == len(files), "they are saved beside each other"


@pytest.mark.parametrize("command", COMMANDS, ids=shlex.join)
def test_commands(command: list[str], folder: Path, start_python: Start) -> None:
    for optional in {"uvloop", "httptools"} & set(command):
        pytest.importorskip(optional)
    arguments = ["-m", *command] if command[0] == "uvicorn" else command[1:]
    if "uvicorn" in command:
        arguments += ["--port", "0"]
    program = start_python(*arguments)
    assert use(program) == 0, program.text


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.file_name)
def test_programs(block: Block, folder: Path, start_python: Start) -> None:
    program = start_python(block.file_name)
    # A program that calls run() ends by the signal it was sent, which run() raises again; the others by themselves.
    if "uvicorn.run(" in block.text:
        assert use(program) == -signal.SIGTERM, program.text
    else:
        assert program.end() == 0, program.text


def test_options_table() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "readme-options"))
    marked = script["MARKED"].search(README)
    assert marked, "README.md has no lines <!-- options --> and <!-- /options -->"
    assert marked[0] == script["table"](), "run: .venv/bin/python scripts/readme-options"


def test_the_parameters_of_run_are_the_declarations() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "readme-options"))
    source = (ROOT / "uvicorn" / "main.py").read_text(encoding="utf-8")
    signature = script["SIGNATURE"].search(source)
    assert signature, "uvicorn/main.py has no function run() -> None"
    assert signature[0] == script["parameters"](), "run: .venv/bin/python scripts/readme-options"


def test_the_configuration_file_serves_and_is_not_mute(folder: Path, start_command: Start) -> None:
    (block,) = (block for block in BLOCKS if block.language == "toml" and "[log-config]" in block.text)
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    (folder / "uvicorn.toml").write_text(block.text.replace("port = 8000", "port = 0"), encoding="utf-8")
    program = start_command("--config", "uvicorn.toml", "--workers", "1")
    assert use(program) == 0
    assert re.search(r"^\d{4}-\d\d-\d\d \S+ INFO Uvicorn running on ", program.text, re.MULTILINE)
    assert re.search(r'^\d{4}-\d\d-\d\d \S+ INFO 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200', program.text, re.MULTILINE)


def test_nobody_is_sent_to_the_other_package_of_this_name() -> None:
    """What the index calls uvicorn is the other one: whatever is missing is named itself, as our extras have it."""
    extras = (ROOT / "setup.cfg").read_text(encoding="utf-8").partition("extras_require]")[2]
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "uvicorn").rglob("*.py")]
    advice = [found for text in [*sources, *PAGES] for found in re.findall(r"pip install ([^\n]*)", text)]
    assert len(advice) > 8 and uvicorn.__version__ in README
    for words in advice:
        package = re.match(r"[\w-]+", words)
        assert not re.match(r"['\"]?uvicorn", words), words
        if package and package[0].isidentifier():
            assert package[0] in {"a2wsgi", "h11"} or re.search(rf"\s{package[0]}>=", extras), words
