"""The watcher process: batches of changed paths, said over the channel.

`Watch` is made in the master, before the first fork; calling it is what the forked child does. A change counts from the
moment it was made: what is on the disk later than that is said at once, so that nothing is lost between the first
import of the application and the first look, nor while a watcher that died is replaced (a reload too many is harmless,
one too few is not).

States: looking → gone. It leaves when its lifeline breaks.

Must not: decide what a change means, or be imported with `watchfiles` already loaded. Fails by: the exit code; where
`watchfiles` does not work here, by a warning, and looking by hand.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import select as polling
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from uvicorn.config import Config
from uvicorn.logs import files as logfiles
from uvicorn.process import channel
from uvicorn.process.channel import Changed, ChannelClosed
from uvicorn.watcher.files import Snapshot, counts, differences, enters, files, snapshot, walk
from uvicorn.watcher.patterns import Selection
from uvicorn.watcher.selection import select

WATCHFILES, STAT = "WatchFiles", "StatReload"

LISTED = 20
"""Paths that one message names at most: a checkout changes thousands."""
STEP = 0.05
"""Seconds of quiet after which a batch is complete: editors save in several steps."""
CLOCK = 0.02
"""The time of a file may be this much older than the clock said when it was written."""

BY_FOLDER = sys.platform == "linux"
"""Whether watching a folder costs something for each folder below it."""
ATTEMPTS = 10
"""So often may a folder vanish before it is watched."""

_log = logging.getLogger("uvicorn.error")


class Watch:
    """What is watched, and how. Call it in the watcher process."""

    def __init__(self, config: Config) -> None:
        self.selection = select(config)
        self.delay = max(STEP, config.reload_delay)
        self.name = WATCHFILES if importlib.util.find_spec("watchfiles") else STAT
        self.since = time.time() - CLOCK

    @property
    def directories(self) -> list[str]:
        return [str(folder) for folder in self.selection.directories]

    def __call__(self) -> int:
        link = channel.take()
        assert link is not None
        threading.Thread(target=_watch_lifeline, args=(link.endpoint,), daemon=True).start()
        try:
            for name, paths in self.batches(threading.Event()):
                for path in paths:
                    forget_compiled(path)
                if paths:
                    link.endpoint.send(Changed(name, [shown(path) for path in paths[:LISTED]], len(paths)))
        except ChannelClosed:
            pass
        return 0

    def batches(self, stop: threading.Event) -> Iterator[tuple[str, list[str]]]:
        """(who looked, changed paths), again and again until `stop`; often there are none."""
        if self.name == WATCHFILES:
            try:
                for paths in watch_with_package(self.selection, self.delay, self.since, stop):
                    yield WATCHFILES, paths
                return
            except (ImportError, OSError, RuntimeError) as exc:
                _log.warning("watchfiles does not work here (%s): looking at the files by hand.", exc)
        for paths in watch_by_hand(self.selection, self.delay, self.since, stop):
            yield STAT, paths


def watch_with_package(
    selection: Selection, delay: float, since: float, stop: threading.Event
) -> Generator[list[str], None, None]:
    """Batches as the operating system reports them. Raises OSError or RuntimeError when it cannot."""
    late = True
    with closing(changes(selection, stop)) as batches:
        for batch in batches:
            paths = {path for _, path in batch if counts(selection, path)}
            if late:  # only now is it certain that later changes are reported
                late = False
                paths |= changed_since(selection, since)
            yield sorted(paths)
            if paths and stop.wait(delay):
                return


def changes(selection: Selection, stop: threading.Event) -> Generator[set[tuple[Any, str]], None, None]:
    """(kind of change, path) of whatever happens in the folders, as `watchfiles.watch` has it, and often nothing.

    inotify enters every folder below one that it watches. So it is given those that may hold a file that counts, one by
    one, and anew when there is another one; every file in that is new. Raises OSError or RuntimeError.
    """
    from watchfiles import Change

    before: set[str] | None = None
    folders, since, gone = _folders(selection), 0.0, 0
    while not stop.is_set():
        try:
            with closing(_watch(folders or selection.directories, folders is None, stop)) as batches:
                for batch in batches:
                    if folders is not None and before is not None:  # later changes are reported by now
                        fresh = {path for path in files(selection) if os.path.dirname(path) in folders - before}
                        batch |= {(Change.added, path) for path in fresh | changed_since(selection, since)}
                        before = None
                    yield batch
                    if folders is not None and any(_is_new_folder(selection, folders, path) for _, path in batch):
                        break
        except FileNotFoundError:  # a folder that was removed meanwhile
            gone += 1
            if gone == ATTEMPTS:
                raise
        before, since = folders, time.time() - STEP - CLOCK
        folders = _folders(selection)


def _folders(selection: Selection) -> set[str] | None:
    """Those to be watched one by one; None where the system watches whole trees for nothing."""
    return {folder for folder, _ in walk(selection, follow=True)} if BY_FOLDER else None


def _is_new_folder(selection: Selection, folders: set[str], path: str) -> bool:
    return path not in folders and os.path.isdir(path) and enters(selection, path)


def _watch(
    folders: Iterable[object], recursive: bool, stop: threading.Event
) -> Generator[set[tuple[Any, str]], None, None]:
    import watchfiles

    return watchfiles.watch(
        *sorted(map(str, folders)),
        recursive=recursive,
        watch_filter=None,
        step=int(STEP * 1000),
        stop_event=stop,
        rust_timeout=500,
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    )


def watch_by_hand(
    selection: Selection, delay: float, since: float, stop: threading.Event
) -> Generator[list[str], None, None]:
    """Batches by looking at every file."""
    return compare(partial(snapshot, selection), delay, since, stop)


def compare(
    look: Callable[[], Snapshot], delay: float, since: float, stop: threading.Event
) -> Generator[list[str], None, None]:
    """Batches by comparing two looks; at most half of the time is spent looking."""
    before = look()
    yield sorted(path for path, at in before.items() if at > since)
    took = 0.0
    while not stop.wait(max(delay, took)):
        began = time.monotonic()
        after = look()
        yield differences(before, after)
        before, took = after, time.monotonic() - began


def changed_since(selection: Selection, since: float) -> set[str]:
    return {path for path, at in snapshot(selection).items() if at > since}


def forget_compiled(path: str) -> None:
    """Remove what an import has compiled from this file: two edits within a second may leave its size and its time, in
    whole seconds, as they were, and then the interpreter would take the older one for the newer."""
    if path.endswith(".py"):
        try:
            os.unlink(importlib.util.cache_from_source(path))
        except (OSError, NotImplementedError):
            pass  # there is none, or it is not ours to remove


def _watch_lifeline(master: channel.Endpoint) -> None:
    poller = polling.poll()
    poller.register(master, polling.POLLIN)
    while True:
        poller.poll()
        try:
            messages = master.receive()
        except ChannelClosed:
            os._exit(0)
        if any(isinstance(message, channel.Reopen) for message in messages):
            logfiles.reopen()


def shown(path: str) -> str:
    """As a person would write it from here."""
    short = os.path.relpath(path)
    return path if short.startswith("..") else short
