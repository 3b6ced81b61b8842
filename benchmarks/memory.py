"""What a server's memory does over millions of requests.

Owns: the walk through a mix of the workloads, and the samples. The proportional memory (PSS) of the server's whole
process tree is read after each tenth of the requests; the first tenth fills caches and pools and is what the others
are compared with. Must not: compare servers that run at the same time: one after the other. Fails by: leaving out a
server that does not answer as it should.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import peers
from benchmarks.peers import Peer, Wish
from benchmarks.processes import StartFailed, Tree, free_port
from benchmarks.speed import WORKS, Bench, Refused, Work

SAMPLES = 10


def samples(bench: Bench, peer: Peer, works: list[Work], requests: int) -> list[int]:
    """Bytes after each tenth of the requests."""
    port = free_port()
    command = peer.command(Wish(works[0].app, port))
    if command is None:
        raise Refused("no feature")
    log = bench.folder / f"{peer.name}.log"
    found: list[int] = []
    done = turn = 0
    with Tree(command, cwd=bench.folder, log=log, env=peer.env(bench.folder), core=bench.server_core) as tree:
        tree.wait_until_answering(port)
        while len(found) < SAMPLES:
            done += bench.wrk(works[turn % len(works)], port, bench.seconds)[0]
            turn += 1
            while len(found) < SAMPLES and done >= requests * (len(found) + 1) / SAMPLES:
                found.append(tree.pss())
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--servers", default="ours,uvicorn", help=f"comma-separated: {', '.join(peers.BUILDERS)}")
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--work", default="get,varied", help="comma-separated; one application has to serve them all")
    parser.add_argument("--ours", type=Path, default=Path(sys.executable), help="interpreter that has our package")
    parser.add_argument("--peers-env", type=Path, help="an existing virtual environment with the peers")
    parser.add_argument("--cores", default="0,1", help="the server's core and the load generator's")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed")
    works = [WORKS[name] for name in arguments.work.split(",")]
    if len({work.app for work in works}) > 1:
        raise SystemExit("these works have different applications")
    server_core, load_core = map(int, arguments.cores.split(","))
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        bench = Bench(Path(name), 1, (server_core, load_core), 1)
        found = peers.find(arguments.servers.split(","), ours=arguments.ours, peers_env=arguments.peers_env)
        servers = peers.present(found, bench.folder)
        print(f"| server | MB after each tenth of {arguments.requests:,} requests | growth after the first |")
        print("|---|---|---|")
        for peer in servers:
            try:
                sizes = samples(bench, peer, works, arguments.requests)
            except (Refused, StartFailed, OSError) as error:
                print(f"| {peer.name} | {error} | |", flush=True)
                continue
            row = ", ".join(f"{size / 1e6:.1f}" for size in sizes)
            print(f"| {peer.name} | {row} | {(sizes[-1] - sizes[0]) / 1024:.0f} KiB |", flush=True)


if __name__ == "__main__":
    main()
