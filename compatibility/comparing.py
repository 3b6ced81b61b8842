"""Two accounts of the same exchanges → where they differ, and which of that is meant (pure).

Owns: what is never compared (times, random names), the differences, and the decisions that explain them.
Must not: do any I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compatibility.wire import Fact

RANDOM = (
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "(date)"),
    (re.compile(r'("sid":")[\w-]{20}'), r"\1(sid)"),
    (re.compile(r"\bport \d+"), "port (n)"),
)
ABSENT = "–"


@dataclass(frozen=True)
class Difference:
    """One fact that is not the same. `where` is the number of the exchange and the name of the fact."""

    framework: str
    case: str
    where: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        return f"{self.framework}, {self.case}, {self.where}: {self.theirs!r} there, {self.ours!r} here"


@dataclass(frozen=True)
class Decision:
    """Differences that are meant: whatever fits all the patterns, each of which fits the whole value."""

    what: str
    why: str
    where: str
    theirs: str = ".*"
    ours: str = ".*"
    case: str = ".*"
    framework: str = ".*"

    def explains(self, difference: Difference) -> bool:
        return all(
            re.fullmatch(getattr(self, name), getattr(difference, name), re.DOTALL)
            for name in ("framework", "case", "where", "theirs", "ours")
        )


def normal(value: str) -> str:
    for pattern, instead in RANDOM:
        value = pattern.sub(instead, value)
    return value


def differences(framework: str, case: str, theirs: Sequence[Fact], ours: Sequence[Fact]) -> Iterator[Difference]:
    for number in range(max(len(theirs), len(ours))):
        there = theirs[number] if number < len(theirs) else {}
        here = ours[number] if number < len(ours) else {}
        for name in sorted({*there, *here}):
            one, other = normal(there.get(name, ABSENT)), normal(here.get(name, ABSENT))
            if one != other:
                yield Difference(framework, case, f"{number + 1} {name}", one, other)


def sort_out(
    found: Sequence[Difference], decisions: Sequence[Decision]
) -> tuple[list[Difference], dict[Decision, list[Difference]]]:
    """(what nobody explains, what each decision explains)."""
    left: list[Difference] = []
    explained: dict[Decision, list[Difference]] = {}
    for difference in found:
        for decision in decisions:
            if decision.explains(difference):
                explained.setdefault(decision, []).append(difference)
                break
        else:
            left.append(difference)
    return left, explained
