"""The real kernel over real processes. A test waits for lines, datagrams and exits, never for time."""

from __future__ import annotations

import errno
import itertools
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from unittest import mock

import pytest

from programs import PATIENCE, Keep, Program
from uvicorn.supervisor import events as ev
from uvicorn.supervisor import inspection
from uvicorn.supervisor.kernel import Kernel

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

PROGRAM = Path(__file__).with_name("program.py")


class Running(Program):
    """A master with its plan, and the socket of its service manager."""

    def __init__(self, folder: Path, plan: str, *limits: str, env: dict[str, str], prefix: tuple[str, ...]) -> None:
        self.plan = folder / "plan"
        self.plan.write_text(plan)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.setblocking(False)
        env = {"NOTIFY_SOCKET": str(folder / "notify"), **env}
        super().__init__(folder, str(PROGRAM), str(self.plan), *limits, env=env, prefix=prefix)

    def ready(self, count: int, generation: int = 1) -> list[int]:
        """The pids of the next workers that say they are ready."""
        return [int(self.expect(rf"= ready (\d+) slot \d+ gen {generation}\b")[1]) for _ in range(count)]

    def notified(self, first: str) -> list[str]:
        """The next datagram that opens with this line."""
        deadline = time.monotonic() + PATIENCE
        others = []
        while select.select([self.manager], [], [], max(0.0, deadline - time.monotonic()))[0]:
            message = self.manager.recv(4096).decode().split("\n")
            if message[0] == first:
                return message
            others.append(message)
        raise AssertionError(f"the manager was not told {first!r}, but {others}, and read:\n{self.text}")

    def silence(self) -> None:
        """Forget what the manager was told so far."""
        while select.select([self.manager], [], [], 0)[0]:
            self.manager.recv(4096)

    def close(self) -> None:
        super().close()
        self.manager.close()


class Start(Protocol):
    def __call__(
        self,
        plan: str = "serve",
        workers: int = 2,
        drain: float = 10,
        hang: float = 0,
        prefix: tuple[str, ...] = (),
        **environment: str,
    ) -> Running: ...


@pytest.fixture
def start(tmp_path: Path, keep_program: Keep) -> Start:
    """start(plan, workers, drain, hang, prefix, **environment): each master in a folder of its own."""
    folders = (tmp_path / str(number) for number in itertools.count())

    def begin(
        plan: str = "serve",
        workers: int = 2,
        drain: float = 10,
        hang: float = 0,
        prefix: tuple[str, ...] = (),
        **environment: str,
    ) -> Running:
        folder = next(folders)
        folder.mkdir()
        limits = (str(workers), str(drain), str(hang))
        return keep_program(Running(folder, plan, *limits, prefix=prefix, env=environment))

    return begin


def test_serve_kill_one_and_stop(start: Start) -> None:
    master = start(workers=3)
    pids = master.ready(3)
    assert len(set(pids)) == 3
    assert master.notified("READY=1")[1].startswith("STATUS=3 of 3 workers ready")
    master.tell(signal.SIGKILL, pids[1])
    master.expect(rf"ERROR: +Worker \d \[{pids[1]}\] was killed by SIGKILL from outside")
    (fresh,) = master.ready(1)
    assert fresh not in pids
    master.tell(signal.SIGTERM)
    assert master.end() == 0
    assert len(re.findall(r"= leaving \d+ stop", master.text)) == 3
    assert "= atexit of the master in master" in master.text
    assert "= atexit of the master in worker" not in master.text
    master.notified("STOPPING=1")
    assert f"Started parent process [{master.process.pid}]" in master.text
    assert f"Stopping parent process [{master.process.pid}]" in master.text


