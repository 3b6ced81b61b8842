"""One program in a pseudo-terminal of its own: what it writes, Ctrl-C as a person types it, who is left then (Linux).

Owns: the terminal, and every process that began in it, whatever session it is in: SIGKILL for those that are left.
Must not: know which program it is, or judge it. Fails by: OSError; TimeoutError when processes outlive SIGKILL.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import secrets
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from compatibility.wire import HOST

MARK = "COMPATIBILITY_TERMINAL"
"""A variable that every process of a terminal inherits."""
CONTROL_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)")


@dataclass(frozen=True)
class Process:
    """A process by its number and the time it began, since numbers are used again."""

    pid: int
    begun: int
    parent: int
    session: int
    command: str
    marked: bool

    def __str__(self) -> str:
        return f"{self.pid} {self.command}"


def running(mark: str = "") -> dict[int, Process]:
    """Every process but zombies; `marked` are those that have that mark in their environment."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is somebody else's
            continue
        if stat[0] not in "ZX":
            marked = f"{MARK}={mark}".encode() in environment
            pid = int(folder.name)
            found[pid] = Process(pid, int(stat[19]), int(stat[1]), int(stat[3]), command, marked)
    return found


class Terminal:
    """A command, started by `with` as a shell with job control starts it: it leads the terminal's foreground group."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.command, self.folder = command, folder
        self.mark = secrets.token_hex(16)
        self.environment = {**environment, MARK: self.mark, "TERM": "xterm", "COLUMNS": "200", "LINES": "50"}
        self.known: set[Process] = set()
        self.written = b""
        self.wrote_at = time.monotonic()

    def __enter__(self) -> Terminal:
        self.ours, theirs = pty.openpty()
        try:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
        except BaseException:
            os.close(self.ours)
            raise
        finally:
            os.close(theirs)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        return self

    def _read(self) -> None:
        """Until nobody has the terminal any more: a program stops that writes where nobody reads."""
        try:
            while data := os.read(self.ours, 65536):
                self.written += data
                self.wrote_at = time.monotonic()
        except OSError:  # EIO is the end of a terminal
            pass

    def said(self) -> str:
        """All that it wrote, without colours and cursors."""
        return CONTROL_SEQUENCE.sub("", self.written.decode(errors="replace")).replace("\r", "")

    def keys(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def processes(self) -> list[Process]:
        """Those that began in this terminal and have not ended: by their parents, their session or their mark, because
        a process may leave its parent and its session, and may write its title over its environment.
        """
        there = running(self.mark)
        self.known = {one for one in self.known if (now := there.get(one.pid)) and now.begun == one.begun}
        ours = {one.pid for one in self.known}
        ours |= {one.pid for one in there.values() if one.marked or one.session == self.process.pid}
        while more := {one.pid for one in there.values() if one.parent in ours and one.pid not in ours}:
            ours |= more
        self.known = {there[pid] for pid in ours if pid in there}
        return sorted(self.known, key=lambda one: one.pid)

    def ended(self) -> bool:
        return self.process.poll() is not None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        def killed() -> bool:
            left = self.processes()
            for one in left:
                try:
                    os.kill(one.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.poll()
            return not left

        try:
            if not until(killed, 30):
                raise TimeoutError(f"not ended by SIGKILL: {self.processes()}")
        finally:
            self.process.wait()
            self._reading.join(30)
            os.close(self.ours)


def until(holds: Callable[[], object], seconds: float) -> bool:
    """Whether it came to hold within that time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def listening(port: int) -> bool:
    """Whether somebody takes connections on that port of loopback."""
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except OSError:
        return False
    return True


def free(port: int) -> bool:
    """Whether a server could be started on that port of loopback again."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
            sock.listen()
        except OSError:
            return False
        return True
