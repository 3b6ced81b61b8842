"""The end: of the service, of the master, and of processes whose parents died before them.

Owns: the drills about SIGTERM with requests in flight, about workers without a master, and about PID 1.
Must not: be skipped silently. Without the right to make a namespace the cell says so.
Fails by: a cell that says what is left.
"""

from __future__ import annotations

import signal
import subprocess
import time

from benchmarks.drills.scene import Result, Scene, drill, until
from benchmarks.exchange import Pending
from benchmarks.processes import all_pids, stat_fields


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
        made = sum(Pending(scene.port, "/orphan").finish() is not None for _ in range(3))
        time.sleep(1.5)
        zombies = 0
        for pid in all_pids():
            fields = stat_fields(pid)
            zombies += fields is not None and fields[0] == "Z" and int(fields[3]) == tree.pid
        alive = tree.process.poll() is None
    text = f"{zombies} of {made}"
    return Result(f"{text}{'' if alive else ', the server died'}", {"zombies": zombies, "orphans": made})
