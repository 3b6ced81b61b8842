"""Which files count: folders, patterns to include, patterns and folders to exclude. Pure: no file is looked at.

Some folders are not entered (`reload_paths.IGNORED_FOLDERS`), unless a pattern to include has their name.

A pattern without a leading slash fits the end of a path (`*.py`, `templates/*.html`); `**` stands for any number of
folders. An exclude that fits a folder excludes everything below it, so that the default `.*` keeps `.venv` and `.git`
out; the watched folder itself and what is above it do not count, whatever they are called. As in a shell, a hidden name
has to be asked for: an include whose name starts with a dot (`.env`) fits in spite of the default `.*`.

Must not: touch the file system. Fails by: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import PurePath

from uvicorn.settings.reload_paths import IGNORED_FOLDERS

DEFAULT_INCLUDES = ("*.py",)
DEFAULT_EXCLUDES = (".*", ".py[cod]", ".sw.*", "~*", "*.py[cod]", "__pycache__")
"""The first four are the documented ones; the others keep what an import writes from starting a reload."""


@dataclass(frozen=True)
class Selection:
    """`directories` and `closed` (excluded folders) are absolute."""

    directories: tuple[PurePath, ...]
    includes: tuple[str, ...] = DEFAULT_INCLUDES
    excludes: tuple[str, ...] = DEFAULT_EXCLUDES
    closed: tuple[PurePath, ...] = ()

    @cached_property
    def named(self) -> frozenset[str]:
        """What the patterns to include name without a wildcard."""
        return frozenset(part for pattern in self.includes for part in PurePath(pattern).parts)

    def matches(self, path: str) -> bool:
        """Whether a change of this file counts."""
        parts = PurePath(path).parts
        fitting = [pattern for pattern in self.includes if fits(parts, pattern)]
        if not fitting:
            return False
        hidden = any(PurePath(pattern).name.startswith(".") for pattern in fitting)
        return any(self._reaches(parts, root.parts, hidden) for root in self.directories)

    def enters(self, path: str) -> bool:
        """Whether a file below this folder may count."""
        parts = PurePath(path).parts
        return any(
            parts == root.parts or (parts[-1] not in self._left_out and self._reaches(parts, root.parts, False))
            for root in self.directories
        )

    @cached_property
    def _left_out(self) -> frozenset[str]:
        return IGNORED_FOLDERS - self.named

    def _reaches(self, parts: tuple[str, ...], root: tuple[str, ...], hidden: bool) -> bool:
        depth, whole = len(root), len(parts)
        if depth >= whole or parts[:depth] != root or any(parts[: len(shut)] == shut for shut in self._closed):
            return False
        if not self._left_out.isdisjoint(parts[depth : whole - 1]):
            return False
        excludes = self.excludes
        for length in range(depth + 1, whole + 1):
            if hidden and length == whole:
                excludes = tuple(pattern for pattern in excludes if pattern != ".*")
            if any(fits(parts[:length], pattern) for pattern in excludes):
                return False
        return True

    @cached_property
    def _closed(self) -> list[tuple[str, ...]]:
        return [folder.parts for folder in self.closed]


def fits(parts: Sequence[str], pattern: str) -> bool:
    """Whether the end of a path fits, or all of it when the pattern is absolute."""
    wanted, whole = _wanted(pattern)
    if not wanted or whole:
        return bool(wanted) and _fits_whole(parts, wanted)
    if len(wanted) == 1:  # nearly always
        return bool(parts) and fnmatchcase(parts[-1], wanted[0])
    return len(parts) >= len(wanted) and _fits_whole(parts[-len(wanted) :], wanted)


@lru_cache(maxsize=1000)
def _wanted(pattern: str) -> tuple[tuple[str, ...], bool]:
    """The parts of a pattern, and whether they are for the whole path."""
    path = PurePath(pattern)
    wanted = path.parts
    if path.is_absolute() or "**" not in wanted:
        return wanted, path.is_absolute()
    return ("**", *wanted), True


def _fits_whole(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_fits_whole(parts[skipped:], wanted[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _fits_whole(parts[1:], wanted[1:])


def with_defaults(includes: Sequence[str], excludes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The user's patterns and the default ones; a default that the other list names is taken back."""
    kept_includes = [pattern for pattern in DEFAULT_INCLUDES if pattern not in excludes]
    kept_excludes = [pattern for pattern in DEFAULT_EXCLUDES if pattern not in includes]
    return tuple(dict.fromkeys([*kept_includes, *includes])), tuple(dict.fromkeys([*kept_excludes, *excludes]))
