"""Everything at once, for minutes: signals, recycling and killed workers under every kind of client, some by a proxy.

Owns: the order of events, which is random and the same for every server, and whom a failure is due to: the only ones
that may be are those of connections that a killed worker held. Must not: kill the master.
Fails by: a cell that has the others, by kind.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.drills.scene import Result, Scene, drill, plural
from benchmarks.fronts import front
from benchmarks.load import Failure, Load, Plan, Report
from benchmarks.processes import Tree
from benchmarks.works import WORKS

FRONTS = ("direct", "nginx", "haproxy")
CLIENTS = 2 * len(WORKS)
EVENTS = {"HUP": 4, "TTIN": 2, "TTOU": 2, "USR1": 2, "kill": 2, "nothing": 1}
"""How often each is drawn, of their sum."""
RECYCLE = 3000
NEAR = 0.5
"""Seconds after a kill within which a client has heard of it."""
STALE = 0.05
"""Seconds after a kill in which a proxy may still choose an idle connection that the killed worker held."""

Kills = dict[int, float]


def disturb(scene: Scene, tree: Tree, loads: list[Load], seconds: float) -> tuple[Counter[str], Kills]:
    """Draw events until the time is over; what was done, and which workers were killed when."""
    draw = random.Random(1)
    done: Counter[str] = Counter()
    kills: Kills = {}
    extra = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end and tree.process.poll() is None:
        time.sleep(draw.uniform(0.3, 3.0))
        event = draw.choices(list(EVENTS), list(EVENTS.values()))[0]
        if event == "kill":
            serving = sorted(pid for load in loads for pid in load.heard if tree.alive(pid) and pid != tree.pid)
            if not serving:
                continue
            victim = draw.choice(serving)
            _, kills[victim] = tree.count_and_kill(victim, scene.port)
        elif event in ("TTIN", "TTOU"):
            step = 1 if event == "TTIN" else -1
            if abs(extra + step) > 2:
                continue
            extra += step
        if event not in ("kill", "nothing"):
            tree.signal(getattr(signal, f"SIG{event}"))
        done[event] += 1
    return done, kills


def excused(failure: Failure, kills: Kills, proxied: bool) -> bool:
    """Whether a killed worker held its connection: told by the pid where the client knows it, else by the time."""
    if failure.pid and not proxied:
        return failure.pid in kills
    begun = failure.begun - (STALE if proxied else 0)
    return any(begun <= at <= failure.at and failure.at - at < NEAR for at in kills.values())


@drill(
    "chaos",
    "a minute of HUP, TTIN, TTOU, USR1, recycling and killed workers: failed of rounds, less those due to a kill",
)
def chaos(scene: Scene) -> Result:
    seconds = 60.0 * scene.times(1)
    with ExitStack() as stack:
        tree, _ = stack.enter_context(scene.fleet(replace(scene.wish, max_requests=RECYCLE)))
        loads: dict[str, Load] = {}
        for name in FRONTS:
            port = scene.port if name == "direct" else stack.enter_context(front(name, scene.port, scene.folder))
            if port is not None:
                loads[name] = stack.enter_context(Load(Plan(port, clients=CLIENTS, works=",".join(WORKS), pause=0.002)))
        done, kills = disturb(scene, tree, list(loads.values()), seconds)
        time.sleep(2)
        reports = {name: load.stop() for name, load in loads.items()}
        serving = len(scene.ask(1, 5))
    parts = [part(name, report, kills) for name, report in reports.items()]
    events = ", ".join(f"{count} {event}" for event, count in sorted(done.items()) if event != "nothing")
    text = "; ".join(parts) + f"; {events}" + ("" if serving else "; nobody serves afterwards")
    figures = {name: values(report, kills, name != "direct") for name, report in reports.items()}
    return Result(text, {"kills": sorted(kills.values()), **figures})


def part(name: str, report: Report, kills: Kills) -> str:
    blamed = [failure for failure in report.failures if not excused(failure, kills, name != "direct")]
    due = len(report.failures) - len(blamed)
    total = report.ok + len(report.failures)
    kinds = Counter(f"{failure.work} {failure.kind}" for failure in blamed)
    detail = f" ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})" if blamed else ""
    return f"{name}: {len(blamed)}{detail} of {total}, and {plural(due, 'round')} by {plural(len(kills), 'kill')}"


def values(report: Report, kills: Kills, proxied: bool) -> dict[str, object]:
    blamed = [vars(failure) for failure in report.failures if not excused(failure, kills, proxied)]
    return {"ok": report.rounds, "closed": len(report.closed), "slowest": report.slowest, "blamed": blamed[:50]}
