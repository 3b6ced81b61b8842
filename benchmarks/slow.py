"""What slow clients cost the others, the memory, and how long the server bears with them.

Owns: the kinds of crowds, the measurement and the table. For each server and kind: the rate of ordinary clients before,
during and after the crowd (`during` over the mean of the other two is what is shown), the same for their requests per
second of the server's CPU time (steadier while others use the machine, and what the crowd costs is in it), the memory
that the crowd adds, and how many of it the server has ended, after how long. Servers run one at a time, pinned to one
core; crowd and load generator share the other. Must not: show a rate with a failed request in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import apps, peers
from benchmarks.peers import Peer, Wish
from benchmarks.processes import StartFailed, Tree, core_seconds, free_port, memory
from benchmarks.speed import WORKS, Bench, Refused

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Kind:
    """A crowd, and the options that set its deadline where a server has one."""

    name: str
    title: str
    count: int
    ours: tuple[str, ...]
    theirs: tuple[str, ...] = ()
    ends: bool = True


def kinds(deadline: int) -> dict[str, Kind]:
    seconds = str(deadline)
    idle = ("--timeout-keep-alive", seconds)
    return {
        kind.name: kind
        for kind in [
            Kind("headers", "a byte of a header a second", 1000, ("--timeout-request-header", seconds)),
            Kind("readers", "a byte read a second", 1000, ("--timeout-write", seconds)),
            Kind("upload", "uploads that nobody reads", 100, (), ends=False),
            Kind("idle", "idle connections", 10000, idle, idle),
        ]
    }


class Crowd:
    """The clients' process. Leaving the `with` block ends it."""

    def __init__(self, kind: Kind, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.crowd", kind.name, str(kind.count), str(port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.line() != "ready":
            self.process.wait()
            raise Refused("the crowd was not let in")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> dict[str, float]:
        """What it has seen."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        while (line := self.line()) == "all":
            pass
        self.process.wait()
        seen: dict[str, float] = json.loads(line)
        return seen

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Result:
    rate: float
    per_cpu: float
    memory: int
    ended: int
    last: float
    disturbed: float


def measure(bench: Bench, peer: Peer, kind: Kind, deadline: int) -> Result:
    """Before, during and after, on one server."""
    port, work = free_port(), WORKS["get"]
    extra = kind.ours if peer.name == "ours" else kind.theirs
    command = peer.command(Wish("apps:slow", port, extra=extra))
    if command is None:
        raise Refused("no feature")
    log = bench.folder / f"{peer.name}.log"

    def rate() -> tuple[float, float]:
        begin = tree.cpu()
        requests, seconds, _ = bench.wrk(work, port, bench.seconds)
        return requests / seconds, requests / (tree.cpu() - begin)

    def rss() -> int:
        return sum(memory(pid, "Rss") for pid in tree.members())

    with Tree(command, cwd=bench.folder, log=log, env=peer.env(bench.folder), core=bench.server_core) as tree:
        tree.wait_until_answering(port)
        bench.wrk(work, port, 1)
        cpu, others, began = tree.cpu(), core_seconds(bench.server_core), time.monotonic()
        before, alone = rate(), rss()
        with Crowd(kind, port) as crowd:
            during, crowded = rate(), rss()
            time.sleep(deadline + 6 - bench.seconds if kind.ends else 1)
            seen = crowd.leave()
        time.sleep(1)
        after = rate()
        used = core_seconds(bench.server_core) - others - (tree.cpu() - cpu)
    share = used / (time.monotonic() - began)
    rate_kept, per_cpu = (
        2 * with_crowd / (one + two) for one, with_crowd, two in zip(before, during, after, strict=True)
    )
    return Result(rate_kept, per_cpu, crowded - alone, int(seen["ended"]), seen["last"], share)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow", description=__doc__)
    parser.add_argument("--kind", default="headers,readers,upload,idle")
    parser.add_argument("--servers", default="ours,uvicorn", help="ours, uvicorn")
    parser.add_argument("--deadline", type=int, default=10, help="seconds, for the options that set one")
    parser.add_argument("--seconds", type=int, default=4, help="of measuring each rate")
    parser.add_argument("--ours", type=Path, default=Path(sys.executable), help="interpreter that has our package")
    parser.add_argument("--peers-env", type=Path, help="an existing virtual environment with the peers")
    parser.add_argument("--cores", default="0,1", help="the server's core and the clients'")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed")
    server_core, load_core = map(int, arguments.cores.split(","))
    with tempfile.TemporaryDirectory(prefix="slow-") as name:
        bench = Bench(Path(name), arguments.seconds, (server_core, load_core), 1)
        shutil.copy(apps.__file__, bench.folder)
        found = peers.find(arguments.servers.split(","), ours=arguments.ours, peers_env=arguments.peers_env)
        servers = peers.present(found, bench.folder)
        print("| crowd | server | rate of others | per CPU time | memory | ended | the last after | other load |")
        print("|---|---|---|---|---|---|---|---|")
        for wanted in arguments.kind.split(","):
            kind = kinds(arguments.deadline)[wanted]
            for peer in servers:
                try:
                    result = measure(bench, peer, kind, arguments.deadline)
                except (Refused, StartFailed, OSError) as error:
                    print(f"| {kind.count} × {kind.title} | {peer.name} | {error} | | | | | |", flush=True)
                    continue
                each = f"{result.memory / 1e6:.0f} MB ({result.memory / kind.count / 1024:.0f} KiB each)"
                ended = f"{result.ended} of {kind.count}"
                last = f"{result.last:.1f} s" if result.ended else "never"
                title = f"| {kind.count} × {kind.title} | {peer.name} "
                rates = f"{result.rate:.2f} | {result.per_cpu:.2f}"
                print(f"{title}| {rates} | {each} | {ended} | {last} | {result.disturbed:.0%} |", flush=True)


if __name__ == "__main__":
    main()
