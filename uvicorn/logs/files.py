"""Where log lines go: files that can be reopened, and batches of lines for everything but terminals.

Owns: the handlers behind `--log-file` and `--access-log-file`, and the handler that replaces the one of a standard
stream. Each write is a batch of whole lines, so that the lines of several processes never mix: files are opened with
O_APPEND (batches up to 64 KiB); pipes and everything else get at most 4096 bytes, which a pipe takes in one piece.

Logging never waits for the reader of a pipe, a socket or a terminal (`outlet`): lines that it does not take are held,
up to 1 MiB a process, and tried again with the next line or `flush`. Above that, whole lines are dropped and counted,
lines of the access log first.

A handler writes every record at once, until a server promises to call `flush` ten times a second (`hold`). From then on
the access log is batched, except for the first line after an interval without any, so that the line of a single request
is written at once. `release` ends that, so no line is pending after a server has stopped. A process that is killed
loses the access lines since the last flush.

Must not: know a request or a process, or raise into the code that logs. Fails by: `ConfigError` if a file cannot be
opened at the start. Later by one sentence on standard error each time that writing starts to fail (lines are lost until
it works again), and by keeping the old file if a new one cannot be opened.
"""

from __future__ import annotations

import atexit
import logging
import os
import stat
import sys
import time
import weakref
from collections.abc import Sequence
from copy import copy
from typing import Any

from uvicorn.errors import ConfigError, say
from uvicorn.logging import LOGGING_CONFIG, AccessFormatter, ColourizedFormatter, DefaultFormatter
from uvicorn.logs.outlet import PIPE_BATCH, Outlet

FILE_BATCH = 65536
MOST_HELD = 1 << 20
"""The most bytes of lines that a process holds back for a slow reader."""
PAUSE = 0.02
PATIENCE = 1.0
"""Seconds that a process waits for a reader before it ends."""

_log = logging.getLogger("uvicorn.error")
_handlers: weakref.WeakSet[LineHandler] = weakref.WeakSet()
_flushers: weakref.WeakSet[Any] = weakref.WeakSet()
_held = False
_dropped = 0


class LineHandler(logging.Handler):
    """Writes whole records to a descriptor: at once, or (`batched`) at `limit` bytes or a `flush`."""

    terminator = "\n"

    def __init__(self, name: str, *, batched: bool) -> None:
        super().__init__()
        self.limit = PIPE_BATCH
        self._target = name
        self._batched = self.expendable = batched
        self._encoding = "utf-8"
        self._pending = bytearray()
        self._outlet = Outlet()
        self._failing = False
        self._torn = self._begun = False  # the rest of a line is lost; is still pending
        self._quiet = True
        _handlers.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)
            return
        self._append(text)

    def put(self, text: str) -> None:
        """Write one formatted line, whatever the filters and the level are."""
        self.acquire()
        try:
            self._append(text)
        finally:
            self.release()

    def _append(self, text: str) -> None:
        line = (text + self.terminator).encode(self._encoding, "backslashreplace")
        pending = self._pending
        if pending and len(pending) + len(line) > self.limit:
            self._write_pending()
        pending += line
        if not (_held and self._batched) or self._quiet or len(pending) >= self.limit:
            self._quiet = False
            self._write_pending()

    def flush(self) -> None:
        """Write what is pending. Also called by `logging.shutdown`."""
        self._quiet = not self._pending
        if self._pending or self._outlet.is_open:
            self.acquire()
            try:
                self._write_pending()
                self._outlet.close_if_idle()
            finally:
                self.release()

    def forget(self) -> None:
        """In a child process: drop the pending lines, which the parent writes."""
        self._pending.clear()
        self._outlet.forget()
        self._torn = self._begun = False
        self._quiet = True

    def _write_pending(self) -> None:
        """Write as much as the reader takes; hold the rest, up to the limit, until the next line or `flush`."""
        pending = self._pending
        if self._torn and pending:  # an error cut the last line short: begin a new one
            pending[:0] = b"\n"
        try:
            while pending:
                chunk = self._chunk()
                taken = self._put(chunk)
                self._begun, self._torn = not chunk.endswith(b"\n", 0, taken), False
                del pending[:taken]
        except BlockingIOError:
            _shed()
        except (OSError, ValueError) as exc:
            pending.clear()
            self._begun, self._torn = False, self._torn or self._begun
            if not self._failing:
                self._failing = True
                reason = getattr(exc, "strerror", None) or exc
                say(f"uvicorn: Cannot write to {self._target}: {reason}. Lines are lost until it works again.")
        else:
            self._failing = False
        finally:
            if not _held:
                self._outlet.close_if_idle()

    def _chunk(self) -> bytes:
        """Whole lines up to the limit, or a single longer line."""
        pending = self._pending
        if len(pending) <= self.limit:
            return bytes(pending)
        end = pending.rfind(b"\n", 0, self.limit) + 1 or pending.find(b"\n") + 1
        return bytes(pending[:end])

    def drop(self, size: int) -> int:
        """Drop the newest lines, about `size` bytes of them; the number of bytes dropped."""
        global _dropped
        pending = self._pending
        end = pending.rfind(b"\n", 0, max(0, len(pending) - size)) + 1
        if end == 0 and self._begun:  # keep the rest of a line that is partly written
            end = pending.find(b"\n") + 1
        dropped = len(pending) - end
        _dropped += pending.count(b"\n", end)
        del pending[end:]
        return dropped

    @property
    def held(self) -> int:
        """Bytes that are pending."""
        return len(self._pending)

    def _put(self, data: bytes) -> int:
        """Write; the number of bytes taken. Raises BlockingIOError if none can be taken now."""
        return self._outlet.write(self._descriptor(), data)

    def _descriptor(self) -> int:
        """The descriptor to write to. Raises OSError or ValueError if there is none."""
        raise NotImplementedError


