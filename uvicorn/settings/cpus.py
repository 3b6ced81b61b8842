"""How many CPUs this process may use: what `--workers auto` means.

Owns: the least of three answers: the affinity mask (also what a cpuset allows), and the CPU quota of every control
group from ours up to the root, version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us`). A quota of one and a half is
two workers: each is one thread, so a single one would leave a third of the quota to nobody, while two share what there
is. The files are read where they are mounted by habit. Inside a container without a namespace for
control groups the path in /proc is the host's and is not found below the mount point: walking up ends at the mount
point itself, which then is the container's own group.

Must not: know what the number is for, or cache it. Fails by: nothing; what cannot be read is no limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

_V2_MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_V1_MOUNTS = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")


def available(root: Path = Path("/"), usable: int | None = None) -> int:
    """Whole CPUs, at least 1. `usable` stands in for the affinity mask."""
    if usable is None:
        usable = _affinity()
    quota = min(_quotas(root), default=math.inf)
    return max(1, usable if quota >= usable else math.ceil(quota))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Every quota that binds this process, in CPUs."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from _walk(root, _V2_MOUNTS, path, _quota_v2)
        elif "cpu" in controllers.split(","):
            yield from _walk(root, _V1_MOUNTS, path, _quota_v1)


def _walk(root: Path, mounts: tuple[str, ...], path: str, quota: Callable[[Path], float | None]) -> Iterator[float]:
    names = [name for name in PurePosixPath(path).parts if name not in ("/", "..")]
    for mount in mounts:
        for depth in range(len(names), -1, -1):
            found = quota((root / mount).joinpath(*names[:depth]))
            if found is not None:
                yield found


def _quota_v2(group: Path) -> float | None:
    words = _read(group / "cpu.max").split()
    return _ratio(*words) if len(words) == 2 else None


def _quota_v1(group: Path) -> float | None:
    return _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """CPUs; None for "max", -1 and whatever is no pair of numbers."""
    try:
        allowed, every = int(quota), int(period)
    except ValueError:
        return None
    return allowed / every if allowed > 0 and every > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
