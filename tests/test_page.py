"""The fleet's page: its layout, its rows, and who sees what is written to them."""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from unittest import mock

import pytest

from programs import PACKAGE
from uvicorn.process import page
from uvicorn.process.page import HEARTBEAT, LAYOUT, ROW_SIZE, ROWS, Beat, Counters, FleetPage, Phase

NO_BEAT = Beat(0.0, 0, Phase.BOOTING, 0)


@pytest.fixture(params=["memfd", "anonymous"])
def fleet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetPage]:
    if request.param == "anonymous":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("there are no files in memory here")
    made = FleetPage.create()
    taken: list[Counters] = []
    take = made.take

    def noting() -> Counters:
        taken.append(take())
        return taken[-1]

    monkeypatch.setattr(made, "take", noting)
    yield made
    for counters in taken:
        try:
            counters.release()
        except ValueError:
            pass  # the test has
    made.close()


def test_the_layout_has_room_for_every_counter_and_no_two_share_a_byte() -> None:
    spans = []
    for counter in LAYOUT:
        size = struct.calcsize(f"={counter.code}")
        assert counter.offset % size == 0, f"{counter.name} is not aligned: a reader could see half of it"
        assert counter.offset + size <= ROW_SIZE
        assert counter.unit and counter.meaning and counter.writer is not counter.reader
        spans.append((counter.offset, counter.offset + size))
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(sorted(spans)))
    assert len({counter.name for counter in LAYOUT}) == len(LAYOUT)


def test_a_tick_is_written_by_one_call_that_touches_its_counters_only(fleet: FleetPage) -> None:
    counters = fleet.take()
    counters.pass_interrupt()
    assert struct.calcsize("=dIIQ") == page.struct_of(*HEARTBEAT).size, "a gap would be written as zeros"
    counters.beat(1.0, 2, Phase.SERVING, 3)
    assert counters.read() == (1.0, 2, Phase.SERVING, 3)
    assert counters.take_interrupt()
    assert not counters.take_interrupt()


def test_a_row_is_used_again_once_it_was_released_and_is_zero_then(fleet: FleetPage) -> None:
    first, second, third = (fleet.take() for _ in range(3))
    for number, counters in enumerate((first, second, third), 1):
        counters.beat(float(number), number, Phase.DRAINING, number)
        counters.pass_interrupt()
    assert [beat[0] for beat in fleet.beats()] == [1.0, 2.0, 3.0]
    second.release()
    first.release()
    assert fleet.beats() == [NO_BEAT, NO_BEAT, (3.0, 3, Phase.DRAINING, 3)]
    assert [fleet.take().index for _ in range(3)] == [0, 1, 3], "the lowest that is free"
    again = fleet.beats()
    assert again[0] == NO_BEAT and not Counters.take_interrupt(fleet.take())
    assert fleet.used == 5


def test_who_has_released_a_row_cannot_write_to_it(fleet: FleetPage) -> None:
    counters = fleet.take()
    counters.release()
    with pytest.raises((TypeError, ValueError)):
        counters.beat(1.0, 1, Phase.SERVING, 1)


def test_who_lets_go_of_a_row_leaves_it_as_it_is(fleet: FleetPage) -> None:
    """A master that ends before its workers."""
    counters = fleet.take()
    counters.beat(1.0, 2, Phase.SERVING, 3)
    counters.close()
    assert fleet.beats() == [(1.0, 2, Phase.SERVING, 3)]
    assert fleet.take().index == 1


def test_what_is_detached_writes_to_nobodys_row(fleet: FleetPage) -> None:
    counters = fleet.take()
    counters.beat(1.0, 0, Phase.SERVING, 0)
    before, counters._row = counters._row, counters._row
    counters.detach()
    counters.beat(2.0, 9, Phase.SERVING, 9)
    counters.pass_interrupt()
    assert counters.read().at == 2.0
    assert fleet.beats()[0] == (1.0, 0, Phase.SERVING, 0)
    before.release()


def test_a_page_that_is_full_says_so() -> None:
    fleet = FleetPage.create(rows=1)
    counters = fleet.take()
    with pytest.raises(OSError, match="no room") as caught:
        fleet.take()
    assert caught.value.errno == errno.ENOSPC
    counters.release()
    fleet.close()


