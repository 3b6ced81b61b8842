"""The file that `--pid` names, with the pid of the server, for scripts and service managers.

States: draft (beside the final file, locked) → in place → removed. While the file is ours we hold a record lock on it
(fcntl(2)): the system releases the lock when the process ends, however it ends, and children do not inherit it. So
another instance is refused exactly as long as one holds the lock; the number in a file means nothing after a reboot, or
in another container.

Owns: writing it (a reader sees a whole number or no file), the lock, and its removal. The file is written after bind,
so that a second instance on the same address fails before it gets here; after the handlers of the signals that scripts
send to its pid; and before the first fork. At the end it is removed first. Only the process that wrote it removes it,
and only while it still holds its pid: not a child, and not the predecessor of an instance that has taken over. Of two
processes that start at the same time one gets the lock on the old file, or is the first to give a new one its name.

Known weakness: a process that opens and closes the file itself loses the lock, so nothing here reads it by its name.
Where there are no locks (Windows, some network file systems) every file is replaced.

Must not: signal a process. Fails by: `StartupError`, one sentence. A file that cannot be removed at the end is left.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn.errors import StartupError

_locks: Any
try:
    import fcntl
except ImportError:  # Windows
    _locks = None
else:
    _locks = fcntl

_TRIES = 100
"""How often the file may change between two checks of it."""
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def written(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Inside, the file holds our pid. `None` means no file."""
    if path is None:
        yield
        return
    where = os.path.abspath(path)  # the application may change the folder
    own = os.getpid()
    held = _take(where, own)
    try:
        yield
    finally:
        if os.getpid() == own:
            _remove(where, held, own)
        if held is not None:
            os.close(held)


def _take(path: str, own: int) -> int | None:
    """Put the file in place. The descriptor that holds the lock; None where there are no locks."""
    draft = f"{path}.{own}"
    try:
        held = _create(draft, own)
        if _locks is None:  # Windows, where an open file cannot be renamed
            os.close(held)
            os.replace(draft, path)
            return None
        try:
            _replace(draft, path)
        except BaseException:
            os.close(held)
            raise
    except OSError as exc:
        raise StartupError(f"Cannot write --pid {path}: {exc.strerror or exc}.") from None
    finally:
        _discard(draft)
    return held


def _create(draft: str, own: int) -> int:
    _discard(draft)  # left by a process that was killed at this point, and had our pid
    held = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(held, f"{own}\n".encode())
        _lock(held)
    except BaseException:
        os.close(held)
        raise
    return held


def _replace(draft: str, path: str) -> None:
    """Rename the draft to `path`, holding the lock on the file that is there now."""
    for _ in range(_TRIES):
        old = _open(path)
        if old is None:
            try:
                os.link(draft, path)
            except FileExistsError:
                continue
            except OSError:  # a file system without links
                os.replace(draft, path)
            return
        try:
            free = _lock(old)
            if not _is_at(path, old):
                continue  # another process has replaced or removed it in between
            if not free:
                named = _number(old)
                who = "another process" if named is None else f"process {named}"
                raise StartupError(f"Cannot write --pid {path}: {who} has it. Stop it or choose another path.")
            os.replace(draft, path)
            return
        finally:
            os.close(old)
    raise StartupError(f"Cannot write --pid {path}: other processes are writing it as well.")


def _open(path: str) -> int | None:
    """A descriptor of the file at `path`; None without one. Links and devices are refused: a link must not decide what
    is replaced, and /dev/null stays a device."""
    try:
        kind = os.lstat(path).st_mode
        if not stat.S_ISREG(kind):
            raise StartupError(f"Cannot write --pid {path}: it exists and is no regular file.")
        try:
            return os.open(path, os.O_RDWR)
        except PermissionError:
            return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None


def _lock(descriptor: int) -> bool:
    """Take the lock. False when another process holds it; a descriptor that cannot write takes a shared one."""
    for kind in (_locks.LOCK_EX, _locks.LOCK_SH):
        try:
            _locks.lockf(descriptor, kind | _locks.LOCK_NB)
            return True
        except OSError as exc:
            if exc.errno in _HELD:
                return False
            if exc.errno != errno.EBADF:
                return True  # this file system has no locks
    return True


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _number(descriptor: int) -> int | None:
    """The pid in the file; None when it holds none."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 32).strip()
    return int(text) if text.isdigit() and 0 < int(text) < 2**31 else None


def _remove(path: str, held: int | None, own: int) -> None:
    """Remove the file if it is ours. Where that is not allowed any more, the next instance replaces it."""
    ours = _holds(path, own) if held is None else _is_at(path, held) and _number(held) == own
    if ours:
        _discard(path)


def _holds(path: str, own: int) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            return _number(file.fileno()) == own
    except OSError:
        return False


def _discard(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
