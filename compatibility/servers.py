"""One server with one application, and what the application says meanwhile.

Owns: the process (in a session of its own, so that no worker is left), its output in a file, the socket of the notes.
Must not: judge anything. Fails by: `StartFailed`, with the exit code and the end of the output; TimeoutError.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from compatibility.wire import HOST, PATIENCE

APPS = Path(__file__).parent / "apps"
NOT_OURS = ("UVICORN_", "COMPATIBILITY_", "WEB_CONCURRENCY", "NOTIFY_SOCKET", "LISTEN_", "PYTHONPATH", "FORWARDED_")


class StartFailed(Exception):
    """The server ended by itself, or never listened."""

    def __init__(self, code: int | None, output: str) -> None:
        super().__init__(f"exit code {code}\n{output}")
        self.code = code


class Server:
    """`python -m uvicorn APP` with some options, started by `with`; SIGKILL for whatever is left at its end."""

    def __init__(self, python: Path, app: str, folder: Path, *options: str, **environment: str) -> None:
        self.app = app
        self.folder = folder
        self.output = folder / "output.log"
        self.command = [str(python), "-m", "uvicorn", app, "--host", HOST, "--no-access-log", *options]
        env = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        env |= {"PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}
        env["PYTHONHASHSEED"] = "0"  # some frameworks show a set in its order
        self.env = env | environment
        self.port = 0

    def __enter__(self) -> Server:
        notes = self.folder / "notes"
        notes.unlink(missing_ok=True)
        self.notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notes.bind(str(notes))
        self.notes.settimeout(PATIENCE)
        with socket.socket() as sock:
            sock.bind((HOST, 0))
            self.port = sock.getsockname()[1]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*self.command, "--port", str(self.port)],
                cwd=APPS,
                env={**self.env, "COMPATIBILITY_NOTES": str(notes)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def _wait(self) -> None:
        """Until it says that it serves. (The other server's workers listen before their application is there.)"""
        workers = int(self.command[self.command.index("--workers") + 1]) if "--workers" in self.command else 1
        deadline = time.monotonic() + 3 * PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartFailed(self.process.returncode, self.said())
            said = self.said()
            if said.count("startup complete") >= workers and "running on http" in said:
                return
            if "startup" not in said and said.count("Started server process") >= workers and "running on http" in said:
                return
            time.sleep(0.02)
        raise StartFailed(None, self.said())

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def note(self) -> str:
        """The next thing the application said."""
        return self.notes.recv(4096).decode()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(2 * PATIENCE)

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.notes.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
