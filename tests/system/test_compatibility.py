"""The whole comparison with the other package: frameworks, and other projects' test suites. Needs the package index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 3600.0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Django wants Python 3.12")
@pytest.mark.parametrize("section", ["frameworks", "suites"])
def test_what_is_served_the_same(section: str) -> None:
    """No difference that no decision explains, no test that passes with the other package only."""
    ended = subprocess.run(
        [sys.executable, "-m", "compatibility", "--check", section],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
