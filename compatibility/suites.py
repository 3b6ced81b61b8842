"""Test suites of other projects that start a real server: unchanged, first with the other server, then with ours.

Owns: which suites, at which versions, and what of them is run; fetching their source distributions into the cache
folder; counting. Must not: change a file of theirs, or know what they test. Fails by: CalledProcessError (pip); a test
that fails with us alone is a result.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compatibility.document import Section, table
from compatibility.environments import Environment, cache, pair

MINUTES = 15


@dataclass(frozen=True)
class Reason:
    """Tests that fail with ours because of a decision: their module, their functions without "test_" (both patterns,
    the functions separated by spaces), and what was decided. `maybe`: they pass at times.
    """

    module: str
    functions: str
    why: str
    maybe: bool = False

    def covers(self, name: str) -> bool:
        functions = "|".join(self.functions.split())
        return re.fullmatch(rf"{self.module}::test_({functions})(\[.*\])?", name) is not None


@dataclass(frozen=True)
class Suite:
    """A project, the versions that its tests are run with, and what is left out of them, each for a reason."""

    project: str
    version: str
    requirements: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    extra: str = "[standard]"
    left_out: str = ""
    meant: tuple[Reason, ...] = ()


SUITES = (
    Suite(
        "httpx",
        "0.28.1",
        (
            "httpx[brotli,zstd,socks,http2,cli]==0.28.1",
            "chardet==5.2.*",
            "click==8.1.*",
            "pytest==8.3.*",
            "trio==0.27.*",
            "trustme==1.2.*",
        ),
        ("-m", "not network"),
        extra="",
        left_out="3 that its own marker says need the internet",
        meant=(
            Reason(
                "tests.test_main",
                r"\w+",
                "they want `Transfer-Encoding: chunked` where ours sends a Content-Length, since the body is one piece",
            ),
        ),
    ),
    Suite("httpx-ws", "0.9.0", ("httpx-ws==0.9.0", "pytest", "pytest-cov", "starlette", "trio")),
    Suite(
        "python-socketio",
        "5.18.1",
        (
            "python-socketio==5.18.1",
            *("simple-websocket", "requests", "websocket-client", "aiohttp", "msgpack", "redis", "valkey"),
            *("pytest", "pytest-asyncio", "pytest-timeout", "pytest-cov"),
        ),
        ("-p", "no:logging", "--timeout=60"),
        extra="",
    ),
    Suite(
        "sse-starlette",
        "3.7.0",
        ("sse-starlette==3.7.0", "asgi-lifespan", "httpx2", "pytest", "pytest-asyncio", "pytest-cov", "testcontainers"),
        (
            *(
                f"--ignore=tests/{name}.py"
                for name in (
                    *("test_broadcasting_example", "test_issue132", "test_issue152", "test_issue167"),
                    *("test_multi_loop", "test_sse"),
                )
            ),
        ),
        left_out="six files that want others which the source distribution lacks (its conftest.py, for one)",
    ),
)


@dataclass
class Outcome:
    """What became of a suite's tests, by name, and how many servers they started in their own process."""

    tests: dict[str, str]
    servers: int
    output: str

    def count(self, outcome: str) -> int:
        return sum(one == outcome for one in self.tests.values())

    def __str__(self) -> str:
        words = [f"{self.count(what)} {what}" for what in ("passed", "failed", "skipped") if self.count(what)]
        return ", ".join(words) or "no test was run"


COUNTER = '''"""Counts the servers that a test suite starts, whichever package they are of."""

import functools
import os

import uvicorn

startup = uvicorn.Server.startup


@functools.wraps(startup)
async def counted(self, *arguments, **named):
    with open(os.environ["COMPATIBILITY_COUNT"], "a") as file:
        file.write(".")
    return await startup(self, *arguments, **named)


uvicorn.Server.startup = counted
'''


def source(suite: Suite) -> Path:
    """The unpacked source distribution."""
    place = cache() / "sources"
    folder = place / f"{suite.project.replace('-', '_')}-{suite.version}"
    if not folder.exists():
        print(f"fetching the source distribution of {suite.project} {suite.version} …", file=sys.stderr)
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as fetched:
            command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
            command += ["--no-binary", ":all:", "--dest", fetched, f"{suite.project}=={suite.version}"]
            subprocess.run(command, check=True)
            with tarfile.open(next(Path(fetched).glob("*.tar.gz"))) as archive:
                members = [one for one in archive.getmembers() if _is_wanted(one.name)]
                archive.extractall(place, members, filter="data")
    return folder


