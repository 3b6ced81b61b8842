"""What a container allows: CPU quotas (`--workers auto`) and memory limits of both versions of control groups, in a
folder that stands in for /; and a real affinity mask."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from programs import run_code
from uvicorn.config import Config
from uvicorn.settings import container

V1 = "5:cpu,cpuacct:/docker/abc\n3:cpuset:/\n"
V1_MEMORY = "6:memory:/docker/abc\n1:name=systemd:/docker/abc\n"
MACHINE = container.memory(Path("/nowhere"))


def lay(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 16),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "300000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "900000 100000", "sys/fs/cgroup/a/b/cpu.max": "400000 100000"}, 4),
        ("0::/host/path\n", {"sys/fs/cgroup/cpu.max": "50000 25000\n"}, 2),
        ("0::/../../other\n", {"sys/fs/cgroup/cpu.max": "50000 10000\n"}, 5),
        ("0::/x\n", {"sys/fs/cgroup/unified/x/cpu.max": "60000 10000\n"}, 6),
        (V1, {"sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n"}, 16),
        (
            V1,
            {
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            V1,
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "700000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            7,
        ),
        ("nonsense", {}, 16),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "many 0 words\n"}, 16),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "100 0\n"}, 16),
    ],
)
def test_the_least_quota_counts(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
    assert container.cpus(lay(tmp_path, cgroup, files), usable=16) == expected


def test_nothing_to_read_is_no_limit(tmp_path: Path) -> None:
    assert container.cpus(tmp_path, usable=16) == 16
    assert container.memory(tmp_path) == MACHINE


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/memory.max": "1000000\n"}, 1000000),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, MACHINE),
        ("0::/\n", {"sys/fs/cgroup/memory.max": f"{10**18}\n"}, MACHINE),
        ("0::/a/b\n", {"sys/fs/cgroup/a/memory.max": "7000", "sys/fs/cgroup/a/b/memory.max": "max"}, 7000),
        ("0::/host/path\n", {"sys/fs/cgroup/memory.max": "8000\n"}, 8000),
        ("0::/../../other\n", {"sys/fs/cgroup/memory.max": "9000\n"}, 9000),
        ("0::/x\n", {"sys/fs/cgroup/unified/x/memory.max": "6000\n"}, 6000),
        (V1_MEMORY, {"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "5000\n"}, 5000),
        (V1_MEMORY, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4000\n"}, 4000),
        (V1, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4000\n"}, MACHINE),
        ("nonsense", {}, MACHINE),
    ],
)
def test_the_lowest_memory_limit_counts(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
    root = lay(tmp_path, cgroup, files)
    assert container.memory(root) == expected
    assert container.memory_per_worker("50%", 2, root) == int(expected * 0.5 / 2)
    assert container.memory_per_worker("2 KiB", 2, root) == 2048
    assert container.memory_per_worker(None, 2, root) == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")
def test_workers_auto_respects_the_affinity() -> None:
    """In a process of its own: a mask cannot be widened again everywhere."""
    code = (
        "import os\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from uvicorn import Config\n"
        "print(Config('app:App', workers='auto').workers)\n"
    )
    ended = run_code(code)
    assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_auto_in_words_and_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = container.cpus()
    assert 1 <= expected <= (os.cpu_count() or math.inf)
    assert Config("app:App", workers="auto", log_config=None).workers == expected
    monkeypatch.setenv("WEB_CONCURRENCY", "auto")
    assert Config("app:App", log_config=None).workers == expected
    assert Config("app:App", workers=7, log_config=None).workers == 7
