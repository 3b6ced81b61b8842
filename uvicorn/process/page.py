"""The fleet's page: one piece of shared memory with a row of counters for every process of a master.

    header   magic, version, bytes in a row, number of rows, rows that have been used
    row 0    the counters of one process, as LAYOUT has them
    row 1    …

LAYOUT is the documentation: the name, offset, type and unit of each counter, who writes it and who reads it. A new
counter is one more line there, and needs no other version as long as nothing moves. Counters that are written together
are neighbours and written by one call. A reader may see a value that is one tick old, or a half-written one; that
is harmless.

The master makes the page before its first fork and gives each process a row, the lowest that is free. A worker writes
only its own row, by a view that ends where the row ends. A row is used again only after its process was reaped; it is
zeroed then, so a row whose tick is 0.0 belongs to nobody, or to a process whose loop has not turned yet. Every process
of the fleet inherits the mapping and can read all rows, those of later processes too.

Where the system has memfd_create the page is a file in memory (`fd`). It is closed by an exec; who wants it to survive
one makes the descriptor inheritable (`os.set_inheritable`) and opens the page on the other side (`FleetPage.attach`).
Elsewhere, or where a filter forbids it, it is anonymous memory and `fd` is -1. Memory is used only for the pages of the
system that were touched (four rows each), so that room for many thousand processes costs nothing.

Must not: decide anything, or import more than the standard library. Fails by: OSError or MemoryError when the page
cannot be made or is full; ValueError for a descriptor that is no page of this version.
"""

from __future__ import annotations

import enum
import errno
import heapq
import mmap
import os
import struct
import sys
from typing import NamedTuple

MAGIC = b"uvicorn\0"
VERSION = 1
"""Changes when a counter moves or means something else."""
ROW_SIZE = 1024
"""Bytes. More than the counters need, so that a counter can be added without another version."""
ROWS = 32_767
"""With the header, 32 MiB: three times the most workers there may be, since those of older generations, which are
still leaving, have a row each."""


class Role(enum.Enum):
    MASTER = "master"
    WORKER = "worker"


class Counter(NamedTuple):
    """One number in a row. `code` is its type as in the module struct: d is a float of 8 bytes, B, I and Q are unsigned
    integers of 1, 4 and 8 bytes."""

    name: str
    offset: int
    code: str
    unit: str
    writer: Role
    reader: Role
    meaning: str


LAYOUT = (
    Counter("tick", 0, "d", "s, monotonic", Role.WORKER, Role.MASTER, "when the loop last turned; 0.0 before"),
    Counter("in_flight", 8, "I", "requests", Role.WORKER, Role.MASTER, "begun and not finished"),
    Counter("phase", 12, "I", "Phase", Role.WORKER, Role.MASTER, "what the loop is doing"),
    Counter("requests", 16, "Q", "requests", Role.WORKER, Role.MASTER, "begun since the process started"),
    Counter("interrupt", 64, "B", "0 or 1", Role.MASTER, Role.WORKER, "a Ctrl-C for its debugger; cleared when taken"),
)
HEARTBEAT = ("tick", "in_flight", "phase", "requests")
"""What a worker writes with every tick of its loop. Neighbours."""

_COUNTERS = {counter.name: counter for counter in LAYOUT}
_INTERRUPT = _COUNTERS["interrupt"].offset
_HEADER = struct.Struct("=8sIIII")
_USED = 20  # offset of the last number in the header


def struct_of(*names: str, size: int = 0) -> struct.Struct:
    """A struct for these counters, from the start of a row; filled up to `size` bytes."""
    code, end = "=", 0
    for counter in (_COUNTERS[name] for name in names):
        code += f"{counter.offset - end}x{counter.code}"
        end = counter.offset + struct.calcsize(f"={counter.code}")
    return struct.Struct(f"{code}{max(0, size - end)}x")


_BEAT = struct_of(*HEARTBEAT)
_BEATS = struct_of(*HEARTBEAT, size=ROW_SIZE)


class Phase(enum.IntEnum):
    """What the loop that beats is doing. HELD: a debugger in the process itself keeps it from turning. ASKING: it
    turns, and a debugger has stopped another thread."""

    BOOTING = 0
    SERVING = 1
    DRAINING = 2
    HELD = 3
    ASKING = 4


class Beat(NamedTuple):
    """One reading of a heartbeat. `at` is 0.0 before the first tick, else seconds of `time.monotonic()`."""

    at: float
    in_flight: int
    phase: Phase
    requests: int


