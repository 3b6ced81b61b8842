"""Fixtures of the system tests: what scripts install, and a Debian that is booted once for all tests.

Its root folder is made once (mmdebstrap, about 200 MB) and kept in the user's cache; each run of the tests boots it
with an overlay in memory, so that nothing stays. `scripts/test-system` installs what is needed; whatever is missing is
a reason to skip, in words.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installations import Node, installed
from machines import Machine, Service
from programs import Start
from real_proxies import APP, Ours, StartOurs

PACKAGES = "systemd,systemd-sysv,dbus,procps,curl,python3,python3-click,python3-h11,python3-httptools,python3-uvloop"


@pytest.fixture
def ours(start_command: Start, tmp_path: Path) -> StartOurs:
    """ours(*options, workers=1): our server with the application of `real_proxies`, or `source`, on a loopback port."""

    def start(*options: str, workers: int = 1, source: str = APP) -> Ours:
        (tmp_path / "app.py").write_text(source)
        common = ["app:app", "--port", "0", "--supervise", "--lifespan", "off", "--workers", str(workers)]
        return Ours(start_command(*common, *options))

    return start


@pytest.fixture(scope="session")
def clients() -> Path:
    """The folder with node_modules/ and site/."""
    return Path(installed("install-websocket-clients", sys.executable))


@pytest.fixture
def node(tmp_path: Path, clients: Path) -> Node:
    return Node(tmp_path, clients)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "uvicorn-system"


@pytest.fixture(scope="session")
def cache() -> Path:
    """What is big and made once is kept here."""
    return _cache()


def _debian() -> Path:
    """A folder with Debian 13 (systemd 257): made when it is missing."""
    folder = _cache() / "trixie"
    if folder.exists():
        return folder
    if not shutil.which("mmdebstrap"):
        pytest.skip("mmdebstrap is not installed: no root folder for a real systemd can be made")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={PACKAGES}", "trixie", str(unfinished)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if made.returncode:
        pytest.skip(f"mmdebstrap could not make a root folder: {made.stderr.strip().splitlines()[-1:]}")
    unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def debian() -> Path:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a root folder is made and entered by root, on Linux")
    return _debian()


@pytest.fixture(scope="session")
def machine(debian: Path) -> Iterator[Machine]:
    for tool in ("systemd-nspawn", "nsenter"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed: no real systemd can be booted")
    booted = Machine(debian)
    try:
        booted.boot()
        yield booted
    finally:
        booted.end()


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    made = Service(machine)
    yield made
    made.remove()
