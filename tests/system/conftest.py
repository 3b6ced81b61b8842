"""Shared by the system tests: a server in a process of its own, what a script installs, a browser; and a whole Debian
with systemd in it, booted in a container of systemd's own.

The root folder is made once (mmdebstrap, about 200 MB) and kept in the user's cache; each run of the tests boots it
with an overlay in memory, so that nothing stays. `scripts/test-system` installs what is needed; whatever is missing is
a reason to skip, in words.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import uvicorn
from programs import PACKAGE, PATIENCE, Program

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
PACKAGES = "systemd,systemd-sysv,dbus,procps,curl,python3,python3-click,python3-h11,python3-httptools,python3-uvloop"
HIERARCHIES = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup")


def _eventually(holds: Callable[[], Any], what: str = "") -> Any:
    """Whatever it returns once that is true; the one place that waits for a state which announces itself nowhere."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    return _eventually


Started = contextlib.AbstractContextManager[int]


@contextlib.contextmanager
def _started(folder: Path, app: str, *options: str, path: str = "") -> Iterator[int]:
    search = {"PYTHONPATH": os.pathsep.join(filter(None, [PACKAGE, path]))}
    command = ("-m", "uvicorn", app, "--port", "0", *options)
    program = Program(folder, *command, env=search, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with contextlib.closing(program):
        port = program.listens()
        drained = subprocess.Popen(["cat"], stdin=program.process.stderr, stdout=subprocess.DEVNULL)
        try:
            yield port
        finally:
            program.tell(signal.SIGTERM)
            program.process.wait(30)
            drained.wait(10)


@pytest.fixture(scope="session")
def started() -> Callable[..., Started]:
    """`with started(folder, "module:app", *options, path="…") as port:`"""
    return _started


@pytest.fixture(scope="session")
def installed() -> Callable[..., str]:
    """`installed("install-x")` runs that script and returns what it printed; the test is skipped where it cannot."""

    def run(script: str, *arguments: str) -> str:
        done = subprocess.run([SCRIPTS / script, *arguments], capture_output=True, text=True, timeout=900)
        if done.returncode:
            pytest.skip(done.stderr.strip().splitlines()[-1])
        return done.stdout.strip()

    return run


@pytest.fixture(scope="session")
def clients(installed: Callable[..., str]) -> Path:
    """The folder with node_modules/ and site/."""
    return Path(installed("install-websocket-clients", sys.executable))


@pytest.fixture
def node(tmp_path: Path, clients: Path) -> Callable[..., str]:
    """`node(script, *arguments)` is what that JavaScript prints."""

    def run(script: str, *arguments: str) -> str:
        (tmp_path / "client.js").write_text(script)
        done = subprocess.run(
            ["node", "client.js", *arguments],
            cwd=tmp_path,
            env={**os.environ, "NODE_PATH": str(clients / "node_modules"), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


BROWSER = """
const {chromium} = require("playwright-core");
(async () => {
  const browser = await chromium.launch({executablePath: "/usr/bin/chromium", args: [
    "--no-sandbox", "--disable-background-networking", "--disable-sync", "--no-first-run"]});
  try {
    const context = await browser.newContext();
    %s
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture
def browse(node: Callable[..., str]) -> Callable[..., str]:
    """`browse(script, *arguments)` is what a script prints that has a Chromium's `context` and `process.argv[2]` …"""
    return lambda script, *arguments: node(BROWSER % script, *arguments)


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


class Machine:
    """A booted container. `run` executes a shell script in it."""

    def __init__(self, folder: Path) -> None:
        self.groups = [Path(one) / f"uvicorn-test-{os.getpid()}" for one in HIERARCHIES if _is_hierarchy(Path(one))]
        for group in self.groups:
            group.mkdir(exist_ok=True)
        enter = "".join(f"echo $$ >{shlex.quote(str(group / 'cgroup.procs'))}; " for group in self.groups)
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--volatile=overlay", "--boot"]
        command += ["--private-network", "--link-journal=no", "--console=pipe", "-D", str(folder)]
        command += [f"--bind-ro={Path(uvicorn.__file__).parent}:/opt/uvicorn/uvicorn"]
        command += [f"--bind-ro={ROOT / 'systemd'}:/opt/units"]
        self.process = subprocess.Popen(
            ["sh", "-c", f"{enter}exec {shlex.join(command)}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
        self.init = 0

    def boot(self) -> None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.init = int(_eventually(lambda: self._lives() and children.read_text().split(), "a container")[0])
        booted = ("running\n", "degraded\n")
        _eventually(lambda: self._lives() and self._enter("systemctl is-system-running").stdout in booted, "a boot")

    def _lives(self) -> bool:
        if self.process.poll() is not None:
            assert self.process.stderr is not None
            pytest.skip(f"systemd-nspawn cannot boot here: {self.process.stderr.read().decode().strip()}")
        return True

    def _enter(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "-t", str(self.init), "-a", "--", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
        )

    def run(self, script: str, check: bool = True) -> str:
        """What the script writes to standard output."""
        ended = self._enter(script)
        assert not check or ended.returncode == 0, f"{script}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def write(self, path: str, text: str) -> None:
        command = ["nsenter", "-t", str(self.init), "-a", "--", "sh", "-c", 'mkdir -p "${0%/*}"; cat >"$0"', path]
        subprocess.run(command, input=text, text=True, check=True, timeout=PATIENCE)

    def client(self, source: str) -> subprocess.Popen[str]:
        """A Python program in the container's network, with pipes."""
        command = ["nsenter", "-t", str(self.init), "-n", "--", sys.executable, "-c", source]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> None:
        if self.init:
            try:
                os.kill(self.init, 9)  # its init: the kernel ends everything in there with it
            except ProcessLookupError:
                pass
        else:
            self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        for group in self.groups:
            for inner in sorted(group.rglob("*"), reverse=True):
                if inner.is_dir():
                    inner.rmdir()
            group.rmdir()


def _is_hierarchy(path: Path) -> bool:
    return (path / "cgroup.procs").exists()


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


class Service:
    """uvicorn.service as it is shipped, with an application, in the container."""

    def __init__(self, machine: Machine, name: str = "uvicorn.service") -> None:
        self.machine = machine
        self.name = name
        self.since = machine.run("journalctl -n 0 --show-cursor").partition("cursor: ")[2].strip()

    def install(self, application: str, *changes: str) -> None:
        """The unit files, the application, and lines of a drop-in ("WatchdogSec=2")."""
        launcher = '#!/bin/sh\nexec env PYTHONPATH=/opt/uvicorn PYTHONDONTWRITEBYTECODE=1 python3 -m uvicorn "$@"\n'
        self.machine.write("/srv/app/.venv/bin/uvicorn", launcher)
        self.application(application)
        self.machine.write(f"/etc/systemd/system/{self.name}.d/test.conf", "\n".join(["[Service]", *changes, ""]))
        self.machine.run(
            "chmod 755 /srv/app/.venv/bin/uvicorn; cp /opt/units/* /etc/systemd/system/; systemctl daemon-reload"
        )

    def application(self, source: str) -> None:
        self.machine.write("/srv/app/app.py", source)

    def show(self, name: str) -> str:
        return self.machine.run(f"systemctl show -P {name} {self.name}").strip()

    def ask(self, path: str = "/") -> Any:
        return json.loads(self.machine.run(f"curl -sS --fail --max-time 60 'http://127.0.0.1:8000{path}'"))

    def journal(self) -> str:
        """What the unit said, and systemd about it, in this test."""
        of = f"_SYSTEMD_UNIT={self.name} + UNIT={self.name}"
        return self.machine.run(f"journalctl --no-pager -o cat --after-cursor='{self.since}' {of}")

    def remove(self) -> None:
        self.machine.run(
            f"systemctl kill -s CONT {self.name}; systemctl stop uvicorn.socket {self.name};"
            f" systemctl reset-failed; rm -rf /etc/systemd/system/uvicorn* /srv/app; systemctl daemon-reload",
            check=False,
        )


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    made = Service(machine)
    yield made
    made.remove()
