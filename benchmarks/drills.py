"""The supervisor's drills: what a client and an operator see when something goes wrong, ours beside the peers.

Owns: the drills, and the table with one row per drill and one column per server. Each drill starts a server
of its own with four workers, looks at it only from outside (`/proc`, sockets, exit code, log) and ends its
whole process tree, also when the drill fails.
Must not: know how a server works inside. What a server cannot be asked on its command line is "no feature".
Fails by: a cell that says so; the other drills go on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import apps, peers
from benchmarks.load import Failure, Load, Pending, Plan, Report, first_answers
from benchmarks.peers import Peer, Wish
from benchmarks.processes import StartFailed, Tree, all_pids, free_port, memory, stat_fields

WORKERS = 4
GOOD = "from apps import drill as app\n"
BROKEN_IMPORT = "import a_module_that_is_not_there\n"
PURPOSE = "broken on purpose"
HANG_LIMIT = 3
RECYCLE = 300


class NoFeature(Exception):
    """The server cannot be asked for this."""


@dataclass
class Result:
    """One cell of the table, and the figures behind it for `--json`."""

    text: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drill:
    name: str
    title: str
    run: Callable[[Scene], Result]


DRILLS: dict[str, Drill] = {}


def drill(name: str, title: str) -> Callable[[Callable[[Scene], Result]], Callable[[Scene], Result]]:
    def register(run: Callable[[Scene], Result]) -> Callable[[Scene], Result]:
        DRILLS[name] = Drill(name, title, run)
        return run

    return register


def until(condition: Callable[[], Any], seconds: float, step: float = 0.01) -> bool:
    """Polls from outside; whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(step)
    return True


class Scene:
    """One server in one drill: its folder, its application's code and its process tree."""

    def __init__(self, peer: Peer, folder: Path, repeat: int | None) -> None:
        self.peer = peer
        self.folder = folder
        self.repeat = repeat
        self.port = free_port()
        self.boots = folder / "boots"
        shutil.copy(Path(apps.__file__), folder / "apps.py")
        self.write(GOOD)

    def times(self, default: int) -> int:
        return self.repeat or default

    def write(self, code: str) -> None:
        """The application's module. Each import of it is counted; no stale bytecode survives a rewrite."""
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)
        note = (
            "import os as _os\n"
            f"_fd = _os.open({str(self.boots)!r}, _os.O_WRONLY | _os.O_APPEND | _os.O_CREAT, 0o600)\n"
            "_os.write(_fd, b'x')\n_os.close(_fd)\n"
        )
        (self.folder / "target.py").write_text(note + code)

    def imports(self) -> int:
        return self.boots.stat().st_size if self.boots.exists() else 0

    @contextmanager
    def server(self, *, wrap: tuple[str, ...] = (), **wishes: Any) -> Iterator[Tree]:
        """Starts it without waiting. With `wrap` it runs under another command."""
        wish = replace(Wish("target:app", self.port, workers=WORKERS), **wishes)
        command = self.peer.command(wish)
        if command is None:
            raise NoFeature
        env = self.peer.env(self.folder)
        with Tree([*wrap, *command], cwd=self.folder, log=self.folder / "log", env=env) as tree:
            yield tree

    @contextmanager
    def fleet(self, **wishes: Any) -> Iterator[tuple[Tree, set[int]]]:
        """Starts it and waits until every worker has answered."""
        with self.server(**wishes) as tree:
            try:
                tree.wait_until_answering(self.port)
            except StartFailed as error:
                if error.code == 2:
                    raise NoFeature from error
                raise
            wanted = wishes.get("workers", WORKERS)
            heard = asyncio.run(first_answers(self.port, wanted, 15))
            if len(heard) < wanted:
                raise StartFailed(f"only {len(heard)} workers answered", None, tree.log_tail())
            yield tree, set(heard)

    @contextmanager
    def load(self, **plan: Any) -> Iterator[Load]:
        """Clients, running: entered once every one of the first answers has come."""
        with Load(Plan(self.port, **plan)) as load:
            if not until(lambda: load.heard, 10):
                raise RuntimeError("the load got no answer")
            time.sleep(0.5)
            yield load


