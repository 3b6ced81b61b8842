"""Looking at files by hand: every file that counts with its time of change.

Owns: that walk, and the difference of two. `st_ctime` is what is compared: it also moves when an older file is put in
the place of a newer one. Must not: wait. Fails by: nothing; what vanishes during the walk was not there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from uvicorn.watcher.patterns import Selection

Snapshot = Mapping[str, float]


def snapshot(selection: Selection) -> Snapshot:
    found: dict[str, float] = {}
    for root in selection.directories:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if selection.enters(os.path.join(folder, name))]
            for path in (os.path.join(folder, name) for name in names):
                if path not in found and selection.matches(path):
                    try:
                        found[path] = os.stat(path).st_ctime
                    except OSError:
                        pass  # gone, or a link to nothing
    return found


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Paths that are new, gone, or changed."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
