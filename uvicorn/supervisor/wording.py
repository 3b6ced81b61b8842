"""What a person reads about workers: one place, so that the same fact has the same words.

Owns: sentences. Must not: decide, or name anything that the machine does not know. Fails by: nothing.
"""

from __future__ import annotations

from uvicorn.supervisor.handle import WorkerHandle

STARTUP_FAILED = "Application startup failed. Exiting."
"""What a lifespan's failure ends with."""


def death(w: WorkerHandle) -> str:
    """How it died; a SIGKILL is attributed."""
    if not w.exit_signal:
        return f"exited with status {w.exit_code}"
    if w.exit_signal != "SIGKILL":
        return f"was killed by {w.exit_signal}"
    if w.kill_reason:
        return f"was killed by us: {w.kill_reason}"
    return "was killed by SIGKILL from outside (by the kernel because memory ran out, or by another program)"


def boot_failure(w: WorkerHandle) -> str:
    """Why a worker never served: its own words if it said any."""
    if w.cause:
        return w.cause
    if w.kill_reason:
        return f"{w.name} was killed by us: {w.kill_reason}."
    return f"{w.name} {death(w)} before it was ready, and reported no reason."


def records(cause: str) -> list[str]:
    """The texts of the log records for the end of a service: a lifespan that failed is two, the application's own words
    and the sentence."""
    words, _, sentence = cause.rpartition("\n")
    return [words, sentence] if words and sentence == STARTUP_FAILED else [cause]


def headline_first(reason: str) -> str:
    """A traceback ends with what matters; after a colon that has to come first."""
    if not reason.startswith("Traceback"):
        return reason
    above, _, last = reason.rpartition("\n")
    return f"{last}\n{above}"


def early_death(w: WorkerHandle, now: float) -> str:
    text = f"{w.name} {death(w)} {now - w.ready_at:.1f} s after it was ready."
    return f"{text}\n{w.cause}" if w.cause else text


def crash(w: WorkerHandle) -> str:
    text = f"{w.name} {death(w)}; replacing it."
    return f"{text}\n{w.cause}" if w.cause else text


def polite_exit(w: WorkerHandle) -> str:
    return f"{w.name} {death(w)} without being asked to, as after a SIGTERM from outside; replacing it."


def gone(w: WorkerHandle) -> str:
    return f"{w.name} {death(w)}."


def hung(w: WorkerHandle, now: float) -> str:
    since = f"{now - w.beat:.1f} s"
    return f"{w.name} has not run its event loop for {since} ({requests(w.in_flight)} in flight)"


def watchdog(ticking: int, loops: int) -> str:
    still = f"{loops - ticking} of {loops} event loops do not run"
    return f"{still}: the service manager's watchdog is not answered, and restarts the service if this lasts."


def serving(ready: int, target: int, generation: int, reload: str) -> str:
    """`reload`: "" or what is to be said of the last one."""
    text = f"{ready} of {target} workers ready, generation {generation}"
    return f"{text}, {reload}" if reload else text


def all_ready(target: int) -> str:
    return f"ready: {workers(target)}"


def figures(in_flight: int, served: int) -> str:
    """To be appended; nothing as long as there is nothing to tell."""
    return f", {requests(in_flight)} in flight, {served} served" if in_flight or served else ""


def requests(count: int) -> str:
    return f"{count} request{'' if count == 1 else 's'}"


def too_old(age: float) -> str:
    return f"has served for {age:.0f} s"


def too_large(size: int, limit: int) -> str:
    return f"uses {_memory(size)}, more than its limit of {_memory(limit)}"


def small_limit(w: WorkerHandle, size: int, limit: int, now: float) -> str:
    return (
        f"{w.name} uses {_memory(size)} within {now - w.ready_at:.0f} s of its start, and --limit-worker-memory allows"
        f" {_memory(limit)}: with this limit, workers are replaced again and again."
    )


def _memory(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1_000_000 else f"{size:.0f} bytes"


def workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"


def wanted(signal: str, count: int, otherwise: int) -> str:
    """`otherwise`: what a reload that fails leaves."""
    text = f"Received {signal}: {workers(count)} wanted"
    return f"{text}." if count == otherwise else f"{text}, {otherwise} if the reload fails."


def generations(found: set[int]) -> str:
    numbers = [str(number) for number in sorted(found)]
    return f"generation {numbers[0]}" if len(numbers) == 1 else "generations " + " and ".join(numbers)


def changed(by: str, paths: tuple[str, ...], total: int) -> str:
    names = ", ".join(f"'{path}'" for path in paths[:5])
    if total > 5:
        names += f" and {total - 5} more"
    return f"{by} detected changes in {names}. Reloading..."
