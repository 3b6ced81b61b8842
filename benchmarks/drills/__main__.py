"""The program: runs the drills and prints the table with one row per drill and one column per server.

Owns: the command line, the order of the runs and the table.
Must not: let one drill's fault end the others.
Fails by: a cell that says so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from benchmarks import peers
from benchmarks.drills import chaos, dying, hanging, reloading, starting, stopping
from benchmarks.drills.scene import DRILLS, Drill, NoFeature, Result, Scene
from benchmarks.peers import Peer
from benchmarks.processes import StartFailed

SUBJECTS = {
    module.__name__.rpartition(".")[2]: module.__name__
    for module in (dying, reloading, hanging, starting, stopping, chaos)
}


def run_one(one: Drill, peer: Peer, repeat: int | None, keep: Path | None) -> Result:
    """A fresh folder for each run; a failing drill is a cell, with the server's log on stderr."""
    with tempfile.TemporaryDirectory(prefix="drill-") as name:
        folder = Path(name)
        try:
            return one.run(Scene(peer, folder, repeat))
        except NoFeature:
            return Result("no feature")
        except StartFailed as error:
            print(error.log, file=sys.stderr)
            return Result(f"does not start: {error}", {"log": error.log})
        except Exception as error:
            traceback.print_exc()
            return Result(f"drill failed: {error!r}")
        finally:
            if keep is not None and (folder / "log").exists():
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / "log", keep / f"{one.name}.{peer.name}.log")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drills", description="the supervisor's drills")
    parser.add_argument(
        "--drill",
        default="all",
        help=f"comma-separated, or all: {', '.join(DRILLS)}; or a subject: {', '.join(SUBJECTS)}",
    )
    parser.add_argument("--servers", default="ours,uvicorn,gunicorn", help=f"of {', '.join(peers.BUILDERS)}")
    parser.add_argument(
        "--repeat", type=int, help="kills, HUPs, starts, seconds or thousands of requests: whatever the drill counts"
    )
    parser.add_argument("--ours", type=Path, default=Path(sys.executable), help="interpreter that has our package")
    parser.add_argument("--peers-env", type=Path, help="an existing virtual environment with the peers")
    parser.add_argument("--json", type=Path, help="write the figures behind every cell here")
    parser.add_argument("--logs", type=Path, help="keep the servers' logs in this folder")
    return parser.parse_args()


def chosen(wanted: str) -> list[str]:
    """The drills by name, a subject standing for all of its own."""
    names: list[str] = []
    for name in DRILLS if wanted == "all" else wanted.split(","):
        if name in SUBJECTS:
            names += [each.name for each in DRILLS.values() if each.run.__module__ == SUBJECTS[name]]
        elif name in DRILLS:
            names.append(name)
        else:
            raise SystemExit(f"no drill {name}; there are {', '.join(DRILLS)}")
    return list(dict.fromkeys(names))


def main() -> None:
    arguments = parse()
    names = chosen(arguments.drill)
    with tempfile.TemporaryDirectory(prefix="drills-") as folder:
        wanted = peers.find(arguments.servers.split(","), ours=arguments.ours, peers_env=arguments.peers_env)
        servers = peers.present(wanted, Path(folder))
    table: dict[str, dict[str, Result]] = {}
    for name in names:
        table[name] = {}
        for peer in servers:
            result = run_one(DRILLS[name], peer, arguments.repeat, arguments.logs)
            table[name][peer.name] = result
            print(f"  {name}: {peer.name}: {result.text}  {result.values.get('kinds', '')}", file=sys.stderr)
    print(f"\n| drill | {' | '.join(peer.name for peer in servers)} |")
    print("|---" * (len(servers) + 1) + "|")
    for name, row in table.items():
        print(f"| {DRILLS[name].title} | {' | '.join(row[peer.name].text for peer in servers)} |")
    if arguments.json:
        plain = {d: {s: {"text": r.text, **r.values} for s, r in row.items()} for d, row in table.items()}
        arguments.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
