"""The files that count, from the settings of a `Config` (which `watched` has resolved).

Owns: that step. Must not: watch anything, or look for folders. Fails by: nothing.
"""

from __future__ import annotations

import glob
import os

from uvicorn.config import Config
from uvicorn.watcher.patterns import Selection, with_defaults


def select(config: Config) -> Selection:
    """A pattern that names one folder is no pattern for files: the folder is among those that are watched."""
    files = [pattern for pattern in config.reload_includes if glob.has_magic(pattern) or not os.path.isdir(pattern)]
    patterns = with_defaults(files, config.reload_excludes)
    return Selection(tuple(config.reload_dirs), *patterns, tuple(config.reload_dirs_excludes))
