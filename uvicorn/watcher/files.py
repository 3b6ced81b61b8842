"""Looking at files by hand: the folders that may hold one that counts, and every such file with its time of change.

Owns: that walk, and the difference of two. A folder that is left out is not entered, so that a first look costs what
the application's own files cost. `st_ctime` is what is compared: it also moves when an older file is put in the place
of a newer one. Must not: wait. Fails by: nothing; what vanishes during the walk was not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from uvicorn.settings.reload_paths import is_environment
from uvicorn.watcher.patterns import Selection

Snapshot = Mapping[str, float]


def enters(selection: Selection, folder: str) -> bool:
    """The same as `Selection.enters`, and no virtual environment that is not named."""
    if not selection.enters(folder):
        return False
    return os.path.basename(folder) in selection.named or _is_root(selection, folder) or not is_environment(folder)


def counts(selection: Selection, path: str) -> bool:
    """The same as `Selection.matches`, and in no such environment."""
    if not selection.matches(path):
        return False
    folder = os.path.dirname(path)
    while not _is_root(selection, folder) and folder != os.path.dirname(folder):
        if os.path.basename(folder) not in selection.named and is_environment(folder):
            return False
        folder = os.path.dirname(folder)
    return True


def _is_root(selection: Selection, folder: str) -> bool:
    return any(folder == str(root) for root in selection.directories)


def walk(selection: Selection, *, follow: bool = False) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its files), again and again; `follow` links to folders, each once."""
    for root in selection.directories:
        seen: set[tuple[int, int]] = set()
        for folder, folders, names in os.walk(root, followlinks=follow):
            inner = [os.path.join(folder, name) for name in folders]
            wanted = {path for path in inner if enters(selection, path) and not _is_root(selection, path)}
            if follow:
                wanted = {path for path in wanted if _is_new(path, seen)}
            folders[:] = [os.path.basename(path) for path in inner if path in wanted]
            yield folder, names


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    try:
        found = os.stat(folder)
    except OSError:
        return False
    known = (found.st_dev, found.st_ino) in seen
    seen.add((found.st_dev, found.st_ino))
    return not known


def files(selection: Selection) -> Iterator[str]:
    """The paths that count; one below two of the folders comes twice."""
    for folder, names in walk(selection):
        yield from filter(selection.matches, (os.path.join(folder, name) for name in names))


def times(paths: Iterable[str]) -> Snapshot:
    found: dict[str, float] = {}
    for path in paths:
        try:
            found[path] = os.stat(path).st_ctime
        except OSError:
            pass  # gone, or a link to nothing
    return found


def snapshot(selection: Selection) -> Snapshot:
    return times(files(selection))


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Paths that are new, gone, or changed."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
