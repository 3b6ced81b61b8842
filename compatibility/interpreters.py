"""The project's own tests under other interpreters, each in an environment with what of the extras can be had for it.

Owns: which interpreters are found, their environments in the cache folder, and the table of what passed. Must not: know
what the tests test. Fails by: CalledProcessError where an environment cannot be made; a requirement that cannot be
installed is named in the table, and the tests that need it skip; a test that fails is a result.
"""

from __future__ import annotations

import configparser
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compatibility import document
from compatibility.document import Section, table
from compatibility.environments import ROOT, Environment, base, checkout
from compatibility.suites import Outcome, outcomes

NAMES = (*(f"python3.{minor}" for minor in range(10, 20)), "pypy3")
INSTALLED = ("sid", "trixie")
"""The folders of scripts/install-interpreters."""
NEEDED = ("pytest", "click", "h11")
MINUTES = 45
INSTALL_SECONDS = 120
"""A build that takes longer waits for something that is not there, a compiler's own packages for example."""

ASK = """
import importlib.util, json, platform, sys
there = [name for name in ("asyncio", "uvloop", "h11", "httptools") if importlib.util.find_spec(name)]
name, version = platform.python_implementation(), platform.python_version()
if hasattr(sys, "pypy_version_info"):
    name, version = "%s %d.%d.%d" % (name, *sys.pypy_version_info[:3]), version
print(json.dumps({"name": name, "version": version, "there": there}))
"""


@dataclass(frozen=True)
class Interpreter:
    """What a Python says of itself, and the parts of ours that can be imported in it."""

    python: str
    name: str
    version: str
    there: tuple[str, ...] = ()

    @property
    def loops_and_parsers(self) -> str:
        loops, parsers = (
            [one for one in pair if one in self.there] for pair in (("asyncio", "uvloop"), ("h11", "httptools"))
        )
        return f"{', '.join(loops)}; {', '.join(parsers)}"


def ask(python: str) -> Interpreter:
    answer = json.loads(subprocess.run([python, "-c", ASK], check=True, capture_output=True, text=True).stdout)
    return Interpreter(python, answer["name"], answer["version"], tuple(answer["there"]))


def found() -> list[str]:
    """On PATH, and in the folders of scripts/install-interpreters."""
    paths = [shutil.which(name) for name in NAMES]
    for suite in INSTALLED:
        folder = base() / "uvicorn-interpreters" / suite / "usr" / "bin"
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        paths += [str(folder / name) for name in names if re.fullmatch(r"(python|pypy)3\.\d+", name)]
    return [path for path in paths if path and works(path)]


def works(python: str) -> bool:
    """A name on PATH may be an empty promise, and a Debian's python3 has no venv without a package of its own."""
    code = "import sys, venv; sys.exit(sys.version_info < (3, 10) or sys.version_info.releaselevel != 'final')"
    return subprocess.run([python, "-c", code], capture_output=True, timeout=60).returncode == 0


def unlike(pythons: Iterable[str]) -> list[Interpreter]:
    """One interpreter of each name and version, in their order."""
    known: dict[tuple[str, str], Interpreter] = {}
    for python in pythons:
        one = ask(python)
        known.setdefault((one.name, one.version), one)
    return list(known.values())


