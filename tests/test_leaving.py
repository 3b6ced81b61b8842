"""Which threads may delay the end of a process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from uvicorn.process import exiting as leaving


def test_an_idle_pool_holds_nobody_up_and_stays_usable() -> None:
    with ThreadPoolExecutor(2, thread_name_prefix="of a pool") as pool:
        barrier = threading.Barrier(2)
        for future in [pool.submit(barrier.wait, 10) for _ in range(2)]:
            future.result(10)
        gate = threading.Event()
        working = pool.submit(gate.wait, 10)
        try:
            while len(left := [t for t in leaving._others() if t.name.startswith("of a pool")]) != 1:
                pass  # one works, and the other is on its way back to its queue
        finally:
            gate.set()
        assert working.result(10)
        leaving.leave_if_held_up(0)
        assert pool.submit(len, "abc").result(10) == 3
    assert len(left) == 1
