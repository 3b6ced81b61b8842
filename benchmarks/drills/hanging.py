"""A worker hangs, or only looks as if it did.

Owns: four ways to stop a worker's event loop, and what is seen of each: when it is gone, when another one answers in
its place, whether the log names the guilty line and the requests that were in flight. And what must not be taken
for a hang: a loop that is always busy but turns, and a boot that takes longer than the limit.
Must not: wait longer than three times the limit for a hang that nobody sees.
Fails by: a cell that says "never".
"""

from __future__ import annotations

import inspect
import re
import signal
import time
from contextlib import ExitStack
from dataclasses import replace

from benchmarks import apps
from benchmarks.drills.reloading import slow
from benchmarks.drills.scene import WORKERS, Result, Scene, drill, plural, seconds_text, told, until
from benchmarks.exchange import Pending
from benchmarks.load import Plan
from benchmarks.processes import cpu_seconds

LIMIT = 3
PATIENCE = LIMIT * 3
BOOT_WORKERS = 2
HELD = "/hold/60"


def block(scene: Scene, how: str, stack: ExitStack) -> int:
    """Blocks one worker's loop; its pid, which the application leaves in a file just before."""
    noted = scene.folder / apps.GUILTY
    stack.callback(Pending(scene.port, f"/block/{how}").abandon)
    if not until(lambda: noted.exists() and noted.read_text(), 5):
        raise RuntimeError("the request that blocks did not arrive")
    return int(noted.read_text())


def names_line(log: str, how: str) -> bool:
    """Whether a stack in the log names a line of the guilty function; none of them has more than one that can block."""
    lines, first = inspect.getsourcelines(apps.BLOCKS[how])
    named = re.findall(rf'apps\.py", line (\d+),? in guilty_{how}', log)
    return any(first < int(number) < first + len(lines) for number in named)


def in_flight_told(log: str, held: int) -> str:
    """The last number the log gives, of the connections that had a request in flight; and whether it says which."""
    numbers = re.findall(r"(\d+) requests? in flight", log)
    if not numbers:
        return "in flight not told"
    return f"in flight {numbers[-1]} told of {held}{', which too' if HELD in log else ''}"


def hang(scene: Scene, how: str) -> Result:
    """Requests sleep in every worker, then one worker is blocked. Clients that come later meet only the others."""
    with scene.fleet(replace(scene.wish, hang_limit=LIMIT)) as (tree, workers), ExitStack() as stack:
        for _ in range(16):
            stack.callback(Pending(scene.port, HELD).abandon)
        time.sleep(0.2)
        begun = time.monotonic()
        if how == "stop":
            victim = max(workers, key=lambda pid: tree.connections(pid, scene.port))
            tree.signal_member(victim, signal.SIGSTOP)
        else:
            victim = block(scene, how, stack)
        held = tree.connections(victim, scene.port)
        load = stack.enter_context(scene.load(Plan(scene.port, clients=2, keep_alive=False, pause=0.02)))
        gone = until(lambda: not tree.alive(victim), begun + PATIENCE - time.monotonic())
        took = time.monotonic() - begun if gone else None
        back = None
        if gone and until(lambda: set(load.heard) - workers, 5):
            back = min(load.heard[pid] for pid in set(load.heard) - workers) - begun
        others = sum(map(tree.alive, workers - {victim}))
        time.sleep(0.3)
        log = tree.log()
        report = load.stop()
    line = how != "stop" and names_line(log, how)
    values = {"gone": took, "back": back, "line": line, "held": held, "others": others, "kinds": report.describe()}
    if not gone:
        return Result("never seen", values)
    text = f"gone {seconds_text(took)}, replaced {seconds_text(back)}, "
    if how != "stop":
        text += f"{'with' if line else 'without'} the guilty line, "
    text += in_flight_told(log, held)
    if others < WORKERS - 1:
        text += f", {WORKERS - 1 - others} innocent gone"
    return Result(text + f", {plural(len(report.failures), 'other request')} failed", values)


@drill("block", f"blocked loop (time.sleep), limit {LIMIT} s: gone, replaced, guilty line, requests in flight")
def block_sleep(scene: Scene) -> Result:
    return hang(scene, "sleep")


@drill("block-spin", "blocked loop (while True: pass)")
def block_spin(scene: Scene) -> Result:
    return hang(scene, "spin")


@drill("block-regex", "blocked loop (a regular expression in C that holds the interpreter's lock)")
def block_regex(scene: Scene) -> Result:
    return hang(scene, "regex")


@drill("stop", f"a worker SIGSTOPped, limit {LIMIT} s")
def stopped(scene: Scene) -> Result:
    return hang(scene, "stop")


@drill("busy", f"not a hang: loops that are always busy but turn, limit {LIMIT} s: workers killed, failed")
def busy(scene: Scene) -> Result:
    """16 clients whose every request computes for 10 ms: no turn is long, even when others use the machine."""
    with (
        scene.fleet(replace(scene.wish, hang_limit=LIMIT)) as (tree, workers),
        scene.load(Plan(scene.port, clients=16, path="/spin/0.01")) as load,
    ):
        begun, used = time.monotonic(), {pid: cpu_seconds(pid) for pid in workers}
        time.sleep(scene.times(PATIENCE))
        survivors = list(filter(tree.alive, workers))
        cores = sum(cpu_seconds(pid) - used[pid] for pid in survivors) / (time.monotonic() - begun)
        killed = len(workers) - len(survivors)
        warned = told(tree, r"has not run its event loop")
        report = load.stop()
    text = f"{killed} killed, {len(report.failures)} of {report.ok + len(report.failures)} failed"
    text += f" ({cores:.1f} cores in use, slowest answer {report.slowest:.1f} s)"
    text += f", {plural(warned, 'warning')}" if warned else ""
    return Result(text, {"killed": killed, "cores": cores, "kinds": report.describe(), "slowest": report.slowest})


@drill("boot", f"not a hang: an application that boots for 20 s, limit {LIMIT} s; then SIGHUP onto one that does, too")
def slow_boot(scene: Scene) -> Result:
    """At the start the import takes that long, after the SIGHUP the lifespan's startup, which blocks the loop."""
    seconds = scene.times(20)
    scene.write(slow(seconds))
    wish = replace(scene.wish, hang_limit=LIMIT, workers=BOOT_WORKERS)
    with scene.fleet(wish, patience=seconds + 15) as (tree, old):
        took = time.monotonic() - tree.started_at
        boots = len(scene.imports())
        scene.write(f"import apps\napps.BOOT = {seconds}\nfrom apps import slow_lifespan as app\n")
        with scene.load(Plan(scene.port, clients=4, rotate=20, pause=0.01)) as load:
            begun = time.monotonic()
            tree.signal(signal.SIGHUP)
            over = until(lambda: not any(map(tree.alive, old)), BOOT_WORKERS * (seconds + 5) + 10)
            over = over and until(lambda: len(set(load.heard) - old) >= BOOT_WORKERS, seconds + 10)
            rolled = time.monotonic() - begun
            report = load.stop()
        again = len(scene.imports(scene.version))
    text = f"serves after {took:.0f} s, {plural(boots, 'boot')}; reload "
    text += f"took {rolled:.0f} s" if over else "never done"
    text += f", {plural(again, 'boot')}, {len(report.failures)} failed"
    return Result(text, {"boots": [boots, again], "rolled": rolled if over else None, "kinds": report.describe()})
