"""docs/compatibility.md: a text with sections between marks, each written by the program that finds its figures.

Owns: the file, its marks, and how a table looks in it. Must not: run anything. Fails by: ValueError when a section's
marks are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATH = Path(__file__).resolve().parents[1] / "docs" / "compatibility.md"


@dataclass(frozen=True)
class Section:
    """What one program found: its text, what is wrong, and what is odd without being wrong."""

    name: str
    text: str
    failures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def _marked(document: str, name: str) -> re.Match[str]:
    """What stands between <!-- name --> and <!-- /name -->."""
    found = re.search(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", document, re.DOTALL)
    if found is None:
        raise ValueError(f"{PATH.name} has no lines <!-- {name} --> and <!-- /{name} -->")
    return found


def replace(document: str, section: Section) -> str:
    """The document with that section exchanged, and nothing else."""
    old = _marked(document, section.name)
    return f"{document[: old.start()]}\n{section.text}\n\n{document[old.end() :]}"


def rows(document: str, name: str) -> list[list[str]]:
    """The cells of that section's table, without its heads."""
    lines = [line for line in _marked(document, name)[0].splitlines() if line.startswith("|")]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def exchanged(
    old: Sequence[Sequence[str]], new: Sequence[Sequence[str]], key: Callable[[Sequence[str]], object]
) -> list[Sequence[str]]:
    """The old lines, with the new ones in the places of those of the same key, or at the end."""
    lines = {key(line): line for line in old} | {key(line): line for line in new}
    return list(lines.values())


def write(section: Section, path: Path = PATH) -> None:
    path.write_text(replace(path.read_text(encoding="utf-8"), section), encoding="utf-8")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def version_of(package: str, versions: Mapping[str, str]) -> str:
    return versions.get(package.lower(), "–")
