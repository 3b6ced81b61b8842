"""One started server and everything that descends from it.

Owns: starting a command in a process session of its own, finding its processes (also orphans whose parent has died:
the session stays), their CPU time, memory and open connections, and ending all of them. Reads `/proc`, so
Linux only.
Must not: know any server by name, or signal a process outside the session that it made.
Fails by: `StartFailed`, which carries the exit code and the end of the log.
"""

from __future__ import annotations

import ctypes
import os
import signal as signals
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

HOST = "127.0.0.1"
TICKS = os.sysconf("SC_CLK_TCK")
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_REQUEST_DUMP, TCP_ESTABLISHED, INODE_OFFSET = 4, 20, 0x301, 1, 68
PTRACE_SEIZE, PTRACE_INTERRUPT, WAIT_ALL = 0x4206, 0x4207, 0x40000000


class StartFailed(Exception):
    """The server ended, or did not answer in time."""

    def __init__(self, message: str, code: int | None, log: str) -> None:
        super().__init__(message)
        self.code = code
        self.log = log


def free_port() -> int:
    """A port nobody listens on. (Should somebody take it first, the start fails, loudly.)"""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def stat_fields(pid: int) -> list[str] | None:
    """The fields of `/proc/PID/stat` from the third (state) on, or None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return text[text.rindex(")") + 2 :].split()


def all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads, and the children it has reaped.

    The kernel's per-process CPU clock counts nanoseconds where `/proc/PID/stat` shows hundredths of a
    second; what the reaped children used is only in the latter.
    """
    fields = stat_fields(pid)
    if fields is None:
        return 0.0
    try:
        own = time.clock_gettime((~pid << 3) | 2)
    except OSError:
        own = (int(fields[11]) + int(fields[12])) / TICKS
    return own + (int(fields[13]) + int(fields[14])) / TICKS


def core_seconds(core: int) -> float:
    """How long a core has been anything but idle, what the hypervisor took included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
            return (user + nice + system + irq + softirq + steal) / TICKS
    raise ValueError(f"no core {core}")


def memory(pid: int, kind: str) -> int:
    """Bytes of `Rss` or `Pss`."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def socket_inodes(port: int) -> set[str]:
    """The established server-side connections on a port, as `/proc/PID/fd` names them.

    Asked of the kernel's socket diagnosis: `/proc/net/tcp` would list every connection that lingers in TIME_WAIT as
    well, and reading it under load takes longer than what is measured.
    """
    endpoint = struct.pack("!HH", port, 0) + bytes(44)
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 1 << TCP_ESTABLISHED) + endpoint
    header = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_REQUEST_DUMP, 1, 0)
    inodes: set[str] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(2)
        sock.send(header + request)
        while True:
            data, at = sock.recv(1 << 18), 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind != SOCK_DIAG_BY_FAMILY:  # the end of the list, or an error
                    return inodes
                (inode,) = struct.unpack_from("=I", data, at + 16 + INODE_OFFSET)
                inodes.add(f"socket:[{inode}]")
                at += (length + 3) & ~3


class Tree:
    """A command and its descendants. Leaving the `with` block kills them all."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        log: Path,
        env: Mapping[str, str],
        core: int | None = None,
    ) -> None:
        self.command = list(command)
        self.log_path = log
        with log.open("wb") as output:
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(
                self.command,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
            )
        self.pid = self.process.pid

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def members(self, *, zombies: bool = False) -> list[int]:
        """Every live process of the session. The session's number outlives its leader, so orphans are found
        too.
        """
        found = []
        for pid in all_pids():
            fields = stat_fields(pid)
            if fields is not None and int(fields[3]) == self.pid and (zombies or fields[0] not in "ZX"):
                found.append(pid)
        return found

    def alive(self, pid: int) -> bool:
        fields = stat_fields(pid)
        return fields is not None and fields[0] not in "ZX" and int(fields[3]) == self.pid

    def cpu(self) -> float:
        return sum(cpu_seconds(pid) for pid in self.members(zombies=True))

    def pss(self) -> int:
        return sum(memory(pid, "Pss") for pid in self.members())

    def connections(self, pid: int, port: int) -> int:
        """How many established connections on the port this process holds open."""
        inodes = socket_inodes(port)
        count = 0
        try:
            for entry in os.listdir(f"/proc/{pid}/fd"):
                try:
                    count += os.readlink(f"/proc/{pid}/fd/{entry}") in inodes
                except OSError:
                    pass
        except OSError:
            pass
        return count

    def count_and_kill(self, pid: int, port: int) -> tuple[int, float]:
        """SIGKILLs a member; how many connections it held at that moment, and when it was.

        It is held by ptrace while they are counted, so that it accepts nothing meanwhile. SIGSTOP would do the same,
        but its parent would hear of it, and some masters act on that; without the permission to trace the count
        may be one or two old. The tracer has to reap first: only then is the parent told.
        """
        if not self.alive(pid):
            return 0, time.monotonic()
        libc = ctypes.CDLL(None, use_errno=True)
        held = libc.ptrace(PTRACE_SEIZE, pid, None, None) == 0
        if held and libc.ptrace(PTRACE_INTERRUPT, pid, None, None) == 0:
            os.waitpid(pid, WAIT_ALL)
        count = self.connections(pid, port)
        at = time.monotonic()
        os.kill(pid, signals.SIGKILL)
        if held:
            os.waitpid(pid, WAIT_ALL)
        return count, at

    def signal(self, number: signals.Signals) -> None:
        """To the process that was started, and to nobody else."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def signal_member(self, pid: int, number: signals.Signals) -> None:
        if self.alive(pid):
            os.kill(pid, number)

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None when it still runs after that time."""
        deadline = time.monotonic() + seconds
        while (code := self.process.poll()) is None and time.monotonic() < deadline:
            time.sleep(0.005)  # Popen.wait looks every 50 ms only
        return code

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def log_tail(self, lines: int = 12) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_until_answering(self, port: int, seconds: float = 20.0) -> None:
        """Returns once a GET on / is answered 200."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            code = self.process.poll()
            if code is not None:
                raise StartFailed(f"ended with {code}", code, self.log_tail())
            try:
                if self.answers(port):
                    return
            except OSError:
                pass
            time.sleep(0.01)
        raise StartFailed(f"no answer within {seconds:.0f} s", None, self.log_tail())

    def answers(self, port: int) -> bool:
        """One GET, its whole answer read, the connection closed by us: one peer survives neither a `Connection: close`
        nor a client that leaves early.
        """
        with socket.create_connection((HOST, port), timeout=2) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            begin = sock.recv(65536)
            sock.settimeout(0.02)
            try:
                while sock.recv(65536):
                    pass
            except TimeoutError:
                pass
            return begin.startswith(b"HTTP/1.1 200")

    def stop(self, seconds: float = 5.0) -> int | None:
        """TERM, and the exit code if it came in time. `close` sees to the rest."""
        self.signal(signals.SIGTERM)
        return self.wait(seconds)

    def close(self) -> None:
        """Kills what is left, until nothing is: a master killed last would have respawned its workers
        meanwhile.
        """
        for _ in range(200):
            if self.process.poll() is None:
                self.process.kill()
            left = self.members()
            for pid in left:
                try:
                    os.kill(pid, signals.SIGKILL)
                except ProcessLookupError:
                    pass
            if not left:
                break
            time.sleep(0.01)
        self.process.wait()