class BatchHandler(LineHandler, logging.StreamHandler):  # type: ignore[type-arg]  # not generic at run time before 3.11
    """A `logging.StreamHandler` for a standard stream that bypasses its buffer, and writes in batches unless it is a
    terminal. What the application has printed before is flushed first, so that the order stays.
    """

    def __init__(self, stream: Any, *, batched: bool) -> None:
        super().__init__(getattr(stream, "name", "the stream"), batched=batched)
        self.stream = self._standard = stream
        self._encoding = getattr(stream, "encoding", None) or self._encoding

    def _put(self, data: bytes) -> int:
        if self.stream is self._standard:
            return super()._put(data)
        self.stream.write(data.decode(self._encoding))  # a program has set another stream, which may not be a file
        self.stream.flush()
        return len(data)

    def _descriptor(self) -> int:
        self.stream.flush()
        descriptor: int = self.stream.fileno()
        return descriptor


class FileHandler(LineHandler):
    """Appends to a file. `option` is the flag that names it, for messages."""

    def __init__(self, option: str, path: str | os.PathLike[str], *, batched: bool) -> None:
        self.path = os.path.abspath(path)  # the application may change the working directory
        super().__init__(f"{option} {self.path}", batched=batched)
        self._fd = -1
        try:
            self._open()
        except OSError as exc:
            raise ConfigError(f"Cannot open {self._target}: {_why(self.path, exc)}.") from None

    @property
    def is_open(self) -> bool:
        """Whether the file is open. After `close`, the next record opens it again."""
        return self._fd >= 0

    def reopen(self) -> str | None:
        """Open the path again and write to that file. None, or a sentence: then the old file stays in use."""
        self.acquire()
        try:
            self._write_pending()
            if self._fd >= 0:
                self._open()
        except OSError as exc:
            return f"Cannot reopen {self._target}: {_why(self.path, exc)}. The old file stays in use."
        finally:
            self.release()
        return None

    def close(self) -> None:
        """Close the file. A later record opens it again, because an application may call `logging.config.dictConfig`,
        which closes every handler, those that stay in use included.
        """
        self.flush()
        self.acquire()
        try:
            descriptor, self._fd = self._fd, -1
            if descriptor >= 0:
                os.close(descriptor)
        finally:
            self.release()
        super().close()

    def _descriptor(self) -> int:
        if self._fd < 0:
            self._open()
        return self._fd

    def _open(self) -> None:
        """Open the new file first, then swap: if opening fails, the old one stays open."""
        nonblocking = getattr(os, "O_NONBLOCK", 0)  # opening a pipe without a reader fails instead of waiting
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | nonblocking | getattr(os, "O_BINARY", 0)
        fresh = os.open(self.path, flags, 0o666)
        if nonblocking:
            os.set_blocking(fresh, True)
        mode = os.fstat(fresh).st_mode
        self.limit = FILE_BATCH if stat.S_ISREG(mode) else PIPE_BATCH
        self._batched = self._batched and not os.isatty(fresh)
        if self._fd < 0:
            self._fd = fresh
        else:
            os.dup2(fresh, self._fd, inheritable=False)
            os.close(fresh)


# -- for the rest of the package ---------------------------------------------------------------------------------


def hold(flusher: object) -> None:
    """Batch access lines from now on: `flusher` calls `flush` ten times a second, until `release`."""
    global _held
    _flushers.add(flusher)
    _held = True


def release(flusher: object) -> None:
    """`flusher` stops calling `flush`. No line is pending afterwards."""
    global _held
    _flushers.discard(flusher)
    _held = bool(_flushers)
    flush()


def flush() -> None:
    """Write every pending line."""
    for handler in list(_handlers):
        handler.flush()
    _tell_of_dropped()


def behind() -> bool:
    """Whether lines are held back and no server calls `flush`."""
    return not _held and any(handler.held for handler in list(_handlers))


