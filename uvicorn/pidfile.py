"""The file that `--pid` names: who serves, for scripts and service managers.

Owns: writing it (atomically: a reader sees a whole number or no file), the check that it is ours, and its removal. A
file that a dead process left, that holds no number, or that holds our own (a container starts again with the same pid)
is replaced; one that names a live process is refused, whoever that is, and so is what is no regular file.

It is written after bind, so that a second instance on the same address never gets here, and before the first fork. Only
the process that wrote it removes it, and only while it still says so: not a child, and not the predecessor of somebody
who has taken over. Known weakness: of two processes that start in the same millisecond the later one wins.

Must not: signal anybody. Fails by: `StartupError`, one sentence. A file that cannot be removed at the end is left.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from uvicorn.errors import StartupError


@contextmanager
def written(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Inside, the file says who we are. `None` is no file."""
    if path is None:
        yield
        return
    where = os.path.abspath(path)  # the application may change the folder
    own = os.getpid()
    _write(where, own)
    try:
        yield
    finally:
        if os.getpid() == own and _read(where) == own:
            try:
                os.unlink(where)
            except OSError:
                pass  # the folder is no longer ours to write: what is left names a dead process, and is replaced


def _write(path: str, own: int) -> None:
    _refuse_other_kinds(path)
    named = _read(path)
    if named is not None and named != own and _is_alive(named):
        raise StartupError(
            f"Cannot write --pid {path}: process {named}, which it names, is alive. Stop it or choose another path."
        )
    draft = f"{path}.{own}"
    try:
        _create(draft, own)
        os.replace(draft, path)
        found = _read(path)
    except OSError as exc:
        _discard(draft)
        raise StartupError(f"Cannot write --pid {path}: {exc.strerror or exc}.") from None
    if found != own:
        raise StartupError(f"Cannot write --pid {path}: another process is writing it as well.")


def _refuse_other_kinds(path: str) -> None:
    """A link that somebody laid must not decide what is replaced, and /dev/null stays what it is."""
    try:
        kind = os.lstat(path).st_mode
    except OSError:
        return  # none is there, or writing says why
    if not stat.S_ISREG(kind):
        raise StartupError(f"Cannot write --pid {path}: it exists and is no regular file.")


def _create(draft: str, own: int) -> None:
    _discard(draft)  # of a process that was killed right here, and had our number
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(f"{own}\n")


def _discard(draft: str) -> None:
    try:
        os.unlink(draft)
    except OSError:
        pass  # there is none


def _read(path: str) -> int | None:
    """The number in the file; None when there is no file, or no number that could be a process."""
    try:
        with open(path, "rb") as file:
            text = file.read(32).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and 0 < int(text) < 2**31 else None


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return False  # asking would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