def test_a_master_without_descriptors_goes_on_with_who_is_there(start: Start) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("the limits of another process cannot be set here")
    master = start()
    first, second = master.ready(2)
    master.notified("READY=1")
    soft, hard = resource.prlimit(master.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(master.process.pid, resource.RLIMIT_NOFILE, (4, hard))
    master.tell(signal.SIGKILL, first)
    master.wait_for(
        r"Cannot start a worker process: Too many open files\.\n1 of 2 workers are serving; next attempt in 0\.1 s"
    )
    master.wait_for(r"failed for the same reason \(2 in a row\)\.\n1 of 2 workers are serving; next attempt in 0\.2 s")
    master.tell(signal.SIGHUP)
    master.wait_for("reload failed, still serving generation 1: Cannot start a worker process")
    resource.prlimit(master.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    (fresh,) = master.ready(1)
    assert fresh != second
    master.tell(signal.SIGTERM)
    assert master.end() == 0
    assert f"= leaving {second} stop" in master.text


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("what", "fault", "reason"),
    [
        ("socket.socketpair", OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        ("mmap.mmap", OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
        ("mmap.mmap", MemoryError(), "no memory"),
        ("os.fork", OSError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily unavailable"),
        ("os.fork", PermissionError(errno.EPERM, "Operation not permitted"), "Operation not permitted"),
        ("os.fork", OSError(errno.ENOSYS, "Function not implemented"), "Function not implemented"),
    ],
)
def test_what_a_worker_needs_may_be_refused(
    what: str, fault: BaseException, reason: str, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(what, mock.Mock(side_effect=fault))
        assert kernel.spawn(1, 0, 1, "a worker", lambda: 0) == ev.SpawnFailed(1, reason)
    assert descriptors() == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("fault", [PermissionError(errno.EPERM, "no"), OSError(errno.ENOSYS, "no"), None])
def test_stacks_are_written_to_another_file_where_none_can_be_in_memory(
    fault: BaseException | None, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault is None:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", mock.Mock(side_effect=fault), raising=False)
    fd = inspection.dump_file()
    os.write(fd, b"stack")
    os.close(fd)
    monkeypatch.setattr("tempfile.mkstemp", mock.Mock(side_effect=OSError(errno.EROFS, "read-only")))
    assert inspection.dump_file() == -1


def descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


def test_reload(start: Start) -> None:
    master = start()
    old = master.ready(2)
    master.notified("READY=1")
    master.tell(signal.SIGHUP)
    assert master.notified("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
    new = master.ready(2, generation=2)
    master.expect(r"reloaded: 2 workers, generation 2, \d+\.\d s")
    assert "last reload" not in master.notified("READY=1")[1]
    assert not set(old) & set(new)
    assert {int(master.expect(r"= leaving (\d+) retire")[1]) for _ in old} == set(old)
    master.tell(signal.SIGTERM)
    assert master.end() == 0


def test_reload_onto_broken_code_and_again_after_the_fix(start: Start) -> None:
    master = start()
    old = master.ready(2)
    master.notified("READY=1")
    master.plan.write_text("fail")
    master.tell(signal.SIGHUP)
    master.expect("reload failed, still serving generation 1: Error loading ASGI app.")
    master.expect("ModuleNotFoundError: No module named 'nothing'")
    master.notified("RELOADING=1")
    assert "generation 1, the last reload failed" in master.notified("READY=1")[1]
    assert all(Path(f"/proc/{pid}").exists() for pid in old) or not Path("/proc/self").exists()
    master.plan.write_text("serve")
    master.tell(signal.SIGHUP)
    master.ready(2, generation=3)
    master.expect("reloaded: 2 workers, generation 3")
    master.tell(signal.SIGTERM)
    assert master.end() == 0


def test_the_watchdog_is_answered_while_half_of_the_loops_turn(start: Start) -> None:
    master = start(workers=2, WATCHDOG_USEC="1500000")
    pids = master.ready(2)
    master.notified("READY=1")
    answers = (master.notified("WATCHDOG=1")[1] for _ in range(40))
    assert "STATUS=2 of 2 workers ready, generation 1, 6 requests in flight, 14 served" in answers
    master.tell(signal.SIGSTOP, pids[0])
    for _ in range(4):  # looks at 0.75 s each: the stopped one is past its limit long before the last
        master.notified("WATCHDOG=1")
    master.tell(signal.SIGSTOP, pids[1])
    master.expect("2 of 2 event loops do not run: the service manager's watchdog is not answered")
    master.tell(signal.SIGCONT, pids[1])
    master.silence()
    master.notified("WATCHDOG=1")
    for pid in pids:
        master.tell(signal.SIGCONT, pid)
    master.tell(signal.SIGTERM)
    assert master.end() == 0


def test_a_drain_is_longer_than_the_watchdog(start: Start) -> None:
    master = start("stubborn", workers=1, drain=1000, WATCHDOG_USEC="400000")
    master.ready(1)
    master.tell(signal.SIGTERM)
    master.notified("STOPPING=1")
    for _ in range(4):
        master.notified("WATCHDOG=1")
    master.tell(signal.SIGQUIT)
    assert master.end() == 0


def test_many_hups(start: Start) -> None:
    master = start()
    master.ready(2)
    for _ in range(25):
        master.tell(signal.SIGHUP)
    master.expect("reloaded: 2 workers")
    master.tell(signal.SIGTERM)
    assert master.end() == 0


@pytest.mark.parametrize(
    ("plan", "cause"),
    [
        ("fail", "ModuleNotFoundError: No module named 'nothing'"),
        ("raise", "RuntimeError: boom at import"),
        ("sysexit", "SystemExit: 0"),
        ("status 7", "exited with status 7 before it was ready"),
        ("status 0", "exited with status 0 before it was ready"),
    ],
)
def test_what_cannot_start_is_told_once(start: Start, plan: str, cause: str) -> None:
    master = start(plan, workers=4)
    assert master.end() == 3
    assert master.text.count(cause) == 1
    assert master.text.count("Traceback") == (0 if "status" in plan else 1)


def test_a_loop_that_does_not_turn(start: Start) -> None:
    master = start(workers=1, hang=1)
    (pid,) = master.ready(1)
    master.plan.write_text("stick")
    master.expect(f"= stuck {pid}")
    master.plan.write_text("serve")
    master.expect(rf"Worker 0 \[{pid}\] has not run its event loop .*3 requests in flight.*killing it")
    master.expect("its main thread is waiting")
    master.expect("guilty_function")
    master.ready(1)
    master.tell(signal.SIGTERM)
    assert master.end() == 0


def test_a_worker_that_is_stopped(start: Start) -> None:
    master = start(workers=1, hang=1)
    (pid,) = master.ready(1)
    master.tell(signal.SIGSTOP, pid)
    master.expect("its main thread is stopped by a signal")
    master.ready(1)
    master.tell(signal.SIGTERM)
    assert master.end() == 0


def test_a_master_that_was_stopped_kills_nobody(start: Start) -> None:
    """A whole tree is stopped for longer than its limit, as in a suspend. Another one, with a longer limit,
    is the clock."""
    clock = start(workers=1, hang=3)
    (stopped,) = clock.ready(1)
    master = start(workers=2, hang=1)
    pids = master.ready(2)
    master.notified("READY=1")  # the master knows it, too: from here on it judges beats
    os.killpg(master.process.pid, signal.SIGSTOP)
    clock.tell(signal.SIGSTOP, stopped)
    clock.expect("killing it")
    os.killpg(master.process.pid, signal.SIGCONT)
    master.expect("The master itself was delayed")
    master.tell(signal.SIGTERM)
    assert master.end() == 0
    assert "killing it" not in master.text
    assert all(f"= leaving {pid} stop" in master.text for pid in pids)


def test_the_masters_death_is_seen(start: Start) -> None:
    master = start(workers=3)
    pids = master.ready(3)
    master.tell(signal.SIGKILL)
    orphans = {int(master.expect(r"= orphan (\d+)")[1]) for _ in pids}
    assert orphans == set(pids)


def test_a_killed_siblings_lifeline_is_held_by_nobody(start: Start) -> None:
    """Workers forked later must not keep an earlier worker's master end alive."""
    master = start(workers=2)
    pids = master.ready(2)
    master.tell(signal.SIGKILL, pids[0])
    later = master.ready(1)
    master.tell(signal.SIGKILL)
    assert {int(master.expect(r"= orphan (\d+)")[1]) for _ in range(2)} == {pids[1], *later}


def test_stop_now(start: Start) -> None:
    master = start("stubborn", workers=2)
    master.ready(2)
    master.tell(signal.SIGQUIT)
    assert master.end() == 0
    assert master.text.count("QUIT is not for me") == 2
    assert "it was asked to stop now, and did not" in master.text


def test_two_interrupts(start: Start) -> None:
    master = start("stubborn", workers=1, drain=1000)
    master.ready(1)
    master.tell(signal.SIGINT)
    master.expect("Received SIGINT: stopping within 1000 s")
    for number in (signal.SIGTERM, signal.SIGINT):  # copies that a launcher passes on
        master.tell(number)
    master.insist()
    master.expect("Received SIGINT: stopping now")
    assert master.end() == 0
    assert master.text.count("stopping now") == 1


def test_the_drain_deadline_is_exit_5(start: Start) -> None:
    master = start("stubborn", workers=1, drain=0)
    master.ready(1)
    master.tell(signal.SIGTERM)
    assert master.end() == 5
    assert "its drain deadline passed" in master.text


def test_a_worker_without_a_handler_dies_of_term(start: Start) -> None:
    master = start("deaf", workers=1)
    master.ready(1)
    master.tell(signal.SIGTERM)
    assert master.end() == 0


@pytest.mark.parametrize(("name", "mode"), [("SIGINT", "interrupt"), ("SIGTERM", "(stop|untold)")])
def test_a_signal_to_the_whole_group(start: Start, name: str, mode: str) -> None:
    master = start(workers=3)
    pids = master.ready(3)
    os.killpg(master.process.pid, getattr(signal, name))
    assert master.end() == 0
    assert len(re.findall(rf"= leaving \d+ {mode}", master.text)) == 3
    assert len(re.findall("= ready", master.text)) == len(pids)


def test_term_from_outside_to_one_worker(start: Start) -> None:
    master = start(workers=1)
    (pid,) = master.ready(1)
    master.tell(signal.SIGTERM, pid)
    master.expect(f"= leaving {pid} untold")
    master.expect("is leaving without being asked to")
    master.ready(1)
    master.tell(signal.SIGTERM)
    assert master.end() == 0


def test_more_and_fewer(start: Start) -> None:
    master = start(workers=1)
    master.ready(1)
    master.tell(signal.SIGTTIN)
    master.ready(1)
    master.tell(signal.SIGTTOU)
    master.expect(r"= leaving \d+ retire")
    master.tell(signal.SIGUSR1)
    master.expect("SIGUSR1")
    master.tell(signal.SIGUSR2)
    master.expect("SIGUSR2")
    master.tell(signal.SIGWINCH)
    master.tell(signal.SIGTERM)
    assert master.end() == 0


def test_what_a_worker_inherits(start: Start) -> None:
    master = start("describe", workers=2, WATCHDOG_USEC="60000000")
    master.ready(2)
    master.tell(signal.SIGTERM)
    assert master.end() == 0
    text = master.text
    if sys.platform == "linux":  # the worker's end of its own channel, and nothing of its sibling's or the master's
        assert text.count("= sockets listening=1 unix=1") == 2
    assert text.count("= signals silent=True default=True blocked=0") == 2
    assert len(set(re.findall(r"= random (\S+)", text))) == 2
    assert text.count("= environment False") == 2
    assert text.count("= atexit of the worker") == 2
    if sys.platform == "linux" and shutil.which("ps") and _has_setproctitle():
        assert {"uvicorn: worker 0 [app:App]", "uvicorn: worker 1 [app:App]"} == set(re.findall(r"= title (.+)", text))


def _has_setproctitle() -> bool:
    try:
        import setproctitle  # noqa: F401
    except ImportError:
        return False
    return True


def test_pid_1_reaps_orphans(start: Start) -> None:
    """In a PID namespace of its own, where the system lets us make one."""
    wrap = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if not shutil.which("unshare") or subprocess.run([*wrap, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespace can be made here")
    master = start("orphans", workers=1, prefix=wrap)
    master.expect(r"Started parent process \[1\]")
    master.expect("= the orphan was reaped")
    master.ready(1)
