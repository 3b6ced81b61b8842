"""Workers are replaced on purpose: SIGHUP, several of them, one onto broken code, and recycling.

Owns: the drills in which every request must be answered although every worker is exchanged.
Must not: take a server's word for it. A reload is over when no worker from before lives and enough others answer.
Fails by: a cell that says how many old workers are left, or that the service died.
"""

from __future__ import annotations

import signal
import statistics
import time
from dataclasses import replace
from typing import Any

from benchmarks.drills.scene import (
    END_TOLD,
    GOOD,
    RELOAD_TOLD,
    TRACEBACK,
    WORKERS,
    Result,
    Scene,
    drill,
    failures_between,
    plural,
    told,
    until,
    windows,
)
from benchmarks.exchange import Pending
from benchmarks.load import Plan
from benchmarks.peers import Wish
from benchmarks.processes import Tree
from benchmarks.works import WORKS

BROKEN_IMPORT = "import a_module_that_is_not_there\n"
RECYCLE = 300
RECYCLE_ONE = 50


def slow(seconds: float) -> str:
    return f"import time\ntime.sleep({seconds})\n{GOOD}"


def reload_under_load(scene: Scene, *, keep_alive: bool, works: str = "") -> Result:
    """HUP three times; a reload is over when no worker from before it lives and four others have answered."""
    took: list[float] = []
    marks: list[float] = []
    note = ""
    with scene.fleet() as (tree, workers), scene.load(Plan(scene.port, keep_alive=keep_alive, works=works)) as load:
        for _ in range(scene.times(3)):
            old = {pid for pid in workers | set(load.heard) if tree.alive(pid)}
            begun = time.monotonic()
            marks.append(begun)
            tree.signal(signal.SIGHUP)
            if not until(lambda old=old: not any(map(tree.alive, old)), 20):  # type: ignore[misc]
                note = f", {sum(map(tree.alive, old))} old workers left after 20 s"
                break
            took.append(time.monotonic() - begun)
            workers = set(scene.ask(WORKERS, 5)) - old
            if tree.process.poll() is not None or len(workers) < WORKERS:
                note = f", {plural(len(workers), 'new worker')} afterwards"
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
    values = {"failed": counts, "took": took, "kinds": report.describe(), "ok": report.ok, "slowest": report.slowest}
    return Result(text + note, values)


@drill("hup", "SIGHUP three times, keep-alive clients")
def hup_keep_alive(scene: Scene) -> Result:
    return reload_under_load(scene, keep_alive=True)


@drill("hup-new", "SIGHUP three times, a connection per request")
def hup_new(scene: Scene) -> Result:
    return reload_under_load(scene, keep_alive=False)


@drill("hup-works", "SIGHUP three times, clients that stream, pipeline, upload and talk by WebSockets")
def hup_works(scene: Scene) -> Result:
    return reload_under_load(scene, keep_alive=True, works=",".join(WORKS))


@drill("hup-broken", "SIGHUP onto code that does not import, then the fix and SIGHUP again")
def hup_broken(scene: Scene) -> Result:
    with scene.fleet() as (tree, _), scene.load(Plan(scene.port, rotate=100)) as load:
        scene.write(BROKEN_IMPORT)
        begun = time.monotonic()
        tree.signal(signal.SIGHUP)
        time.sleep(5)
        serves = bool(scene.ask(1, 2))
        left = sum(map(tree.alive, load.heard))
        times = told(tree, r"No module named 'a_module_that_is_not_there'")
        damage = time.monotonic()
        scene.write(GOOD)
        known = set(load.heard)
        tree.signal(signal.SIGHUP)
        healed = until(lambda: len([p for p in load.heard if p not in known and tree.alive(p)]) >= WORKERS, 12)
        report = load.stop()
    failed = failures_between(report, begun, damage)
    text = f"{'keeps serving' if serves else 'service dies'}, {len(failed)} failed, {left} workers left"
    text += f", the error is told {plural(times, 'time')}, {'healed' if healed else 'not healed'} by the next HUP"
    values = {"failed": len(failed), "serves": serves, "healed": healed, "told": times, "kinds": report.describe()}
    return Result(text, values)


# ── HUP upon HUP, TERM upon HUP ─────────────────────────────────────────────────────────────────────────


