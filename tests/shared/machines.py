"""A Debian with systemd, booted by systemd-nspawn, and our service in it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import uvicorn
from checkout import ROOT
from programs import PATIENCE, eventually

HIERARCHIES = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup")
"""Where the container gets a control group: in each of them that there is."""


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
        self.init = int(eventually(lambda: children.read_text().split() if self._lives() else [], "a container")[0])
        booted = ("running\n", "degraded\n")
        eventually(lambda: self._lives() and self._enter("systemctl is-system-running").stdout in booted, "a boot")

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

    def ask(self, path: str = "/") -> dict[str, Any]:
        told: dict[str, Any] = json.loads(
            self.machine.run(f"curl -sS --fail --max-time 60 'http://127.0.0.1:8000{path}'")
        )
        return told

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