def _is_wanted(name: str) -> bool:
    """Tests, and the files beside them that tell a test runner what to do: nothing else of a project is needed."""
    parts = name.split("/")
    return len(parts) == 2 or (len(parts) > 2 and parts[1] == "tests")


def examine(suite: Suite, environment: Environment) -> Outcome:
    """The suite in a fresh copy of its source, without the package itself: the installed one is tested."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(source(suite) / "tests", place / "tests")
        for name in ("pyproject.toml", "setup.cfg", "README.md"):
            if (source(suite) / name).exists():
                shutil.copy(source(suite) / name, place)
        (place / "counter").mkdir()
        (place / "counter" / "counts_servers.py").write_text(COUNTER)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("UVICORN_", "PYTHON"))}
        env |= {"PYTHONPATH": str(place / "counter"), "COMPATIBILITY_COUNT": str(place / "count")}
        command = [str(environment.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "counts_servers"]
        command += ["--override-ini=addopts=", "--junitxml", str(place / "report.xml"), *suite.arguments, "tests"]
        with (place / "output").open("w+") as output:
            try:
                subprocess.run(
                    command,
                    cwd=place,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=MINUTES * 60,
                )
            except subprocess.TimeoutExpired:
                print(f"{suite.project}: not over after {MINUTES} minutes", file=sys.stderr)
        count, report = place / "count", place / "report.xml"
        tests = dict(outcomes(report)) if report.exists() else {}
        return Outcome(tests, count.stat().st_size if count.exists() else 0, (place / "output").read_text())


def outcomes(report: Path) -> Iterator[tuple[str, str]]:
    """The tests of a JUnit report, and what became of each."""
    for test in xml.etree.ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in test}
        what = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        yield f"{test.get('classname')}::{test.get('name')}", what


def worse(theirs: Outcome, ours: Outcome) -> list[str]:
    """The tests that pass there and do not here."""
    return [name for name, what in theirs.tests.items() if what == "passed" and ours.tests.get(name) != "passed"]


def explained(suite: Suite, theirs: Outcome, ours: Outcome) -> tuple[dict[Reason, list[str]], list[str]]:
    """The tests that pass with the other server only: (by the decision that explains them, all others)."""
    found: dict[Reason, list[str]] = {reason: [] for reason in suite.meant}
    others: list[str] = []
    for name in worse(theirs, ours):
        reason = next((one for one in suite.meant if one.covers(name)), None)
        (others if reason is None else found[reason]).append(name)
    return found, others


def row(suite: Suite, theirs: Outcome, ours: Outcome) -> list[str]:
    found, _ = explained(suite, theirs, ours)
    said = [f"left out: {suite.left_out}"] * bool(suite.left_out)
    said += [f"{len(names)} fail with ours alone: {reason.why}" for reason, names in found.items() if names]
    return [f"{suite.project} {suite.version}", str(ours.servers), str(theirs), str(ours), "; ".join(said) or "–"]


def run(only: Sequence[str] = ()) -> Section:
    rows, failures, remarks = [], [], []
    for suite in SUITES:
        if only and suite.project not in only:
            continue
        environments = pair(f"suite-{suite.project}", suite.requirements, suite.extra)
        print(f"{suite.project}, twice …", file=sys.stderr)
        theirs, ours = (examine(suite, one) for one in (environments.peer, environments.ours))
        rows.append(row(suite, theirs, ours))
        _, others = explained(suite, theirs, ours)
        failures += [f"{suite.project}: {name} passes with the other server only" for name in others]
        if not (theirs.tests and ours.tests and theirs.servers and ours.servers):
            failures.append(f"{suite.project}: no test was run, or no server started")
        if failures:
            remarks += [re.sub("(?m)^", "    ", one.output[-4000:]) for one in (theirs, ours)]
        failed = [name for name, what in theirs.tests.items() if what == "failed"]
        remarks += [f"{suite.project}: {name}: failed there, {ours.tests.get(name)} here" for name in failed]
    heads = ["project", "servers it starts", "uvicorn 0.54", "ours", "remarks"]
    return Section("suites", "\n".join(table(heads, rows)), failures, remarks)
