"""Programs that are built on the package of the same name, started, visited, changed and ended as a person does it.

Owns: the steps and their bounds, what a step failed by, and the section that is written. Must not: know a program
(those are in the catalogue). Fails by: CalledProcessError (pip, a program's first command); a step that fails is a
result.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compatibility import document
from compatibility.catalogue import AFTER, BEFORE, PROGRAMS, Program
from compatibility.document import Section, table, version_of
from compatibility.environments import Environment, pair
from compatibility.terminal import Terminal, free, listening, until
from compatibility.visitor import FAULTS, Visitor
from compatibility.wire import HOST

START, ANSWER, LEAVE = 180.0, 45.0, 30.0
"""Seconds that a program has to listen, to give the answer that is wanted, to be gone. No figures: bounds."""
READING = 2.0
"""Seconds without a new line before Ctrl-C: a person reads first, and some programs serve before they listen to the key
(Gradio drops one that comes while it still starts, under either package).
"""
STEPS = ("start", "serve", "reload", "Ctrl-C")
QUIET = {
    "HTTP_PROXY": f"http://{HOST}:9",
    "HTTPS_PROXY": f"http://{HOST}:9",
    "NO_PROXY": f"{HOST},localhost",
    "DO_NOT_TRACK": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
}
"""Nothing leaves loopback: no telemetry, and whoever calls somebody all the same finds a closed port."""


@dataclass
class Outcome:
    """What became of the steps: "" for one that passed, else why it did not. One that is not there was not tried."""

    steps: dict[str, str] = field(default_factory=dict)
    codes: list[int | None] = field(default_factory=list)
    """The exit codes, one for each time it was started."""
    output: str = ""

    def note(self, step: str, why: str) -> bool:
        """Whether it passed. What it failed by first is what it fails by."""
        self.steps[step] = self.steps.get(step) or why
        return not why

    def passed(self, step: str) -> bool:
        return self.steps.get(step) == ""


class Run:
    """A program in a folder and a terminal of its own, from its start (by `with`) to its end."""

    def __init__(self, program: Program, environment: Environment, command: Sequence[str]) -> None:
        self.program, self.environment, self.command = program, environment, command

    def __enter__(self) -> Run:
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uc-", ignore_cleanup_errors=True)))
            self.folder = home / "project"
            self.folder.mkdir()
            for name, text in self.program.files.items():
                (self.folder / name).write_text(text)
            with socket.socket() as sock:
                sock.bind((HOST, 0))
                self.port = sock.getsockname()[1]
            path = os.pathsep.join([str(self.environment.path / "bin"), os.defpath])
            variables = {"PATH": path, "HOME": str(home), "TMPDIR": str(home), "PORT": str(self.port)}
            variables |= {**QUIET, **self.program.environment}
            if self.program.first:
                words = self._words(self.program.first)
                subprocess.run(words, check=True, cwd=self.folder, env=variables, capture_output=True, timeout=START)
            self.terminal = stack.enter_context(Terminal(self._words(self.command), self.folder, variables))
            self.visits = stack.enter_context(contextlib.ExitStack())
            self._all = stack.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._all.close()

    def _words(self, command: Sequence[str]) -> list[str]:
        first, *others = (word.format(port=self.port) for word in command)
        return [str(self.environment.path / "bin" / first), *others]

    def _unless_ended(self, why: str) -> str:
        return f"it ended with {self.terminal.process.returncode}" if self.terminal.ended() else why

    def starts(self) -> str:
        """ "" once it listens."""
        listens = until(lambda: listening(self.port) or self.terminal.ended(), START)
        return self._unless_ended("" if listens else "it does not listen")

    def answers(self, wanted: str) -> str:
        """ "" once a visit brings that answer. Its connections stay open, until a later one does not bring its own."""
        seen = ""

        def brings_it() -> bool:
            nonlocal seen
            visitor = Visitor(self.port)
            try:
                seen = self.program.visit(visitor)
            except FAULTS as error:
                seen = f"{type(error).__name__}: {error}"
            if wanted in seen:
                self.visits.callback(visitor.close)
            else:
                visitor.close()
                self.visits.close()
            return wanted in seen or self.terminal.ended()

        until(brings_it, ANSWER)
        return "" if wanted in seen else self._unless_ended(f"no {wanted!r} in {seen[-300:]!r}")

    def reloads(self) -> str:
        """ "" once the new answer comes. The file is saved twice: some look at files only a while after they serve."""
        file, why = self.folder / self.program.changed, ""
        for _ in range(2):
            file.write_text(file.read_text().replace(BEFORE, AFTER))
            why = self._told() or self.answers(BEFORE) if self.program.said else self.answers(AFTER)
            if not why:
                break
        return why

    def _told(self) -> str:
        """ "" once it says that it reloads."""
        until(lambda: re.search(self.program.said, self.terminal.said()) or self.terminal.ended(), ANSWER)
        told = re.search(self.program.said, self.terminal.said())
        return "" if told else self._unless_ended("it does not say that it reloads")

    def leaves(self) -> str:
        """ "" if Ctrl-C ends it and all its processes, and the port is free."""
        terminal = self.terminal
        until(lambda: time.monotonic() - terminal.wrote_at > READING, LEAVE)
        terminal.processes()  # those that hide later are known now
        terminal.keys("\x03")
        question, reply = self.program.goodbye
        if question and until(lambda: re.search(question, terminal.said()), LEAVE):
            terminal.keys(reply)
        if not until(terminal.ended, LEAVE):
            return f"still runs {LEAVE:g} s after Ctrl-C"
        if not until(lambda: not terminal.processes(), LEAVE):
            return f"leaves processes behind: {', '.join(map(str, terminal.processes()))}"
        return "" if free(self.port) else "leaves the port in use"


def examine(program: Program, environment: Environment) -> Outcome:
    """Every step that can be tried: a command that reloads is started for itself if it is another one."""
    outcome = Outcome()
    for command in dict.fromkeys(filter(None, (program.command, program.reloads))):
        with Run(program, environment, command) as run:
            served = outcome.note("start", run.starts()) and outcome.note("serve", run.answers(BEFORE))
            if served and command == program.reloads:
                outcome.note("reload", run.reloads())
            if not run.terminal.ended():
                outcome.note("Ctrl-C", run.leaves())
            outcome.codes.append(run.terminal.process.poll())
            outcome.output += f"$ {' '.join(command)}\n{run.terminal.said()}\n"
    return outcome


def cell(program: Program, step: str, theirs: Outcome, ours: Outcome) -> str:
    """What stands in the table."""
    if ours.passed(step):
        return "passes" if theirs.passed(step) or step not in program.reasons else f"passes; {program.reasons[step]}"
    return program.reasons.get(step) or f"fails: {ours.steps.get(step, 'not tried')}"


def faults(program: Program, theirs: Outcome, ours: Outcome) -> list[str]:
    """The steps that fail without a reason."""
    return [
        f"{program.name}: {step}: {ours.steps.get(step, 'not tried')}; {there(step, theirs)}"
        for step in STEPS
        if not ours.passed(step) and step not in program.reasons
    ]


def there(step: str, theirs: Outcome) -> str:
    return f"with the other package: {theirs.steps.get(step, 'not tried') or 'passes'}"


def remarks(program: Program, theirs: Outcome, ours: Outcome) -> list[str]:
    """What is odd: steps that the other package fails, other exit codes, a traceback with ours alone, which may be a
    matter of what was just imported; a reason that nothing needs any more.
    """
    found = [f"{program.name}: {step}: {there(step, theirs)}" for step in ours.steps if not theirs.passed(step)]
    if theirs.codes != ours.codes:
        found.append(f"{program.name}: exit codes {theirs.codes} there, {ours.codes} here")
    if "Traceback (most" in ours.output and "Traceback (most" not in theirs.output:
        found.append(f"{program.name}: writes a traceback with ours alone")
    found += [
        f"{program.name}: {step}: the reason is not needed"
        for step in program.reasons
        if ours.passed(step) and theirs.passed(step)
    ]
    return found


def run(only: Sequence[str] = ()) -> Section:
    """`only` names programs, whose lines are exchanged then."""
    rows: list[Sequence[str]] = []
    failures, odd, server = [], [], {}
    for program in PROGRAMS:
        if only and not {program.name, program.package}.intersection(only):
            continue
        environments = pair(f"program-{program.package}", program.requirements, "")
        outcomes = []
        for whose, environment in (("the other package", environments.peer), ("ours", environments.ours)):
            print(f"{program.name} with {whose} …", file=sys.stderr)
            outcomes.append(examine(program, environment))
        theirs, ours = outcomes
        versions = environments.ours.versions()
        server = {"ours": versions["uvicorn"], "theirs": environments.peer.versions()["uvicorn"]}
        commands = dict.fromkeys(" ".join(one) for one in (program.command, program.reloads) if one)
        name = f"{program.name} {version_of(program.package, versions)}"
        rows.append([name, "; ".join(f"`{one}`" for one in commands), *(cell(program, s, theirs, ours) for s in STEPS)])
        wrong = faults(program, theirs, ours)
        failures += wrong
        odd += remarks(program, theirs, ours)
        odd += [re.sub("(?m)^", "    ", one.output[-4000:]) for one in outcomes if wrong]
    if only:
        old = document.rows(document.PATH.read_text(encoding="utf-8"), "programs")
        rows = document.exchanged(old, rows, lambda line: line[0].rpartition(" ")[0])
    heads = ["program", "command", *STEPS]
    python = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    text = [f"Ours is {server.get('ours')}, the other {server.get('theirs')}; {python}.", "", *table(heads, rows)]
    return Section("programs", "\n".join(text), failures, odd)
