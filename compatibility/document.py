"""docs/compatibility.md: a text with sections between marks, each written by the program that finds its figures.

Owns: the file, its marks, and how a table looks in it. Must not: run anything. Fails by: ValueError when a section's
marks are missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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


def replace(document: str, section: Section) -> str:
    """The document with that section between <!-- name --> and <!-- /name --> exchanged, and nothing else."""
    marked = re.compile(rf"(?<=<!-- {section.name} -->\n).*?(?=<!-- /{section.name} -->)", re.DOTALL)
    if not marked.search(document):
        raise ValueError(f"{PATH.name} has no lines <!-- {section.name} --> and <!-- /{section.name} -->")
    return marked.sub(lambda _: f"\n{section.text}\n\n", document)


def write(section: Section, path: Path = PATH) -> None:
    path.write_text(replace(path.read_text(encoding="utf-8"), section), encoding="utf-8")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def version_of(package: str, versions: Mapping[str, str]) -> str:
    return versions.get(package.lower(), "–")