def failures_between(report: Report, begin: float, end: float) -> list[Failure]:
    return [failure for failure in report.failures if begin <= failure.at < end]


def windows(starts: list[float]) -> list[tuple[float, float]]:
    """From each event to the next one, and from the last one on."""
    return list(zip(starts, [*starts[1:], float("inf")], strict=False))


def seconds_text(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


# ── a worker dies ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Kill:
    at: float
    pid: int
    open: int
    back: float | None


def kill_worker(tree: Tree, pid: int, port: int) -> Kill:
    """SIGKILL, and how many connections were open to it at that moment."""
    held, at = tree.count_and_kill(pid, port)
    return Kill(at, pid, held, None)


def kill_workers(scene: Scene, *, keep_alive: bool) -> Result:
    """Twenty times the worker with the most connections; the slot is back when a pid never heard before
    answers.
    """
    plan: dict[str, Any] = {"keep_alive": keep_alive}
    if keep_alive:
        plan |= {"rotate": 100, "probes": 2}  # else nobody would ever try the replacement
    kills: list[Kill] = []
    lost = ""
    with scene.fleet() as (tree, first), scene.load(**plan) as load:
        for _ in range(scene.times(20)):
            workers = [pid for pid in first | set(load.heard) if tree.alive(pid)]
            if not workers:
                lost = "no worker left"
                break
            victim = max(workers, key=lambda pid: tree.connections(pid, scene.port))
            known = first | set(load.heard)
            kill = kill_worker(tree, victim, scene.port)
            kills.append(kill)

            def heard_new(known: set[int] = known) -> set[int]:
                return set(load.heard) - known

            if until(heard_new, 6):
                kill.back = min(load.heard[pid] for pid in heard_new()) - kill.at
            else:
                lost = "the service died" if tree.process.poll() is not None else "a slot was lost"
                break
            time.sleep(0.4)
        time.sleep(0.5)
        report = load.stop()
    failed = [len(failures_between(report, *window)) for window in windows([kill.at for kill in kills])]
    beyond = sum(f > kill.open for f, kill in zip(failed, kills, strict=True))
    backs = [kill.back for kill in kills if kill.back is not None]
    back = statistics.median(backs) if backs and not lost else None
    text = (
        f"{statistics.median(failed):.0f} (≤ {max(failed)}) failed of "
        f"{statistics.median(k.open for k in kills):.0f} open, "
        f"{beyond}/{len(kills)} kills beyond; back {seconds_text(back)}"
    )
    if backs and not lost:
        text += f" (≤ {max(backs):.2f})"
    elif lost:
        text += f", {lost} after {len(kills)}"
    values = {
        "failed": failed,
        "open": [k.open for k in kills],
        "back": backs,
        "kinds": report.describe(),
        "ok": report.ok,
    }
    return Result(text, values)


@drill("kill", "SIGKILL one worker, keep-alive: failed, connections open to it, slot serves again")
def kill_keep_alive(scene: Scene) -> Result:
    return kill_workers(scene, keep_alive=True)


@drill("kill-new", "SIGKILL one worker, a connection per request")
def kill_new(scene: Scene) -> Result:
    return kill_workers(scene, keep_alive=False)


@drill("storm", "a worker SIGKILLed every 0.2 s for 10 s: failed, fewest alive, growth of the master")
def storm(scene: Scene) -> Result:
    def footprint(pid: int) -> tuple[int, int, int]:
        fields = stat_fields(pid) or ["0"] * 40
        return memory(pid, "Rss") // 1024, int(fields[17]), len(list(Path(f"/proc/{pid}/fd").iterdir()))

    fewest, beyond, kills = WORKERS, 0, []
    with scene.fleet() as (tree, _), scene.load(rotate=20, probes=2) as load:
        before = footprint(tree.pid)
        end = time.monotonic() + scene.times(10)
        due = time.monotonic()
        while time.monotonic() < end and tree.process.poll() is None:
            workers = [pid for pid in load.heard if tree.alive(pid)]
            if workers:
                kills.append(
                    kill_worker(tree, max(workers, key=lambda pid: tree.connections(pid, scene.port)), scene.port)
                )
            due += 0.2
            while time.monotonic() < due:
                fewest = min(fewest, sum(tree.alive(pid) for pid in load.heard))
                time.sleep(0.01)
        time.sleep(1)
        survived = tree.process.poll() is None
        after = footprint(tree.pid) if survived else before
        report = load.stop()
    counts = [len(failures_between(report, *window)) for window in windows([kill.at for kill in kills])]
    beyond = sum(count > kill.open for count, kill in zip(counts, kills, strict=True))
    total = sum(kill.open for kill in kills)
    text = f"{len(report.failures)} failed, {total} open to the {len(kills)} killed ({beyond} beyond)"
    text += f"; fewest heard and alive {fewest}; master RSS {after[0] - before[0]:+d} KiB"
    text += f", threads {after[1] - before[1]:+d}, fds {after[2] - before[2]:+d}"
    if not survived:
        text += "; the master died"
    return Result(text, {"failed": counts, "open": [k.open for k in kills], "before": before, "after": after})


# ── reload ──────────────────────────────────────────────────────────────────────────────────────────────


def reload_under_load(scene: Scene, *, keep_alive: bool) -> Result:
    """HUP three times; a reload is over when no worker from before it lives and four others have answered."""
    took: list[float] = []
    marks: list[float] = []
    note = ""
    with scene.fleet() as (tree, workers), scene.load(keep_alive=keep_alive) as load:
        for _ in range(scene.times(3)):
            old = {pid for pid in workers | set(load.heard) if tree.alive(pid)}
            begun = time.monotonic()
            marks.append(begun)
            tree.signal(signal.SIGHUP)
            if not until(lambda old=old: not any(map(tree.alive, old)), 20):  # type: ignore[misc]
                note = f", {sum(map(tree.alive, old))} old workers left after 20 s"
                break
            took.append(time.monotonic() - begun)
            if tree.process.poll() is not None:
                note = ", the service died"
                break
            time.sleep(1.5)
        time.sleep(0.5)
        report = load.stop()
    counts = [len(failures_between(report, *window)) for window in windows(marks)]
    text = f"{', '.join(map(str, counts))} failed"
    if keep_alive:
        closed = [sum(begin <= at < end for at in report.closed) for begin, end in windows(marks)]
        text += f", {', '.join(map(str, closed))} closed unannounced"
    if took:
        text += f", rolled in {statistics.median(took):.1f} s"
    return Result(
        text + note,
        {
            "failed": counts,
            "took": took,
            "kinds": report.describe(),
            "ok": report.ok,
            "slowest": report.slowest,
        },
    )


@drill("hup", "SIGHUP three times, keep-alive clients")
def hup_keep_alive(scene: Scene) -> Result:
    return reload_under_load(scene, keep_alive=True)


@drill("hup-new", "SIGHUP three times, a connection per request")
def hup_new(scene: Scene) -> Result:
    return reload_under_load(scene, keep_alive=False)


@drill("hup-broken", "SIGHUP onto code that does not import, then the fix and SIGHUP again")
def hup_broken(scene: Scene) -> Result:
    with scene.fleet() as (tree, _), scene.load(rotate=100) as load:
        scene.write(BROKEN_IMPORT)
        begun = time.monotonic()
        tree.signal(signal.SIGHUP)
        time.sleep(5)
        serves = bool(asyncio.run(first_answers(scene.port, 1, 2)))
        left = sum(map(tree.alive, load.heard))
        told = "a_module_that_is_not_there" in tree.log()
        damage = time.monotonic()
        scene.write(GOOD)
        known = set(load.heard)
        tree.signal(signal.SIGHUP)
        healed = until(lambda: len([p for p in load.heard if p not in known and tree.alive(p)]) >= WORKERS, 12)
        report = load.stop()
    failed = failures_between(report, begun, damage)
    text = f"{'keeps serving' if serves else 'service dies'}, {len(failed)} failed, {left} workers left"
    text += f", the error is {'' if told else 'not '}told, {'healed' if healed else 'not healed'} by the next HUP"
    return Result(text, {"failed": len(failed), "serves": serves, "healed": healed, "kinds": report.describe()})


@drill("recycle", f"recycling after {RECYCLE} requests, keep-alive and new connections: failed")
def recycle(scene: Scene) -> Result:
    parts, values = [], {}
    for keep_alive, name in ((True, "keep-alive"), (False, "new")):
        with scene.fleet(max_requests=RECYCLE) as (_, _), scene.load(keep_alive=keep_alive) as load:
            time.sleep(scene.times(10))
            report = load.stop()
        total = report.ok + len(report.failures)
        parts.append(f"{len(report.failures)} of {total} {name} ({len(report.answers)} workers)")
        values[name] = {"kinds": report.describe(), "total": total, "slowest": report.slowest}
    return Result(", ".join(parts), values)


# ── a worker hangs ──────────────────────────────────────────────────────────────────────────────────────


@drill("block", f"blocked loop (time.sleep), limit {HANG_LIMIT} s: seen after, with the guilty line in the log")
def block(scene: Scene) -> Result:
    with scene.fleet(hang_limit=HANG_LIMIT) as (tree, workers):
        Pending(scene.port, "/block")
        begun = time.monotonic()
        seen = until(lambda: not all(map(tree.alive, workers)), HANG_LIMIT + 6)
        took = time.monotonic() - begun if seen else None
        time.sleep(0.5)
        stack = "in guilty" in tree.log()
        text = f"{seconds_text(took)}, {'with' if stack else 'no'} stack" if seen else "never seen"
        return Result(text, {"seconds": took, "stack": stack})


@drill("stop", f"a worker SIGSTOPped, limit {HANG_LIMIT} s: replaced after")
def stopped(scene: Scene) -> Result:
    with scene.fleet(hang_limit=HANG_LIMIT) as (tree, workers):
        victim = min(workers)
        tree.signal_member(victim, signal.SIGSTOP)
        begun = time.monotonic()
        seen = until(lambda: not tree.alive(victim), HANG_LIMIT + 6)
        took = time.monotonic() - begun if seen else None
        heard: dict[int, float] = asyncio.run(first_answers(scene.port, WORKERS, 5)) if seen else {}
        text = seconds_text(took) if seen else "never"
        if seen and len(heard) < WORKERS:
            text += f", {len(heard)} workers afterwards"
        return Result(text, {"seconds": took})


# ── it cannot start ─────────────────────────────────────────────────────────────────────────────────────


def watch_failing_start(scene: Scene, *, workers: int, seconds: float = 10.0) -> tuple[str, dict[str, Any]]:
    with scene.server(workers=workers) as tree:
        code = tree.wait(seconds)
        took = time.monotonic() - tree.started_at
        until(lambda: code is None or not tree.members(), 0.5)
        left = len(tree.members())
        log = tree.log()
    boots, lines = scene.imports(), len(log.splitlines())
    tracebacks = log.count("Traceback (most recent call last)")
    values = {
        "code": code,
        "seconds": took,
        "boots": boots,
        "lines": lines,
        "tracebacks": tracebacks,
        "left": left,
    }
    if code is None:
        return f"never exits: {boots} boots in {seconds:.0f} s, {lines} log lines", values
    text = f"exit {code} after {took:.2f} s, {boots} boot{'s' * (boots != 1)}"
    text += f", {lines} log lines, {tracebacks} traceback{'s' * (tracebacks != 1)}"
    return text + (f", {left} processes left" if left else ""), values


@drill("import", "the application raises at import, 4 workers")
def import_raises(scene: Scene) -> Result:
    scene.write(f"raise RuntimeError({PURPOSE!r})\n")
    return Result(*watch_failing_start(scene, workers=WORKERS))


@drill("exit", "the application calls os._exit at import, 4 workers")
def exit_at_import(scene: Scene) -> Result:
    scene.write("_os._exit(7)\n")
    return Result(*watch_failing_start(scene, workers=WORKERS))


@drill("lifespan", "lifespan startup fails, with 1 worker and with 4")
def lifespan_fails(scene: Scene) -> Result:
    parts, values = [], {}
    for workers in (1, WORKERS):
        scene.boots.unlink(missing_ok=True)
        scene.write("from apps import failing_lifespan as app\n")
        text, values[str(workers)] = watch_failing_start(scene, workers=workers)
        parts.append(f"{workers}: {text}")
    return Result("; ".join(parts), values)


# ── it stops ────────────────────────────────────────────────────────────────────────────────────────────


@drill("term", "SIGTERM with 8 requests in flight: answered, exit code")
def term(scene: Scene) -> Result:
    with scene.fleet() as (tree, _):
        pending = [Pending(scene.port, "/sleep/1") for _ in range(8)]
        time.sleep(0.4)
        begun = time.monotonic()
        tree.signal(signal.SIGTERM)
        answered = sum(request.finish() is not None for request in pending)
        code = tree.wait(12)
        took = time.monotonic() - begun
        until(lambda: code is None or not tree.members(), 0.5)
        left = len(tree.members())
    text = f"{answered}/8, {'did not exit' if code is None else f'exit {code}'} after {took:.2f} s"
    return Result(text + (f", {left} processes left" if left else ""), {"answered": answered, "code": code})


@drill("master", "the master SIGKILLed with 4 requests in flight: workers left after 1 s, answered")
def master_killed(scene: Scene) -> Result:
    with scene.fleet() as (tree, workers):
        pending = [Pending(scene.port, "/sleep/0.5") for _ in range(4)]
        time.sleep(0.2)
        begun = time.monotonic()
        tree.signal(signal.SIGKILL)
        answered = sum(request.finish() is not None for request in pending)
        time.sleep(max(0.0, begun + 1 - time.monotonic()))
        left = sum(map(tree.alive, workers))
        gone = until(lambda: not any(map(tree.alive, workers)), 3)
        took = time.monotonic() - begun
    text = f"{left} left" + (f", none after {took:.1f} s" if left and gone else "") + f", {answered}/4 answered"
    return Result(text, {"left": left, "gone": took if gone else None, "answered": answered})


@drill("pid1", "as PID 1 of a namespace: zombies left of 3 orphans")
def pid_one(scene: Scene) -> Result:
    wrap = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if subprocess.run([*wrap, "true"], capture_output=True).returncode:
        return Result("not possible here: unshare needs root")
    with scene.server(wrap=wrap) as tree:
        tree.wait_until_answering(scene.port)
        for _ in range(3):
            Pending(scene.port, "/orphan").finish()
        time.sleep(1.5)
        zombies = 0
        for pid in all_pids():
            fields = stat_fields(pid)
            zombies += fields is not None and fields[0] == "Z" and int(fields[3]) == tree.pid
        alive = tree.process.poll() is None
    return Result(f"{zombies}{'' if alive else ', the server died'}", {"zombies": zombies})


@drill("start", "from the command to all four answering, PSS of the tree (medians)")
def start_up(scene: Scene) -> Result:
    times, sizes = [], []
    for _ in range(scene.times(7)):
        with scene.server() as tree:
            heard = asyncio.run(first_answers(scene.port, WORKERS, 15))
            if len(heard) < WORKERS:
                raise StartFailed(f"only {len(heard)} workers answered", None, tree.log_tail())
            times.append(max(heard.values()) - tree.started_at)
            time.sleep(0.3)
            sizes.append(tree.pss() / 1e6)
            tree.stop()
    text = f"{statistics.median(times):.2f} s ({min(times):.2f}–{max(times):.2f}) / {statistics.median(sizes):.0f} MB"
    return Result(text, {"seconds": times, "pss": sizes})


# ── the program ─────────────────────────────────────────────────────────────────────────────────────────


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drills", description=__doc__)
    parser.add_argument("--drill", default="all", help=f"comma-separated, or all: {', '.join(DRILLS)}")
    parser.add_argument("--servers", default="ours,uvicorn,gunicorn", help=f"of {', '.join(peers.BUILDERS)}")
    parser.add_argument("--repeat", type=int, help="kills, HUPs, starts or seconds, whatever the drill repeats")
    parser.add_argument("--ours", type=Path, default=Path(sys.executable), help="interpreter that has our package")
    parser.add_argument("--peers-env", type=Path, help="an existing virtual environment with the peers")
    parser.add_argument("--json", type=Path, help="write the figures behind every cell here")
    parser.add_argument("--logs", type=Path, help="keep the servers' logs in this folder")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    names = list(DRILLS) if arguments.drill == "all" else arguments.drill.split(",")
    if unknown := set(names) - set(DRILLS):
        raise SystemExit(f"no drill {', '.join(unknown)}; there are {', '.join(DRILLS)}")
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
