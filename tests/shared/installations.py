"""What the system tests install or start beside us: scripts/install-…, Node.js, Chromium, and our server for them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import ROOT
from programs import PACKAGE, Program

BROWSER = """
const {chromium} = require("playwright-core");
(async () => {
  const browser = await chromium.launch({executablePath: "/usr/bin/chromium", args: [
    "--no-sandbox", "--disable-background-networking", "--disable-sync", "--no-first-run",
    "--ignore-certificate-errors"]});
  try {
    const context = await browser.newContext({ignoreHTTPSErrors: true});
    %s
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
"""


@contextlib.contextmanager
def started(folder: Path, app: str, *options: str, path: str = "") -> Iterator[int]:
    """`with started(folder, "module:app", *options) as port:`; `path` is where it imports from as well."""
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


def installed(script: str, *arguments: str) -> str:
    """Run that script of scripts/ and return what it printed; where it cannot install, the test is skipped."""
    command = [str(ROOT / "scripts" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


class Node:
    """Runs JavaScript in `folder`, with the modules that scripts/install-websocket-clients has put into `clients`."""

    def __init__(self, folder: Path, clients: Path) -> None:
        self.folder = folder
        self.clients = clients

    def run(self, script: str, *arguments: str) -> str:
        """What the script prints."""
        (self.folder / "client.js").write_text(script)
        done = subprocess.run(
            ["node", "client.js", *arguments],
            cwd=self.folder,
            env={**os.environ, "NODE_PATH": str(self.clients / "node_modules"), "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def browse(self, script: str, *arguments: str) -> str:
        """What a script prints that has the `context` of a Chromium, and `process.argv[2]` and so on."""
        return self.run(BROWSER % script, *arguments)
