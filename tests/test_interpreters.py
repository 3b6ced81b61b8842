"""The table of interpreters: how they are named, what pip is asked for, what is a failure. Nothing is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from compatibility import document, interpreters, suites


def test_an_interpreter_says_what_it_is() -> None:
    one = interpreters.ask(sys.executable)
    assert one.name.lower().startswith(sys.implementation.name)
    assert one.version == ".".join(map(str, sys.version_info[:3]))
    assert one.loops_and_parsers.startswith("asyncio") and "; h11" in one.loops_and_parsers


def test_each_interpreter_is_tested_once() -> None:
    assert len(interpreters.unlike([sys.executable, sys.executable])) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a program that is a shell script")
def test_an_interpreter_is_found_where_it_was_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what works counts: a pyenv shim may be an empty promise."""
    folder = tmp_path / "uvicorn-interpreters" / "sid" / "usr" / "bin"
    folder.mkdir(parents=True)
    for name, does in (("pypy3.11", "0"), ("python3.15", "1"), ("python3.15-config", "0")):
        (folder / name).write_text(f"#!/bin/sh\nexit {does}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", os.defpath)
    own = [path for path in interpreters.found() if path.startswith(str(tmp_path))]
    assert own == [str(folder / "pypy3.11")]


def test_what_is_installed_is_what_the_package_says() -> None:
    wanted = interpreters.requirements()
    assert {"h11>=0.16", "pytest>=8.0", "websockets>=14.0"} <= set(wanted)
    assert not [one for one in wanted if one.startswith(("#", "mypy"))]


def test_a_row_and_what_is_wrong() -> None:
    one = interpreters.Interpreter("/p", "PyPy 8.0.1", "3.11.17", ("asyncio", "h11"))
    outcome = suites.Outcome({"a": "passed", "b": "failed", "c": "skipped", "d": "passed"}, 0, "")
    row = interpreters.row(one, outcome, ["trustme"])
    assert row == ["PyPy 8.0.1", "3.11.17", "asyncio; h11", "2", "1", "1", "trustme"]
    assert interpreters.faults(one, outcome.tests) == ["PyPy 8.0.1 3.11.17: b fails"]
    assert interpreters.faults(one, {"a": "skipped"}) == ["PyPy 8.0.1 3.11.17: no test was run"]


def test_a_line_is_exchanged_where_it_stands() -> None:
    heads = ["interpreter", "Python", "passed"]
    old = [["A", "3.14", "1"], ["B|b", "3.11", "2"]]
    section = document.Section("interpreters", "\n".join(document.table(heads, old)))
    text = document.replace("x\n<!-- interpreters -->\nold\n<!-- /interpreters -->\ny\n", section)
    assert text.startswith("x\n") and text.endswith("<!-- /interpreters -->\ny\n") and "old" not in text
    assert document.rows(text, "interpreters") == old
    new = [["C", "3.15", "3"], ["A", "3.14", "4"]]
    changed = document.exchanged(old, new, lambda line: tuple(line[:2]))
    assert changed == [["A", "3.14", "4"], ["B|b", "3.11", "2"], ["C", "3.15", "3"]]
