"""Sizes of memory: what a person writes, and what the machine or its container allows.

Owns: "512MB" → bytes, and "80%" of the limit that the control group sets (all of the machine's memory where none
does). Must not: measure a process. Fails by: ConfigError for text that is no size.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from uvicorn.errors import ConfigError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse(text: str | int) -> int | float:
    """Bytes as an int ("512MB", "1.5 GiB", "1000000"; units are powers of 1000, or of 1024 with an i), or a share of
    the limit as a float ("80%" is 0.8). Raises ConfigError.
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


def per_worker(limit: str | int | None, workers: int, root: Path = Path("/")) -> int:
    """Bytes that one of `workers` may occupy; 0 for no limit. `root` is where /sys and /proc are."""
    wanted = parse(limit) if limit is not None else 0
    if isinstance(wanted, int):
        return wanted
    return int(available(root) * wanted / workers)


def available(root: Path = Path("/")) -> int:
    """Bytes that the control group allows this process and its children, at most what the machine has."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_group_limits(root)])


def _group_limits(root: Path) -> Iterator[int]:
    """The limit of every group above this process: version 2 (`memory.max`), and version 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path)
        for place in (group, *group.parents):  # a container sees itself as the root, whatever the path says
            try:
                text = (base / str(place).lstrip("/") / name).read_text().strip()
            except OSError:
                continue
            if text.isdigit():
                yield int(text)
