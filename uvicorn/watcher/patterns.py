"""Which files count: folders, patterns to include, patterns and folders to exclude. Pure: no file is looked at.

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
from pathlib import PurePath

DEFAULT_INCLUDES = ("*.py",)
DEFAULT_EXCLUDES = (".*", ".py[cod]", ".sw.*", "~*", "*.py[cod]", "__pycache__")
"""The first four are the documented ones; the others keep what an import writes from starting a reload."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`directories` and `closed` (excluded folders) are absolute."""

    directories: tuple[PurePath, ...]
    includes: tuple[str, ...] = DEFAULT_INCLUDES
    excludes: tuple[str, ...] = DEFAULT_EXCLUDES
    closed: tuple[PurePath, ...] = ()

    def matches(self, path: str) -> bool:
        """Whether a change of this file counts."""
        file = PurePath(path)
        fitting = [pattern for pattern in self.includes if fits(file.parts, pattern)]
        if not fitting:
            return False
        hidden = any(PurePath(pattern).name.startswith(".") for pattern in fitting)
        return any(self._reaches(file, root, hidden) for root in self.directories)

    def enters(self, path: str) -> bool:
        """Whether a file below this folder may count."""
        folder = PurePath(path)
        return any(folder == root or self._reaches(folder, root, False) for root in self.directories)

    def _reaches(self, path: PurePath, root: PurePath, hidden: bool) -> bool:
        if path == root or not path.is_relative_to(root) or any(path.is_relative_to(shut) for shut in self.closed):
            return False
        parts, excludes = path.parts, self.excludes
        for depth in range(len(root.parts) + 1, len(parts) + 1):
            if hidden and depth == len(parts):
                excludes = tuple(pattern for pattern in excludes if pattern != ".*")
            if any(fits(parts[:depth], pattern) for pattern in excludes):
                return False
        return True


def fits(parts: Sequence[str], pattern: str) -> bool:
    """Whether the end of a path fits, or all of it when the pattern is absolute."""
    wanted = PurePath(pattern).parts
    if not wanted:
        return False
    if PurePath(pattern).is_absolute() or "**" in wanted:
        return _fits_whole(parts, wanted if PurePath(pattern).is_absolute() else ("**", *wanted))
    return len(parts) >= len(wanted) and _fits_whole(parts[-len(wanted) :], wanted)


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