def finish() -> None:
    """Write the held lines at the end of a process; wait up to `PATIENCE` seconds for the reader."""
    until = time.monotonic() + PATIENCE
    flush()
    while any(handler.held for handler in list(_handlers)) and time.monotonic() < until:
        time.sleep(PAUSE)
        flush()


def _shed() -> None:
    """Drop whole lines above `MOST_HELD`, lines of the access log first."""
    over = sum(handler.held for handler in list(_handlers)) - MOST_HELD
    for handler in sorted(_handlers, key=lambda one: not one.expendable):
        if over > 0 and handler.lock is not None and handler.lock.acquire(blocking=False):
            try:
                over -= handler.drop(over)
            finally:
                handler.lock.release()


def _tell_of_dropped() -> None:
    global _dropped
    if _dropped and not any(handler.held for handler in list(_handlers)):
        count, _dropped = _dropped, 0
        _log.warning("The log was not read fast enough: %d lines were dropped.", count)


def reopen() -> str:
    """Open every log file again, after a log rotation has moved them. Errors are logged.

    Returns the end of a sentence that says what was done.
    """
    files = [handler for handler in list(_handlers) if isinstance(handler, FileHandler) and handler.is_open]
    refusals = {handler: handler.reopen() for handler in files}
    for sentence in refusals.values():
        if sentence is not None:
            _log.error("%s", sentence)
    done = sorted({handler.path for handler, sentence in refusals.items() if sentence is None})
    if done:
        return f"reopened {', '.join(done)}."
    return "no log file could be reopened." if files else "there is no open log file to reopen."


def to_file(loggers: Sequence[str], option: str, path: str | os.PathLike[str], *, batched: bool = False) -> None:
    """Let these loggers write to `path`, without colors. Raises ConfigError if it cannot be opened.

    The file replaces every handler that writes to a standard stream; if there is none, it is added to the first logger.
    Other handlers and propagation stay as they are.
    """
    replaced = [h for name in loggers for h in logging.getLogger(name).handlers if _is_console(h)]
    fresh = FileHandler(option, path, batched=batched)
    _copy_settings(fresh, replaced[0] if replaced else None)
    fresh.setFormatter(_colorless(fresh.formatter, access=batched))
    if not replaced:
        logging.getLogger(loggers[0]).addHandler(fresh)
    for name in loggers:
        log = logging.getLogger(name)
        log.handlers = list(dict.fromkeys(fresh if h in replaced else h for h in log.handlers))
    for old in replaced:
        if isinstance(old, FileHandler):
            old.close()


def replace_console(logger: str, *, batched: bool = False) -> None:
    """Replace this logger's handlers for a standard stream by ours, which write in batches unless it is a terminal."""
    log = logging.getLogger(logger)
    log.handlers = [_replacement(h, batched) if type(h) is logging.StreamHandler else h for h in log.handlers]


# -- helpers ---------------------------------------------------------------------------------------------------


def _replacement(handler: Any, batched: bool) -> logging.Handler:
    try:
        terminal = os.isatty(handler.stream.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or not a file
        return handler  # type: ignore[no-any-return]  # a StreamHandler, which is generic for type checkers alone
    if not _is_console(handler):
        return handler  # type: ignore[no-any-return]
    fresh = BatchHandler(handler.stream, batched=batched and not terminal)
    _copy_settings(fresh, handler)
    return fresh


def _is_console(handler: logging.Handler) -> bool:
    if isinstance(handler, FileHandler):
        return True  # from an earlier call
    streams = [one for one in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__) if one is not None]
    return isinstance(handler, logging.StreamHandler) and any(handler.stream is one for one in streams)


def _copy_settings(fresh: logging.Handler, old: logging.Handler | None) -> None:
    """Copy level, filters, formatter and name."""
    if old is not None:
        fresh.setLevel(old.level)
        fresh.filters = list(old.filters)
        fresh.setFormatter(old.formatter)
        fresh.set_name(old.get_name())


def _colorless(formatter: logging.Formatter | None, *, access: bool) -> logging.Formatter:
    """The formatter without colors; the default one if there is none."""
    if formatter is None:
        kind, name = (AccessFormatter, "access") if access else (DefaultFormatter, "default")
        return kind(LOGGING_CONFIG["formatters"][name]["fmt"], use_colors=False)
    if isinstance(formatter, ColourizedFormatter):
        formatter = copy(formatter)  # others may share it
        formatter.use_colors = False
    return formatter


def _why(path: str, exc: OSError) -> str:
    folder = os.path.dirname(path)
    if isinstance(exc, FileNotFoundError) and not os.path.isdir(folder):
        return f"there is no directory {folder}"
    return exc.strerror or str(exc)


def _after_fork() -> None:
    global _held, _dropped
    _held, _dropped = False, 0
    _flushers.clear()
    for handler in list(_handlers):
        handler.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

atexit.register(finish)  # runs before `logging.shutdown`, which tries only once