def test_there_is_room_for_the_largest_fleet_and_its_older_generations() -> None:
    assert ROWS >= 3 * 10_000


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="only Linux tells what memory a mapping uses")
def test_rows_that_are_not_used_cost_no_memory(fleet: FleetPage) -> None:
    rows = [fleet.take() for _ in range(64)]
    for counters in rows:
        counters.beat(1.0, 0, Phase.SERVING, 0)
    if fleet.fd >= 0:
        assert os.fstat(fleet.fd).st_blocks * 512 <= 65 * ROW_SIZE + mmap.PAGESIZE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_sees_every_row_also_of_those_that_come_later(fleet: FleetPage) -> None:
    mine = fleet.take()
    to_child, from_parent = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(from_parent)
            os.read(to_child, 1)
            code = 0 if [beat[3] for beat in fleet.beats()] == [7, 8] else 2
            mine.beat(3.0, 0, Phase.SERVING, 11)
        finally:
            os._exit(code)
    os.close(to_child)
    mine.beat(1.0, 0, Phase.SERVING, 7)
    fleet.take().beat(2.0, 0, Phase.SERVING, 8)
    os.close(from_parent)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert mine.read() == (3.0, 0, Phase.SERVING, 11)


READER = """
import sys
from uvicorn.process.page import FleetPage, Phase
fleet = FleetPage.attach(int(sys.argv[1]))
print(fleet.beats())
fleet.take().beat(5.0, 0, Phase.SERVING, 5)
"""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no files in memory here")
def test_it_survives_an_exec_by_choice() -> None:
    fleet = FleetPage.create()
    counters = fleet.take()
    counters.beat(4.0, 2, Phase.DRAINING, 9)
    assert not os.get_inheritable(fleet.fd)
    other = subprocess.run(
        [sys.executable, "-c", READER, str(fleet.fd)],
        pass_fds=[fleet.fd],
        env={**os.environ, "PYTHONPATH": PACKAGE},
        capture_output=True,
        text=True,
    )
    assert (other.stdout, other.stderr) == ("[(4.0, 2, 2, 9)]\n", "")
    assert fleet.beats()[1] == (5.0, 0, Phase.SERVING, 5)
    counters.release()
    fleet.close()


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"", 0),
        (b"something else", 4096),
        (struct.pack("=8sIIII", page.MAGIC, page.VERSION + 1, ROW_SIZE, 1, 0), 4096),
        (struct.pack("=8sIIII", page.MAGIC, page.VERSION, ROW_SIZE // 2, 1, 0), 4096),
        (struct.pack("=8sIIII", page.MAGIC, page.VERSION, ROW_SIZE, 4, 0), 4096),
    ],
)
def test_what_is_no_page_of_this_version_is_refused(header: bytes, size: int) -> None:
    if not hasattr(os, "memfd_create"):
        pytest.skip("there are no files in memory here")
    fd = os.memfd_create("test")
    os.write(fd, header)
    os.ftruncate(fd, size)
    with pytest.raises(ValueError, match="not a page of counters"):
        FleetPage.attach(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("fault", "falls_back"),
    [
        (PermissionError(errno.EPERM, "no"), True),
        (OSError(errno.ENOSYS, "no"), True),
        (OSError(errno.EMFILE, "Too many open files"), False),
    ],
)
def test_a_filter_of_system_calls_means_anonymous_memory(
    fault: OSError, falls_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "memfd_create", mock.Mock(side_effect=fault), raising=False)
    monkeypatch.setattr(os, "MFD_CLOEXEC", 1, raising=False)
    if not falls_back:
        with pytest.raises(OSError, match="Too many open files"):
            FleetPage.create()
        return
    fleet = FleetPage.create()
    assert fleet.fd == -1
    fleet.close()


def test_a_limit_for_files_means_anonymous_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/dev/fd") if os.path.exists("/dev/fd") else []
    monkeypatch.setattr(os, "ftruncate", mock.Mock(side_effect=OSError(errno.EFBIG, "too large")))
    fleet = FleetPage.create()
    assert fleet.fd == -1
    fleet.close()
    assert before == (os.listdir("/dev/fd") if os.path.exists("/dev/fd") else [])
