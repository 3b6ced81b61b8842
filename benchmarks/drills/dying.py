"""A worker dies: killed once, and killed again and again.

Owns: the drills that SIGKILL workers under load, and what they cost: failed requests against the connections that were
open to the killed, the time until as many serve as before, what it leaves behind in the master.
Must not: count a worker as serving before it has answered a client.
Fails by: a cell that says which slot was lost, or that the service died.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.drills.scene import WORKERS, Result, Scene, drill, failures_between, seconds_text, until, windows
from benchmarks.load import Load, Plan
from benchmarks.processes import Tree, memory, stat_fields


@dataclass
class Kill:
    at: float
    pid: int
    open: int
    back: float | None = None


def kill_worker(tree: Tree, pid: int, port: int) -> Kill:
    """SIGKILL, and how many connections were open to it at that moment."""
    held, at = tree.count_and_kill(pid, port)
    return Kill(at, pid, held)


def busiest(tree: Tree, workers: list[int], port: int) -> int:
    return max(workers, key=lambda pid: tree.connections(pid, port))


def kill_repeatedly(scene: Scene, tree: Tree, first: set[int], load: Load) -> tuple[list[Kill], str]:
    """Each time the slot is awaited; why it stopped early, if it did."""
    kills: list[Kill] = []
    for _ in range(scene.times(20)):
        known = first | set(load.heard)
        workers = list(filter(tree.alive, known))
        if not workers:
            return kills, "no worker left"
        kill = kill_worker(tree, busiest(tree, workers, scene.port), scene.port)
        kills.append(kill)

        def heard_new(known: set[int] = known) -> set[int]:
            return set(load.heard) - known

        if not until(heard_new, 6):
            return kills, "the service died" if tree.process.poll() is not None else "a slot was lost"
        kill.back = min(load.heard[pid] for pid in heard_new()) - kill.at
        time.sleep(0.4)
    return kills, ""


def kill_workers(scene: Scene, *, keep_alive: bool) -> Result:
    """Twenty times the worker with the most connections; the slot is back when a pid never heard before answers."""
    plan = Plan(scene.port, keep_alive=keep_alive)
    if keep_alive:
        plan = replace(plan, rotate=100, probes=2)  # else nobody would ever try the replacement
    with scene.fleet() as (tree, first), scene.load(plan) as load:
        kills, lost = kill_repeatedly(scene, tree, first, load)
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


@drill("kill", "SIGKILL one worker, keep-alive: failed, connections open to it, four serve again")
def kill_keep_alive(scene: Scene) -> Result:
    return kill_workers(scene, keep_alive=True)


@drill("kill-new", "SIGKILL one worker, a connection per request")
def kill_new(scene: Scene) -> Result:
    return kill_workers(scene, keep_alive=False)


class Footprint(NamedTuple):
    rss: int
    threads: int
    fds: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        fields = stat_fields(pid)
        if fields is None or fields[0] == "Z":
            return cls(0, 0, 0)
        return cls(memory(pid, "Rss") // 1024, int(fields[17]), len(list(Path(f"/proc/{pid}/fd").iterdir())))

    def growth(self, since: Footprint) -> str:
        rss, threads, fds = (now - then for now, then in zip(self, since, strict=True))
        return f"RSS {rss:+d} KiB, threads {threads:+d}, fds {fds:+d}"


def fewest_serving(served: dict[int, float], gone: dict[int, float], begin: float, end: float) -> int:
    """The smallest number of workers that at one moment had answered a client and were not dead.

    A worker that is ready and was not asked yet does not count, so this is never flattering. Both are moments of
    the monotonic clock, compared afterwards: how soon this program looked changes nothing.
    """
    moments = [begin, *(at for at in gone.values() if begin <= at <= end)]
    return min(sum(since <= at < gone.get(pid, end + 1) for pid, since in served.items()) for at in moments)


@drill("storm", "a worker SIGKILLed every 0.2 s for 30 s: failed, fewest that serve, growth of the master")
def storm(scene: Scene) -> Result:
    """Clients that change connections often, so that a new worker is asked as soon as it accepts."""
    kills: list[Kill] = []
    gone: dict[int, float] = {}
    seconds = scene.times(30)
    with scene.fleet() as (tree, first), scene.load(Plan(scene.port, rotate=20, probes=4)) as load:
        if not until(lambda: first <= set(load.heard), 10):
            raise RuntimeError("the load did not reach every worker")
        before = settled = Footprint.of(tree.pid)
        begin = due = time.monotonic()
        while time.monotonic() < begin + seconds and tree.process.poll() is None:
            if workers := list(filter(tree.alive, load.heard)):
                kills.append(kill_worker(tree, busiest(tree, workers, scene.port), scene.port))
                gone[kills[-1].pid] = kills[-1].at
            due += 0.2
            while time.monotonic() < due:
                for pid in load.heard:
                    if pid not in gone and not tree.alive(pid):
                        gone[pid] = time.monotonic()  # not by us
                time.sleep(0.01)
            if settled is before and time.monotonic() > begin + seconds / 3:
                settled = Footprint.of(tree.pid)
        end = time.monotonic()
        time.sleep(1)
        serving = len(scene.ask(WORKERS, 10))
        healed = time.monotonic() - end
        survived = tree.process.poll() is None
        after = Footprint.of(tree.pid)
        report = load.stop()
    fewest = fewest_serving(report.first_heard, gone, begin, end)
    counts = [len(failures_between(report, *window)) for window in windows([kill.at for kill in kills])]
    beyond = sum(count > kill.open for count, kill in zip(counts, kills, strict=True))
    total = sum(kill.open for kill in kills)
    text = f"{len(report.failures)} failed, {total} open to the {len(kills)} killed ({beyond} kills beyond)"
    text += f"; fewest serving {fewest}, {serving} within {healed:.0f} s afterwards"
    text += f"; master {after.growth(before)} (after the first third {after.growth(settled)})"
    if not survived:
        text += "; the master died"
    values = {"failed": counts, "open": [k.open for k in kills], "fewest": fewest, "kinds": report.describe()}
    return Result(
        text, values | {"before": before, "settled": settled, "after": after, "unasked": len(gone) - len(kills)}
    )