def requirements() -> list[str]:
    """What the package itself and its extras `standard` and `test` want."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lists = (
        settings["options"]["install_requires"],
        *(settings["options.extras_require"][e] for e in ("standard", "test")),
    )
    lines = [line.strip() for text in lists for line in text.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


def environment(interpreter: Interpreter) -> tuple[Environment, list[str]]:
    """One with our package as it is now, and what could not be installed into it."""
    label = re.sub(r"[^a-z0-9.]+", "-", f"{interpreter.name}-{interpreter.version}".lower())
    place = base() / "uvicorn-compatibility" / "interpreters" / label
    made, complete = Environment(place), place / "complete"
    wanted = "\n".join([interpreter.python, *requirements()])
    if not complete.exists() or json.loads(complete.read_text())["made from"] != wanted:
        print(f"making {place} …", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([interpreter.python, "-m", "venv", "--without-pip", str(place)], check=True)
        missing = [one for one in requirements() if not install(made, one)]
        if unfit := [one for one in missing if re.split(r"\W", one)[0] in NEEDED]:
            raise RuntimeError(f"{interpreter.python}: without {', '.join(unfit)} nothing can be tested")
        complete.write_text(json.dumps({"made from": wanted, "without": missing}))
    with checkout() as source:
        pip(made, "install", "--quiet", "--no-deps", "--force-reinstall", str(source)).check_returncode()
    return made, [re.split(r"\W", one)[0] for one in json.loads(complete.read_text())["without"]]


@functools.cache
def installer() -> Environment:
    """One with the newest pip: other interpreters may come without, and an older one does not run in a newer Python."""
    made = Environment(base() / "uvicorn-compatibility" / "pip")
    venv.create(made.path, with_pip=True, clear=True)
    made.pip("install", "--quiet", "--upgrade", "pip")
    return made


def pip(into: Environment, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    ours = [str(installer().python), "-m", "pip", "--disable-pip-version-check"]
    command = [*ours, "--python", str(into.python), *arguments]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=INSTALL_SECONDS)


def install(into: Environment, requirement: str) -> bool:
    """Whether it is there now: an older wheel is better than a build, which may want a compiler that is not there."""
    try:
        return pip(into, "install", "--quiet", "--prefer-binary", requirement).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def examine(interpreter: Interpreter, into: Environment, parts: Sequence[str]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        report, output = Path(folder) / "report.xml", Path(folder) / "output"
        env = {name: value for name, value in os.environ.items() if not name.startswith(("UVICORN_", "PYTHON"))}
        command = [str(into.path / "bin" / "pytest"), "-q", "-p", "no:cacheprovider", "-m", "not system"]
        with output.open("w") as file:
            try:
                subprocess.run(
                    [*command, "--junitxml", str(report), *parts],
                    cwd=ROOT,
                    env=env | {"UVICORN_TEST_INSTALLED": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=MINUTES * 60,
                )
            except subprocess.TimeoutExpired:
                print(f"{interpreter.name}: not over after {MINUTES} minutes", file=sys.stderr)
        return Outcome(dict(outcomes(report)) if report.exists() else {}, 0, output.read_text())


def row(interpreter: Interpreter, outcome: Outcome, without: Sequence[str]) -> list[str]:
    counts = [str(outcome.count(what)) for what in ("passed", "skipped", "failed")]
    name = [interpreter.name, interpreter.version, interpreter.loops_and_parsers]
    return [*name, *counts, ", ".join(without) or "–"]


def faults(interpreter: Interpreter, tests: Mapping[str, str]) -> list[str]:
    whose = f"{interpreter.name} {interpreter.version}"
    if "passed" not in tests.values():
        return [f"{whose}: no test was run"]
    return [f"{whose}: {name} fails" for name, what in tests.items() if what == "failed"]


def run(only: Sequence[str] = (), given: Sequence[str] = ()) -> Section:
    """`only` names files or folders of the tests, `given` the interpreters, whose lines are exchanged then; else the
    tests are all, with all that are found.
    """
    rows: list[Sequence[str]] = []
    failures, remarks = [], []
    for bare in unlike(given or found()):
        into, without = environment(bare)
        interpreter = ask(str(into.python))
        print(f"{interpreter.name} {interpreter.version} …", file=sys.stderr)
        outcome = examine(interpreter, into, only)
        rows.append(row(interpreter, outcome, without))
        wrong = faults(interpreter, outcome.tests)
        remarks += [re.sub("(?m)^", "    ", outcome.output[-4000:])] * bool(wrong)
        failures += wrong
    if given and not only:
        old = document.rows(document.PATH.read_text(encoding="utf-8"), "interpreters")
        rows = document.exchanged(old, rows, lambda line: tuple(line[:2]))
    heads = ["interpreter", "Python", "loops; parsers", "passed", "skipped", "failed", "not installable"]
    return Section("interpreters", "\n".join(table(heads, rows)), failures, remarks)
