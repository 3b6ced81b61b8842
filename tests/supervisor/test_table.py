"""The transition table: one test a cell (absent cells included), and a test that these tests notice any
other table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import pytest

from transcripts import render
from uvicorn.errors import ExitCode
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.policy import Policy, SlotRecord, backoff
from uvicorn.supervisor.supervisor import Supervisor
from uvicorn.supervisor.table import TABLE, Cell, Input, State, Table

NOW = 100.0
DEADLINES = {State.BOOTING: 20.0, State.READY: 120.0, State.STOPPING: 140.0, State.HUNG: 101.0, State.KILLED: None}


@dataclass(frozen=True)
class Row:
    """`after` None: forgotten. `deadline` is the handle's afterwards; `done` are the actions, shortened
    logs included."""

    state: State
    what: Input
    after: State | None
    deadline: float | None
    done: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"{self.state.value}-{self.what.value}"


B, R, S, H, K = State.BOOTING, State.READY, State.STOPPING, State.HUNG, State.KILLED
HANG_TEXT = "Worker 0 [77] has not run its event loop for 2.0 s (4 requests in flight)"

PRESENT = [
    Row(B, Input.READY, R, 130, ["listen", "log DEBUG: Worker 0 [77] is ready."]),
    Row(B, Input.FAILED, B, 100.5),
    Row(B, Input.SLOW, B, 20, ["log WARNING: Worker 0 [77] has been starting for 100 s.", "dump 1"]),
    Row(
        B,
        Input.DEADLINE,
        K,
        None,
        [
            "kill 1: it was not ready within 20 s",
            "log ERROR: Worker 0 [77] was killed by us: it was not ready within 20 s."
            " / 0 of 1 workers are serving; next attempt in 0.1 s.",
        ],
    ),
    Row(B, Input.STOP, S, 127, ["tell 1 retire by 125", "term 1"]),
    Row(B, Input.NOW, S, 101, ["quit 1"]),
    Row(
        B,
        Input.EXITED,
        None,
        20,
        [
            "log ERROR: Worker 0 [77] exited with status 9 before it was ready, and reported no reason."
            " / 0 of 1 workers are serving; next attempt in 0.1 s."
        ],
    ),
    Row(R, Input.BEAT, R, 128),
    Row(R, Input.SPENT, R, 120, ["log INFO: Worker 0 [77] has served 9 requests: replacing it."]),
    Row(R, Input.DEADLINE, H, 100.5, [f"log WARNING: {HANG_TEXT}; asking for its stack.", "dump 1"]),
    Row(
        R,
        Input.DRAINED,
        S,
        127,
        ["log WARNING: Worker 0 [77] is leaving without being asked to; replacing it."],
    ),
    Row(R, Input.STOP, S, 127, ["tell 1 retire by 125", "term 1"]),
    Row(R, Input.NOW, S, 101, ["quit 1"]),
    Row(R, Input.EXITED, None, 120, ["log ERROR: Worker 0 [77] exited with status 9; replacing it."]),
    Row(
        S,
        Input.DEADLINE,
        K,
        None,
        ["log WARNING: Killing worker 0 [77]: its drain deadline passed.", "kill 1: its drain deadline passed"],
    ),
    Row(S, Input.STOP, S, 127, ["tell 1 retire by 125"]),
    Row(S, Input.NOW, S, 101, ["quit 1"]),
    Row(S, Input.EXITED, None, 140, ["log DEBUG: Worker 0 [77] exited with status 9."]),
    Row(H, Input.BEAT, R, 128, ["log WARNING: Worker 0 [77] recovered: its event loop runs again.", "report 1"]),
    Row(H, Input.SPENT, H, 101, ["log INFO: Worker 0 [77] has served 9 requests: replacing it."]),
    Row(
        H,
        Input.DEADLINE,
        K,
        None,
        [f"log ERROR: {HANG_TEXT}; killing it.", "report 1", "kill 1: its event loop did not run"],
    ),
    Row(H, Input.NOW, K, None, ["kill 1: it was asked to stop now, and its event loop does not run"]),
    Row(H, Input.EXITED, None, 101, ["log ERROR: Worker 0 [77] exited with status 9; replacing it."]),
    Row(K, Input.EXITED, None, None, ["log DEBUG: Worker 0 [77] exited with status 9."]),
]
ABSENT = [
    Row(s, i, s, DEADLINES[s], [f"log DEBUG: Worker 0 [77] is {s.value}: {i.value!r} is ignored."])
    for s in State
    for i in Input
    if (s, i) not in {(row.state, row.what) for row in PRESENT}
]
ROWS = PRESENT + ABSENT


def observe(row: Row, table: Table) -> Row:
    """Put the only worker of a fleet that has served into the row's state, and feed it the row's input."""
    machine = Supervisor(Policy(drain=25, hang=30, boot=20), 1, table)
    machine.handle([ev.Started()], 0.0)
    machine.handle([ev.Spawned(1, 77)], 0.0)
    machine.fleet.served.add(0)
    w = machine.fleet.workers[1]
    machine.fleet.move(w, row.state)
    w.deadline, w.beat, w.in_flight, w.exit_code = DEADLINES[row.state], 98.0, 4, 9
    w.ready_at, w.spent = 1.0, "has served 9 requests"
    if row.state is State.STOPPING:
        w.drain_deadline = 138.0
    machine.transitions.feed(w, row.what, NOW)
    after = w.state if w.serial in machine.fleet.workers else None
    return Row(row.state, row.what, after, w.deadline, [render(action) for action in machine.service.collect()])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_cell(row: Row) -> None:
    assert observe(row, TABLE) == row


def variations() -> Iterator[tuple[str, Table]]:
    """Every table that differs from ours by one cell: dropped, swapped with another, put in another's
    place."""
    for key in TABLE:
        yield f"without {key}", {k: cell for k, cell in TABLE.items() if k != key}
        for cell in set(TABLE.values()) - {TABLE[key]}:
            yield f"{key} is {cell}", {**TABLE, key: cell}
        for state in {None, *State} - {TABLE[key].after}:
            yield f"{key} leads to {state}", {**TABLE, key: Cell(TABLE[key].effect, state)}
    for one, other in combinations(TABLE, 2):
        if TABLE[one] != TABLE[other]:
            yield f"{one} and {other} swapped", {**TABLE, one: TABLE[other], other: TABLE[one]}
    for row in ABSENT:
        for cell in set(TABLE.values()):
            yield f"{row.id} is {cell}", {**TABLE, (row.state, row.what): cell}


def caught(table: Table) -> bool:
    changed = (row for row in ROWS if table.get((row.state, row.what)) != TABLE.get((row.state, row.what)))
    return any(observe(row, table) != row for row in changed)


def test_every_cell_matters() -> None:
    survivors = [name for name, table in variations() if not caught(table)]
    assert survivors == []


def test_the_machine_reads_the_table_it_is_given() -> None:
    machine = Supervisor(Policy(), 1, {})
    machine.handle([ev.Started()], 0.0)
    machine.handle([ev.WorkerReady(1)], 1.0)
    assert machine.fleet.workers[1].state is State.BOOTING


def test_exit_codes_are_those_of_the_package() -> None:
    numbers = {"OK": 0, "INTERNAL": 1, "USAGE": 2, "STARTUP": 3, "CRASH_LOOP": 4, "FORCED": 5}
    assert numbers == {code.name: int(code) for code in ExitCode}


def test_backoff_grows_by_half_up_to_half_a_minute() -> None:
    assert [backoff(n) for n in (1, 2, 3)] == pytest.approx([0.1, 0.15, 0.225])
    assert backoff(16) == 30.0
    assert backoff(10_000) == 30.0
    assert all(backoff(n) <= backoff(n + 1) for n in range(1, 100))


def test_a_slot_forgets_its_failures_when_a_worker_stayed() -> None:
    record = SlotRecord()
    assert record.failed(10.0) == pytest.approx(0.1)
    assert record.failed(11.0, least=0.5) == 0.5
    record.lost(20.0, 0.0)
    assert record.not_before == 20.0
    assert record.failed(21.0) == pytest.approx(0.1)
