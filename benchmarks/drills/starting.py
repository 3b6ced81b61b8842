"""Starting: an application that cannot, and how soon and how small one that can.

Owns: the drills about boot failures (exit code, how soon, what is logged) and about start time and memory.
Must not: wait more than ten seconds for a server that retries for ever.
Fails by: a cell that says "never exits".
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

from benchmarks.drills.scene import TRACEBACK, WORKERS, Result, Scene, drill, plural, told, until
from benchmarks.processes import StartFailed

PURPOSE = "broken on purpose"


def watch_failing_start(scene: Scene, *, workers: int, seconds: float = 10.0) -> tuple[str, dict[str, Any]]:
    before = len(scene.imports())
    with scene.server(replace(scene.wish, workers=workers)) as tree:
        code = tree.wait(seconds)
        took = time.monotonic() - tree.started_at
        until(lambda: code is None or not tree.members(), 0.5)
        left = len(tree.members())
        lines, tracebacks = len(tree.log().splitlines()), tree.log().count(TRACEBACK)
        reasons = told(tree, rf"(?m)^(?!\s*raise ).*{PURPOSE}")
    boots = len(scene.imports()) - before
    values = {"code": code, "seconds": took, "boots": boots, "lines": lines, "tracebacks": tracebacks}
    values |= {"left": left, "reasons": reasons}
    if code is None:
        return f"never exits: {plural(boots, 'boot')} in {seconds:.0f} s, {lines} log lines", values
    text = f"exit {code} after {took:.2f} s, {plural(boots, 'boot')}, {lines} log lines, "
    text += plural(tracebacks, "traceback")
    return text + (f", {left} processes left" if left else ""), values


@drill("import", "the application raises at import, 4 workers")
def import_raises(scene: Scene) -> Result:
    scene.write(f"raise RuntimeError({PURPOSE!r})\n")
    text, values = watch_failing_start(scene, workers=WORKERS)
    return Result(f"{text}, the reason told {values['reasons']}×", values)


@drill("exit", "the application calls os._exit at import, 4 workers")
def exit_at_import(scene: Scene) -> Result:
    scene.write("_os._exit(7)\n")
    return Result(*watch_failing_start(scene, workers=WORKERS))


@drill("lifespan", "lifespan startup fails, with 1 worker and with 4")
def lifespan_fails(scene: Scene) -> Result:
    parts, values = [], {}
    scene.write("from apps import failing_lifespan as app\n")
    for workers in (1, WORKERS):
        text, values[str(workers)] = watch_failing_start(scene, workers=workers)
        parts.append(f"{workers}: {text}, the reason told {values[str(workers)]['reasons']}×")
    return Result("; ".join(parts), values)


@drill("start", "from the command to all four answering, PSS of the tree (medians)")
def start_up(scene: Scene) -> Result:
    times, sizes = [], []
    for _ in range(scene.times(7)):
        with scene.server() as tree:
            heard = scene.ask(WORKERS, 15)
            if len(heard) < WORKERS:
                raise StartFailed(f"only {len(heard)} workers answered", None, tree.log_tail())
            times.append(max(heard.values()) - tree.started_at)
            time.sleep(0.3)
            sizes.append(tree.pss() / 1e6)
            tree.stop()
    text = f"{statistics.median(times):.2f} s ({min(times):.2f}–{max(times):.2f}) / {statistics.median(sizes):.0f} MB"
    return Result(text, {"seconds": times, "pss": sizes})