class Counters:
    """One row of the page: the counters of one process. It is written by that process, but for what LAYOUT says."""

    __slots__ = ("_row", "index", "page")

    def __init__(self, page: FleetPage, index: int, row: memoryview) -> None:
        self.page = page
        self.index = index
        self._row = row

    def beat(self, now: float, in_flight: int, phase: Phase, requests: int) -> None:
        """Record a tick at `now` (seconds, monotonic)."""
        _BEAT.pack_into(self._row, 0, now, in_flight, phase, requests)

    def read(self) -> Beat:
        at, in_flight, phase, requests = _BEAT.unpack_from(self._row)
        return Beat(at, in_flight, Phase(phase), requests)

    def pass_interrupt(self) -> None:
        """By the master, before it sends a signal: raise KeyboardInterrupt."""
        self._row[_INTERRUPT] = 1

    def take_interrupt(self) -> bool:
        """By the worker: whether the signal is that one."""
        passed = self._row[_INTERRUPT] == 1
        self._row[_INTERRUPT] = 0
        return passed

    def detach(self) -> None:
        """For a process that does not own the row any more: its writes go to memory of its own."""
        self._row = memoryview(bytearray(ROW_SIZE))

    def close(self) -> None:
        """Let go of the row and leave it as it is: its process goes on, or is read by others."""
        self._row.release()

    def release(self) -> None:
        """By the master, once the process was reaped or could not be made: the row may be used again."""
        self._row[:] = bytes(ROW_SIZE)
        self.close()
        self.page.give_back(self.index)


class FleetPage:
    """The page in its maker or in a reader. `create` makes one, `attach` opens that of another process."""

    def __init__(self, memory: mmap.mmap, fd: int) -> None:
        self.fd = fd
        self._memory = memory
        self._free: list[int] = []

    @classmethod
    def create(cls, rows: int = ROWS) -> FleetPage:
        """Raises OSError or MemoryError; then nothing is open."""
        size = (rows + 1) * ROW_SIZE
        fd = _memory_file(size)
        try:
            page = cls(_map(fd, size), fd)
        except BaseException:
            _close(fd)
            raise
        _HEADER.pack_into(page._memory, 0, MAGIC, VERSION, ROW_SIZE, rows, 0)
        return page

    @classmethod
    def attach(cls, fd: int) -> FleetPage:
        """The page behind a descriptor, which this object owns from here on. Raises OSError, or ValueError when it is
        none that this version can read; the descriptor stays open then."""
        size = os.fstat(fd).st_size
        if size < _HEADER.size:
            raise ValueError("not a page of counters: it is too short")
        page = cls(mmap.mmap(fd, size), fd)
        magic, version, row_size, rows, _ = _HEADER.unpack_from(page._memory)
        if (magic, version, row_size) != (MAGIC, VERSION, ROW_SIZE) or size < (rows + 1) * ROW_SIZE:
            page._memory.close()
            raise ValueError(f"not a page of counters of version {VERSION}")
        return page

    @property
    def used(self) -> int:
        """How many rows have been given to processes, from the first; some of them may be free again."""
        return int.from_bytes(self._memory[_USED : _USED + 4], sys.byteorder)

    def take(self) -> Counters:
        """A row for a new process. By the master alone. Raises OSError when there is none left."""
        if self._free:
            index = heapq.heappop(self._free)
        else:
            index = self.used
            if (index + 2) * ROW_SIZE > len(self._memory):
                raise OSError(errno.ENOSPC, "no room for the counters of another process")
            self._memory[_USED : _USED + 4] = (index + 1).to_bytes(4, sys.byteorder)
        start = (index + 1) * ROW_SIZE
        with memoryview(self._memory) as memory:
            return Counters(self, index, memory[start : start + ROW_SIZE])

    def give_back(self, index: int) -> None:
        """See `Counters.release`."""
        heapq.heappush(self._free, index)

    def beats(self) -> list[tuple[float, int, int, int]]:
        """All heartbeats (tick, in flight, phase, requests) in one pass, by the index of their row."""
        with memoryview(self._memory) as memory, memory[ROW_SIZE : (self.used + 1) * ROW_SIZE] as rows:
            return list(_BEATS.iter_unpack(rows))

    def close(self) -> None:
        """Every row must have been closed or released before. Other processes keep the page."""
        self._memory.close()
        _close(self.fd)
        self.fd = -1


def _memory_file(size: int) -> int:
    """A file in memory of that size; -1 where the system or a filter has none. Raises OSError for what may pass."""
    try:
        fd = os.memfd_create("uvicorn", os.MFD_CLOEXEC)
    except AttributeError:  # another system
        return -1
    except OSError as exc:
        if exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return -1  # a filter of system calls
    try:
        os.ftruncate(fd, size)
    except OSError:  # a limit for files
        os.close(fd)
        return -1
    return fd


def _map(fd: int, size: int) -> mmap.mmap:
    if fd >= 0:
        return mmap.mmap(fd, size)
    flags = getattr(mmap, "MAP_SHARED", 0) | getattr(mmap, "MAP_ANONYMOUS", 0) | getattr(mmap, "MAP_NORESERVE", 0)
    return mmap.mmap(-1, size, flags=flags) if flags else mmap.mmap(-1, size)


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
