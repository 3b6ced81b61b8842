"""The whole comparison with the other package: frameworks, test suites, programs. Needs the package index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 3600.0


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Quart wants Python 3.13")
@pytest.mark.parametrize("section", ["frameworks", "suites", "programs", "own"])
def test_what_is_served_the_same(section: str) -> None:
    """Every difference is explained by a decision, and no test passes with the other package only."""
    ended = subprocess.run(
        [sys.executable, "-m", "compatibility", "--check", section],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def interpreters() -> list[str]:
    """The interpreters that scripts/install-interpreters fetches: newer than those of a stable system."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("packages of another Debian are unpacked by root, on Linux")
    script = ROOT / "scripts" / "install-interpreters"
    made = subprocess.run([script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    if made.returncode:
        pytest.skip(f"no newer interpreters: {made.stderr.strip().splitlines()[-1:]}")
    return made.stdout.split()


def test_the_tests_pass_under_newer_interpreters(interpreters: list[str]) -> None:
    """All of them: PyPy of two Debians, CPython 3.14 and 3.15."""
    named = [argument for python in interpreters for argument in ("--python", python)]
    ended = subprocess.run(
        [sys.executable, "-m", "compatibility", "--check", "interpreters", *named],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=len(interpreters) * PATIENCE,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
