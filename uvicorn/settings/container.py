"""What the machine, or the container that we run in, allows this process: CPUs and memory.

Owns: the walk through the control groups above this process (version 1 and version 2), what `--workers auto` comes to,
and the sizes of `--limit-worker-memory` ("512MB", "80%" of the container's limit).

The number of CPUs is the smallest of the affinity mask (which a cpuset also sets) and the CPU quota of every control
group from ours up to the root. A quota of 1.5 CPUs gives two workers: a worker uses one CPU at most, so a single worker
would leave a third of the quota unused.

Control groups are read where they are usually mounted. In a container without a control group namespace, the path in
/proc/self/cgroup is the host's and does not exist below the mount point; the walk then ends at the mount point itself,
which is the container's own group.

Must not: measure a process, or cache a number. Fails by: `ConfigError` for text that is not a size; files that cannot
be read set no limit.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from uvicorn.errors import ConfigError

_V2_MOUNTS: tuple[str, ...] = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_V1_MOUNTS: dict[str, tuple[str, ...]] = {
    "cpu": ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"),
    "memory": ("sys/fs/cgroup/memory",),
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def cpus(root: Path = Path("/"), usable: int | None = None) -> int:
    """The number of CPUs that this process may use, rounded up; at least 1.

    `root` is the folder that holds /proc and /sys; `usable` replaces the size of the affinity mask.
    """
    if usable is None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_cpu_quotas(root), default=math.inf)
    return max(1, usable if quota >= usable else math.ceil(quota))


def memory(root: Path = Path("/")) -> int:
    """The bytes of memory that this process and its children may use: the machine's, or a lower limit of a control
    group above this process. `root` is the folder that holds /proc and /sys.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_memory_limits(root)])


def parse_size(text: str | int) -> int | float:
    """A size as bytes (int) or a share of the container's memory limit (float, 0.8 for "80%").

    Units are powers of 1000 ("512MB"), or of 1024 with an i ("1.5 GiB"). Raises ConfigError.
    """
    text = str(text).strip()
    if found := _SHARE.fullmatch(text):
        share = float(found[1]) / 100
        if share <= 1:
            return share
    elif found := _SIZE.fullmatch(text):
        base = 1024 if found[3] else 1000
        return int(min(float(found[1]) * base ** _POWERS[found[2].lower()], 2.0**62))
    raise ConfigError(f"--limit-worker-memory must be a size like 512MB or a share like 80%, not {text!r}.")


def memory_per_worker(limit: str | int | None, workers: int, root: Path = Path("/")) -> int:
    """The bytes that each of `workers` may use; 0 for no limit. Raises ConfigError."""
    size = parse_size(limit) if limit is not None else 0
    if isinstance(size, int):
        return size
    return int(memory(root) * size / workers)


# -- control groups --------------------------------------------------------------------------------------------


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """(version, folder) of every control group with this controller, from our own up to the root."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            version, mounts = 2, _V2_MOUNTS
        elif controller in controllers.split(","):
            version, mounts = 1, _V1_MOUNTS[controller]
        else:
            continue
        names = [name for name in PurePosixPath(path).parts if name not in ("/", "..")]
        for mount in mounts:
            for depth in range(len(names), -1, -1):
                yield version, (root / mount).joinpath(*names[:depth])


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Every CPU quota that applies, in CPUs. "max" and -1 are no quota."""
    for version, group in _groups(root, "cpu"):
        if version == 2:
            words = _read(group / "cpu.max").split()
        else:
            words = [_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")]
        try:
            quota, period = map(int, words)
        except ValueError:
            continue
        if quota > 0 and period > 0:
            yield quota / period


def _memory_limits(root: Path) -> Iterator[int]:
    """Every memory limit that applies, in bytes. "max" is no limit."""
    for version, group in _groups(root, "memory"):
        text = _read(group / ("memory.max" if version == 2 else "memory.limit_in_bytes")).strip()
        if text.isdigit():
            yield int(text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
