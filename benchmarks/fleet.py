"""What a fleet costs its master: CPU time for each worker of a reload, and for one wake-up with everybody's heartbeats.

Owns: both measurements. A reload is a real one: SIGHUP to a master whose workers have an empty application; what is
counted is the CPU time of the master alone (the kernel's clock of that process), from the signal until the last old
worker is gone, divided by the number of workers. A wake-up is the supervisor's judgement without any process: all
workers serve and have beaten. Linux only.
Must not: measure the workers, which cost their application.
Fails by: `StartFailed`, or TimeoutError for a reload that does not end.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.processes import StartFailed, free_port

APP = "async def app(scope, receive, send):\n    pass\n"
PATIENCE = 300.0
JUDGEMENT = """
import statistics, sys, time
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.policy import Policy
from uvicorn.supervisor.supervisor import Supervisor

count, rounds = int(sys.argv[1]), int(sys.argv[2])
machine = Supervisor(Policy(watchdog=20.0), count)
machine.handle([ev.Started()], 0.0)
machine.handle([ev.Spawned(serial, 1000 + serial) for serial in range(1, count + 1)], 0.0)
machine.handle([ev.WorkerReady(serial) for serial in range(1, count + 1)], 0.5)
machine.handle([ev.Listened()], 0.5)
took = []
for number in range(rounds):
    now = 1.0 + number * 0.1
    beats = tuple(ev.Heartbeat(serial, now, 1, 10 * number) for serial in range(1, count + 1))
    before = time.process_time()
    machine.handle([ev.Heartbeats(beats)], now)
    machine.deadline()
    took.append(time.process_time() - before)
print(statistics.median(took))
"""


def own_cpu(pid: int) -> float:
    """User and system time of one process, without its children, in seconds."""
    return time.clock_gettime((~pid << 3) | 2)


def children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


class Fleet:
    """A master with `count` workers, and its log."""

    def __init__(self, python: str, count: int, folder: Path) -> None:
        (folder / "empty.py").write_text(APP)
        self.log = folder / f"log-{count}"
        command = [python, "-m", "uvicorn", "empty:app", "--workers", str(count), "--port", str(free_port())]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--lifespan", "off", "--no-access-log"], cwd=folder, stdout=log, stderr=log
            )
        self.count = count
        self.reloads = 0

    def wait(self, text: str, times: int = 1) -> None:
        limit = time.monotonic() + PATIENCE
        while self.log.read_text().count(text) < times:
            if self.process.poll() is not None:
                raise StartFailed("the server ended", self.process.returncode, self.log.read_text()[-2000:])
            if time.monotonic() > limit:
                raise TimeoutError(f"{text!r} is not in {self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def reload(self) -> float:
        """CPU seconds of the master for each worker."""
        old = children(self.process.pid)
        before = own_cpu(self.process.pid)
        self.process.send_signal(signal.SIGHUP)
        self.reloads += 1
        self.wait("reloaded: ", self.reloads)
        limit = time.monotonic() + PATIENCE
        while old & children(self.process.pid):
            if time.monotonic() > limit:
                raise TimeoutError("old workers do not leave")
            time.sleep(0.02)
        return (own_cpu(self.process.pid) - before) / self.count

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            if self.process.returncode is None:
                self.process.kill()
                self.process.wait()


def reloading(python: str, count: int, rounds: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(python, count, Path(folder))
        try:
            fleet.wait(f"ready: {count} worker")
            return [fleet.reload() for _ in range(rounds)]
        finally:
            fleet.close()


def waking(python: str, count: int, rounds: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-c", JUDGEMENT, str(count), str(rounds)]
        return float(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ours", default=sys.executable, metavar="PYTHON", help="the interpreter with our package")
    parser.add_argument("--workers", default="4,16,64,128", help="sizes of the fleets that are reloaded")
    parser.add_argument("--rounds", type=int, default=5, help="reloads of each fleet")
    parser.add_argument("--beats", default="4,16,64,256", help='sizes of the fleets whose heartbeats come; "" for none')
    options = parser.parse_args()
    print("| workers | master's CPU per worker of a reload | from | to |\n|---|---|---|---|", flush=True)
    for count in map(int, filter(None, options.workers.split(","))):
        took = [1000 * one for one in reloading(options.ours, count, options.rounds)]
        print(f"| {count} | {statistics.median(took):.2f} ms | {min(took):.2f} | {max(took):.2f} |", flush=True)
    print("\n| workers | CPU of a wake-up with all heartbeats |\n|---|---|", flush=True)
    for count in map(int, filter(None, options.beats.split(","))):
        print(f"| {count} | {1000 * waking(options.ours, count, 200):.2f} ms |", flush=True)
    return 0


if __name__ == "__main__":
    os.environ.pop("NOTIFY_SOCKET", None)
    raise SystemExit(main())
