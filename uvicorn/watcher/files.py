"""Looking at files by hand: every file that counts with its time of change.

Owns: that walk, and the difference of two. `st_ctime` is what is compared: it also moves when an older file is put in
the place of a newer one. Must not: wait. Fails by: nothing; what vanishes during the walk was not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from uvicorn.watcher.patterns import Selection

Snapshot = Mapping[str, float]


def files(selection: Selection) -> Iterator[str]:
    """The paths that count; one below two of the folders comes twice."""
    for root in selection.directories:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if selection.enters(os.path.join(folder, name))]
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
