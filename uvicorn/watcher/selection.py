"""What the `reload_*` settings of a `Config` mean on this machine.

Owns: folders among the patterns, relative paths, and the warning about folders that are not there. The settings may be
text, paths, lists of them, or None. Must not: watch anything. Fails by: nothing; without a usable folder it is the
current one.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from uvicorn.config import Config
from uvicorn.watcher.patterns import Selection, with_defaults

_log = logging.getLogger("uvicorn.error")


def select(config: Config) -> Selection:
    """The files that count, with every folder absolute and no folder inside another that is watched anyway."""
    includes, excludes = _texts(config.reload_includes), _texts(config.reload_excludes)
    directories = _directories(config)
    files = []
    for pattern in includes:
        found = _folders(pattern)
        directories += found
        if not found or glob.has_magic(pattern):
            files.append(pattern)
    closed = [folder for pattern in excludes for folder in _folders(pattern)]
    closed += [Path(text).resolve() for text in _texts(getattr(config, "reload_dirs_excludes", None))]
    patterns = with_defaults(files, excludes)
    shallow_first = sorted(dict.fromkeys(directories), key=lambda folder: len(folder.parts))
    kept: list[Path] = []
    for folder in shallow_first:
        if not Selection(tuple(kept), *patterns, tuple(closed)).enters(str(folder)):
            kept.append(folder)
    return Selection(tuple(kept), *patterns, tuple(closed))


def _directories(config: Config) -> list[Path]:
    given = _texts(config.reload_dirs)
    missing = [text for text in given if not os.path.isdir(text)]
    found = [Path(text).resolve() for text in given if text not in missing]
    if missing and not found:
        names = ", ".join(map(repr, missing))
        _log.warning(
            "Provided reload directories %s did not contain valid directories, watching current working directory.",
            names,
        )
    elif missing:
        _log.warning("Not watched, because there is no such directory: %s.", ", ".join(map(repr, missing)))
    if found:
        return found
    here = [Path.cwd()]
    if config.app_dir and os.path.isdir(config.app_dir):
        here.append(Path(config.app_dir).resolve())
    return here


def _folders(pattern: str) -> list[Path]:
    """The folders that a pattern names. `**` would walk the whole tree, and fits files well enough."""
    if "**" in pattern:
        return []
    names: Iterable[str] = glob.glob(pattern) if glob.has_magic(pattern) else [pattern]
    return [Path(name).resolve() for name in names if os.path.isdir(name)]


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [os.fspath(one) for one in ([value] if isinstance(value, (str, os.PathLike)) else value)]