def end(tree: Tree) -> tuple[str, dict[str, Any]]:
    """SIGTERM, and what an operator sees of it: the exit code, what is left, what the log says."""
    begun = time.monotonic()
    tree.signal(signal.SIGTERM)
    code = tree.wait(35)
    took = time.monotonic() - begun
    until(lambda: not tree.members(), 0.5)
    left = len(tree.members())
    values: dict[str, Any] = {
        "code": code,
        "seconds": took,
        "left": left,
        "reloads told": told(tree, RELOAD_TOLD),
        "ends told": told(tree, END_TOLD),
        "tracebacks": tree.log().count(TRACEBACK),
    }
    text = f"{'does not exit' if code is None else f'exit {code}'} after {took:.1f} s"
    text += f"; told: reload {values['reloads told']}×, end {values['ends told']}×"
    if values["tracebacks"]:
        text += f", {plural(values['tracebacks'], 'traceback')}"
    return text + (f", {left} processes left" if left else ""), values


def hup_repeatedly(scene: Scene, count: int, pause: float, *, boot: float = 0.0) -> Result:
    """HUPs that do not wait for one another; before the last one the code changes, and all have to serve that."""
    code = slow(boot) if boot else GOOD
    scene.write(code)
    with scene.fleet() as (tree, old), scene.load(Plan(scene.port, rotate=50, probes=2)) as load:
        before = len(scene.imports())
        begun = time.monotonic()
        for left in reversed(range(count)):
            if not left:
                scene.write(code)
            tree.signal(signal.SIGHUP)
            if left:
                time.sleep(pause)
        sent = time.monotonic() - begun
        settled = scene.at_rest(tree, old | set(load.heard) - set(scene.imports(scene.version)), 90)
        took = time.monotonic() - begun - 1
        boots = len(scene.imports()) - before
        serving = set(scene.ask(WORKERS, 5))
        newest = len(serving & set(scene.imports(scene.version)))
        report = load.stop()
        ending, values = end(tree)
    text = f"{f'at rest after {took:.1f} s' if settled else 'never at rest'}, {plural(boots, 'boot')}"
    text += f", {len(serving)} serve, {newest} the newest code, {len(report.failures)} failed; {ending}"
    values |= {"settled": settled, "sent": sent, "boots": boots, "serving": len(serving), "newest": newest}
    return Result(text, values | {"failed": len(report.failures), "kinds": report.describe()})


@drill("hup-burst", "25 SIGHUPs within a quarter of a second, then SIGTERM")
def hup_burst(scene: Scene) -> Result:
    return hup_repeatedly(scene, scene.times(25), 0.01)


@drill("hup-hup", "SIGHUP in the middle of a reload (workers boot for 1 s), then SIGTERM")
def hup_during_hup(scene: Scene) -> Result:
    return hup_repeatedly(scene, 2, 1.5, boot=1.0)


@drill("hup-term", "SIGTERM in the middle of a reload (workers boot for 1 s), 8 requests in flight")
def term_during_hup(scene: Scene) -> Result:
    scene.write(slow(1))
    with scene.fleet() as (tree, _):
        pending = [Pending(scene.port, "/sleep/3") for _ in range(8)]
        time.sleep(0.4)
        tree.signal(signal.SIGHUP)
        time.sleep(1.5)
        ending, values = end(tree)
        answered = sum(request.finish() is not None for request in pending)
    return Result(f"{answered}/8, {ending}", values | {"answered": answered})


# ── recycling ───────────────────────────────────────────────────────────────────────────────────────────


def recycling(scene: Scene, requests: int, wish: Wish) -> Result:
    parts, values = [], {}
    for keep_alive, name in ((True, "keep-alive"), (False, "new connections")):
        with scene.fleet(wish), scene.load(Plan(scene.port, keep_alive=keep_alive, requests=requests)) as load:
            report = load.finish(120)
            serving = len(scene.ask(wish.workers, 5))
        total = report.ok + len(report.failures)
        workers = len(report.answers)
        recycled = f"{workers} workers answered" if workers > wish.workers else "never recycled"
        text = f"{len(report.failures)} of {total} {name} ({recycled})"
        parts.append(text + (f", {serving} serving afterwards" if serving < wish.workers else ""))
        values[name] = {"kinds": report.describe(), "total": total, "workers": workers, "slowest": report.slowest}
    return Result(", ".join(parts), values)


@drill("recycle", f"recycling after {RECYCLE} requests: failed of 20 000, keep-alive and new connections")
def recycle(scene: Scene) -> Result:
    return recycling(scene, scene.times(20) * 1000, replace(scene.wish, max_requests=RECYCLE))


@drill("recycle-one", f"one supervised worker, recycled after {RECYCLE_ONE} requests: failed of 5000")
def recycle_one(scene: Scene) -> Result:
    wish = replace(scene.wish, workers=1, supervise=True, max_requests=RECYCLE_ONE, jitter=0)
    return recycling(scene, scene.times(5) * 1000, wish)
