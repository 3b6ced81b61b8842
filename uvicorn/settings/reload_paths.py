"""Which folders and patterns a development reload watches.

Owns: the meaning of `--reload-dir`, `--reload-include` and `--reload-exclude`. A pattern that matches folders adds or
removes whole folders, and also applies to the names of files. Folders that hold thousands of files which nobody edits
(`IGNORED_FOLDERS`, virtual environments) are not entered unless an option names them. Must not: watch anything.
Fails by: nothing; a folder that does not exist is skipped with a warning.
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

IGNORED_FOLDERS = frozenset(("node_modules", ".git", "__pycache__"))
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")
"""Files that only a virtual environment has, whatever its name."""

_log = logging.getLogger("uvicorn.error")


class ReloadPaths(NamedTuple):
    """What to watch: absolute folders, none inside another (unless an ignored folder lies between them), and the
    patterns for file names as they were given.
    """

    dirs: list[Path]
    dirs_excludes: list[Path]
    includes: list[str]
    excludes: list[str]


Paths = list[str] | str | None


def reload_paths(
    enabled: bool, dirs: Paths, includes: Paths, excludes: Paths, app_dir: str | None = None
) -> ReloadPaths:
    """Resolve the options. Warns if some are given although reloading is not `enabled`."""
    dirs, includes, excludes = map(normalize_dirs, (dirs, includes, excludes))
    if enabled:
        return _resolve(dirs, includes, excludes, app_dir)
    if dirs or includes or excludes:
        _log.warning(
            "Current configuration will not reload as not all conditions are met, please refer to documentation."
        )
    return ReloadPaths([], [], [], [])


def _resolve(dirs: list[str], includes: list[str], excludes: list[str], app_dir: str | None) -> ReloadPaths:
    """Without a folder, the current one and the application's are watched."""
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
    return ReloadPaths(wanted, unwanted, include_patterns, exclude_patterns)


def resolve_reload_patterns(patterns_list: list[str], directories_list: list[str]) -> tuple[list[str], list[Path]]:
    """The patterns without duplicates, and the folders that they or `directories_list` name, sorted."""
    patterns = list(dict.fromkeys(patterns_list))
    found = {pathlib.Path(name).resolve() for name in directories_list if is_dir(pathlib.Path(name))}
    for pattern in patterns:
        path = pathlib.Path(pattern)
        base = pathlib.Path(path.anchor) if path.is_absolute() else pathlib.Path.cwd()
        parts = path.parts[1:] if path.is_absolute() else path.parts
        found.update(folder.resolve() for folder in _folders(base, parts))
    return patterns, sorted(folder for folder in found if not any(_reaches(other, folder) for other in found))


def _folders(base: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """The folders below `base` that match `parts`. An ignored folder is entered only if a part is its name."""
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
    yield from (base / name for name in names if not is_ignored(os.path.join(base, name)))


def _reaches(outer: Path, inner: Path) -> bool:
    """Whether watching `outer` covers `inner`."""
    between = [inner, *inner.parents][: len(inner.parts) - len(outer.parts)]
    return outer in inner.parents and not any(is_ignored(folder) for folder in between)


def is_ignored(folder: str | Path) -> bool:
    """Whether it is one of `IGNORED_FOLDERS`, or a virtual environment."""
    return os.path.basename(folder) in IGNORED_FOLDERS or is_environment(folder)


def is_environment(folder: str | Path) -> bool:
    return any(os.path.exists(os.path.join(folder, mark)) for mark in _ENVIRONMENT)


def is_dir(path: Path) -> bool:
    """Whether `path` is a folder that can be accessed."""
    try:
        return path.resolve().is_dir()
    except OSError:
        return False


def normalize_dirs(value: Paths) -> list[str]:
    """A path, several or none, as a list of text."""
    if isinstance(value, (str, os.PathLike)):
        value = [os.fspath(value)]
    return [os.fspath(one) for one in value or ()]
