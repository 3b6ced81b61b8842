"""Which folders and patterns a development reload looks at.

Owns: the meaning of `--reload-dir`, `--reload-include` and `--reload-exclude`: a pattern that names folders adds or
takes away whole folders, and stays a pattern for the names of files. And what is left out unless a setting names it:
folders of tens of thousands of files that nobody edits. They are not even entered. Must not: watch anything.
Fails by: nothing; a folder that is not there is left out, and said.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from uvicorn.surface.later import Later

if TYPE_CHECKING:
    import pathlib
    from pathlib import Path
else:
    pathlib = Later("pathlib", globals())

LEFT_OUT = frozenset(("node_modules", ".git", "__pycache__"))
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")
"""What a virtual environment has, whatever its name is."""

_log = logging.getLogger("uvicorn.error")


class Watched(NamedTuple):
    """Folders, absolute and none below another (but for one below a folder that is left out), and the patterns for file
    names as they were given."""

    dirs: list[Path]
    dirs_excludes: list[Path]
    includes: list[str]
    excludes: list[str]


def watched(dirs: list[str], includes: list[str], excludes: list[str], app_dir: str | None = None) -> Watched:
    """What those settings come to; the current folder and the application's when they name none."""
    include_patterns, wanted = resolve_reload_patterns(includes, dirs)
    exclude_patterns, unwanted = resolve_reload_patterns(excludes, [])
    missing = [name for name in dirs if not is_dir(pathlib.Path(name))]
    if wanted and missing:
        _log.warning("Not watched, because there is no such directory: %s.", ", ".join(map(repr, missing)))
    wanted = [folder for folder in wanted if not any(folder.is_relative_to(other) for other in unwanted)]
    if not wanted:
        if dirs:
            _log.warning(
                "Provided reload directories %s did not contain valid directories, watching current working directory.",
                dirs,
            )
        wanted = [pathlib.Path.cwd()]
        extra = pathlib.Path(app_dir or ".").resolve()
        if is_dir(extra) and wanted[0] not in (extra, *extra.parents):
            wanted.append(extra)
    return Watched(wanted, unwanted, include_patterns, exclude_patterns)


def resolve_reload_patterns(patterns_list: list[str], directories_list: list[str]) -> tuple[list[str], list[Path]]:
    """The patterns without repetitions, and every folder that they or `directories_list` name, sorted."""
    patterns = list(dict.fromkeys(patterns_list))
    found = {pathlib.Path(name).resolve() for name in directories_list if is_dir(pathlib.Path(name))}
    for pattern in patterns:
        path = pathlib.Path(pattern)
        base = pathlib.Path(path.anchor) if path.is_absolute() else pathlib.Path.cwd()
        parts = path.parts[1:] if path.is_absolute() else path.parts
        found.update(folder.resolve() for folder in _folders(base, parts))
    return patterns, sorted(folder for folder in found if not any(_reaches(other, folder) for other in found))


def _folders(base: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """The folders below `base` that fit; what is left out is not entered, unless a part is its name."""
    if not parts:
        yield base
    elif not any(letter in parts[0] for letter in "*?["):
        if is_dir(base / parts[0]):
            yield from _folders(base / parts[0], parts[1:])
    else:
        if parts[0] == "**":
            yield from _folders(base, parts[1:])
        for child in _children(base):
            if parts[0] == "**":
                yield from _folders(child, parts)
            elif fnmatchcase(child.name, parts[0]):
                yield from _folders(child, parts[1:])


def _children(base: Path) -> Iterator[Path]:
    try:
        with os.scandir(base) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return
    yield from (base / name for name in names if not is_left_out(os.path.join(base, name)))


def _reaches(outer: Path, inner: Path) -> bool:
    """Whether `inner` is watched because `outer` is."""
    between = [inner, *inner.parents][: len(inner.parts) - len(outer.parts)]
    return outer in inner.parents and not any(is_left_out(folder) for folder in between)


def is_left_out(folder: str | Path) -> bool:
    """Whether nobody edits what is below this folder: it has one of the names, or is a virtual environment."""
    return os.path.basename(folder) in LEFT_OUT or is_environment(folder)


def is_environment(folder: str | Path) -> bool:
    return any(os.path.exists(os.path.join(folder, mark)) for mark in _ENVIRONMENT)


def is_dir(path: Path) -> bool:
    """Whether `path` leads to a folder; what cannot be looked at is none."""
    try:
        return path.resolve().is_dir()
    except OSError:
        return False
