"""Which folders and patterns a development reload looks at.

Owns: the meaning of `--reload-dir`, `--reload-include` and `--reload-exclude`: a pattern that names folders adds or
takes away whole folders, and stays a pattern for the names of files. Must not: watch anything.
Fails by: nothing; a folder that is not there is left out, and said.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from uvicorn._later import Later

if TYPE_CHECKING:
    import pathlib
    from pathlib import Path
else:
    pathlib = Later("pathlib", globals())

_log = logging.getLogger("uvicorn.error")


class Watched(NamedTuple):
    """Folders, absolute and none below another, and the patterns for file names as they were given."""

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
        relative = pattern[len(path.anchor) :]
        matches = base.glob(relative) if relative.strip("./") else (path,)
        found.update(match.resolve() for match in matches if is_dir(match))
    return patterns, sorted(folder for folder in found if not found & set(folder.parents))


def is_dir(path: Path) -> bool:
    """Whether `path` leads to a folder; what cannot be looked at is none."""
    try:
        return path.resolve().is_dir()
    except OSError:
        return False
