"""The real kernel over real processes. A test waits for lines, datagrams and exits, never for time.

Each master gets a session of its own; whatever is left of it is killed at the end of the test, passed or
failed.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import uvicorn

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

PATIENCE = 30.0
PROGRAM = Path(__file__).with_name("program.py")


class Running:
    """A master in its own session, and every line that it and its workers have written."""

    def __init__(
        self,
        folder: Path,
        plan: str,
        workers: int,
        drain: float,
        hang: float,
        prefix: list[str],
        environ: dict[str, str],
    ) -> None:
        self.plan = folder / "plan"
        self.plan.write_text(plan)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.settimeout(PATIENCE)
        self.lines: list[str] = []
        self.unmatched: list[str] = []
        self.rest = b""
        env = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "NO_COLOR": "1"}
        env |= {"PYTHONPATH": str(Path(uvicorn.__file__).parents[1]), **environ}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, str(PROGRAM), str(self.plan), str(workers), str(drain), str(hang)],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=env,
            start_new_session=True,
        )

    # -- events ----------------------------------------------------------------------------------------------

    def read_line(self, deadline: float) -> str | None:
        """The next line, None once every process has closed the pipe."""
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        while b"\n" not in self.rest:
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError("nothing more is said; so far:\n" + "\n".join(self.lines))
            data = os.read(fd, 65536)
            if not data:
                return None
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        self.lines.append(line.decode())
        self.unmatched.append(self.lines[-1])
        return self.lines[-1]

    def expect(self, pattern: str) -> re.Match[str]:
        """Read until a line matches that has not matched before; lines of different processes come in any
        order."""
        deadline = time.monotonic() + PATIENCE
        seen = 0
        while True:
            for index in range(seen, len(self.unmatched)):
                if found := re.search(pattern, self.unmatched[index]):
                    del self.unmatched[index]
                    return found
            seen = len(self.unmatched)
            if self.read_line(deadline) is None:
                break
        raise AssertionError(f"ended without {pattern!r}:\n" + "\n".join(self.lines))

    def ready(self, count: int, generation: int = 1) -> list[int]:
        """The pids of the next workers that say they are ready."""
        return [int(self.expect(rf"= ready (\d+) slot \d+ gen {generation}\b")[1]) for _ in range(count)]

    def exit_code(self) -> int:
        """Read to the end, then the code of the master."""
        deadline = time.monotonic() + PATIENCE
        while self.read_line(deadline) is not None:
            pass
        return self.process.wait(PATIENCE)

    def notified(self, first: str) -> list[str]:
        """The next datagram that opens with this line."""
        while True:
            message = self.manager.recv(4096).decode().split("\n")
            if message[0] == first:
                return message

    def silence(self) -> None:
        """Forget what the manager was told so far."""
        self.manager.setblocking(False)
        try:
            while self.manager.recv(4096):
                pass
        except BlockingIOError:
            self.manager.settimeout(PATIENCE)

    def text(self) -> str:
        return "\n".join(self.lines)

    def kill(self, name: str, pid: int | None = None) -> None:
        os.kill(self.process.pid if pid is None else pid, getattr(signal, name))

    def end(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # its session's group: the workers are in it as well
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.manager.close()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Running] = []

    def begin(
        plan: str = "serve",
        workers: int = 2,
        drain: float = 10,
        hang: float = 0,
        prefix: tuple[str, ...] = (),
        **environ: str,
    ) -> Running:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Running(folder, plan, workers, drain, hang, list(prefix), environ))
        return running[-1]

    yield begin
    for one in running:
        one.end()


def test_serve_kill_one_and_stop(start: Start) -> None:
    master = start(workers=3)
    pids = master.ready(3)
    assert len(set(pids)) == 3
    assert master.notified("READY=1")[1].startswith("STATUS=3 of 3 workers ready")
    master.kill("SIGKILL", pids[1])
    master.expect(rf"ERROR: +Worker \d \[{pids[1]}\] was killed by SIGKILL from outside")
    (fresh,) = master.ready(1)
    assert fresh not in pids
    master.kill("SIGTERM")
    assert master.exit_code() == 0
    assert len(re.findall(r"= leaving \d+ stop", master.text())) == 3
    assert "= atexit of the master in master" in master.text()
    assert "= atexit of the master in worker" not in master.text()
    master.notified("STOPPING=1")
    assert f"Started parent process [{master.process.pid}]" in master.text()
    assert f"Stopping parent process [{master.process.pid}]" in master.text()


def test_reload(start: Start) -> None:
    master = start()
    old = master.ready(2)
    master.notified("READY=1")
    master.kill("SIGHUP")
    assert master.notified("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
    new = master.ready(2, generation=2)
    master.expect(r"reloaded: 2 workers, generation 2, \d+\.\d s")
    assert "last reload" not in master.notified("READY=1")[1]
    assert not set(old) & set(new)
    assert {int(master.expect(r"= leaving (\d+) retire")[1]) for _ in old} == set(old)
    master.kill("SIGTERM")
    assert master.exit_code() == 0


def test_reload_onto_broken_code_and_again_after_the_fix(start: Start) -> None:
    master = start()
    old = master.ready(2)
    master.notified("READY=1")
    master.plan.write_text("fail")
    master.kill("SIGHUP")
    master.expect("reload failed, still serving generation 1: Error loading ASGI app.")
    master.expect("ModuleNotFoundError: No module named 'nothing'")
    master.notified("RELOADING=1")
    assert "generation 1, the last reload failed" in master.notified("READY=1")[1]
    assert all(Path(f"/proc/{pid}").exists() for pid in old) or not Path("/proc/self").exists()
    master.plan.write_text("serve")
    master.kill("SIGHUP")
    master.ready(2, generation=3)
    master.expect("reloaded: 2 workers, generation 3")
    master.kill("SIGTERM")
    assert master.exit_code() == 0


def test_the_watchdog_is_answered_while_half_of_the_loops_turn(start: Start) -> None:
    master = start(workers=2, WATCHDOG_USEC="1500000")
    pids = master.ready(2)
    master.notified("READY=1")
    answers = (master.notified("WATCHDOG=1")[1] for _ in range(40))
    assert "STATUS=2 of 2 workers ready, generation 1, 6 requests in flight, 14 served" in answers
    master.kill("SIGSTOP", pids[0])
    for _ in range(4):  # looks at 0.75 s each: the stopped one is past its limit long before the last
        master.notified("WATCHDOG=1")
    master.kill("SIGSTOP", pids[1])
    master.expect("2 of 2 event loops do not turn: the service manager's watchdog gets no answer")
    master.kill("SIGCONT", pids[1])
    master.silence()
    master.notified("WATCHDOG=1")
    for pid in pids:
        master.kill("SIGCONT", pid)
    master.kill("SIGTERM")
    assert master.exit_code() == 0


def test_a_drain_is_longer_than_the_watchdog(start: Start) -> None:
    master = start("stubborn", workers=1, drain=1000, WATCHDOG_USEC="400000")
    master.ready(1)
    master.kill("SIGTERM")
    master.notified("STOPPING=1")
    for _ in range(4):
        master.notified("WATCHDOG=1")
    master.kill("SIGQUIT")
    assert master.exit_code() == 0


def test_many_hups(start: Start) -> None:
    master = start()
    master.ready(2)
    for _ in range(25):
        master.kill("SIGHUP")
    master.expect("reloaded: 2 workers")
    master.kill("SIGTERM")
    assert master.exit_code() == 0


@pytest.mark.parametrize(
    ("plan", "cause"),
    [
        ("fail", "ModuleNotFoundError: No module named 'nothing'"),
        ("raise", "RuntimeError: boom at import"),
        ("sysexit", "SystemExit: 0"),
        ("status 7", "left with status 7 before it was ready"),
        ("status 0", "left with status 0 before it was ready"),
    ],
)
def test_what_cannot_start_is_told_once(start: Start, plan: str, cause: str) -> None:
    master = start(plan, workers=4)
    assert master.exit_code() == 3
    assert master.text().count(cause) == 1
    assert master.text().count("Traceback") == (0 if "status" in plan else 1)


def test_a_loop_that_does_not_turn(start: Start) -> None:
    master = start(workers=1, hang=1)
    (pid,) = master.ready(1)
    master.plan.write_text("stick")
    master.expect(f"= stuck {pid}")
    master.plan.write_text("serve")
    master.expect(rf"Worker 0 \[{pid}\] has not turned its event loop .*3 requests in flight.*killing it")
    master.expect("its main thread is waiting")
    master.expect("guilty_function")
    master.ready(1)
    master.kill("SIGTERM")
    assert master.exit_code() == 0


def test_a_worker_that_is_stopped(start: Start) -> None:
    master = start(workers=1, hang=1)
    (pid,) = master.ready(1)
    master.kill("SIGSTOP", pid)
    master.expect("its main thread is stopped by a signal")
    master.ready(1)
    master.kill("SIGTERM")
    assert master.exit_code() == 0


def test_a_master_that_was_stopped_kills_nobody(start: Start) -> None:
    """A whole tree is stopped for longer than its limit, as in a suspend. Another one, with a longer limit,
    is the clock."""
    clock = start(workers=1, hang=3)
    (stopped,) = clock.ready(1)
    master = start(workers=2, hang=1)
    pids = master.ready(2)
    master.notified("READY=1")  # the master knows it, too: from here on it judges beats
    os.killpg(master.process.pid, signal.SIGSTOP)
    clock.kill("SIGSTOP", stopped)
    clock.expect("killing it")
    os.killpg(master.process.pid, signal.SIGCONT)
    master.expect("The master itself was held up")
    master.kill("SIGTERM")
    assert master.exit_code() == 0
    assert "killing it" not in master.text()
    assert all(f"= leaving {pid} stop" in master.text() for pid in pids)


def test_the_masters_death_is_seen(start: Start) -> None:
    master = start(workers=3)
    pids = master.ready(3)
    master.kill("SIGKILL")
    orphans = {int(master.expect(r"= orphan (\d+)")[1]) for _ in pids}
    assert orphans == set(pids)


def test_a_killed_siblings_lifeline_is_held_by_nobody(start: Start) -> None:
    """Workers forked later must not keep an earlier worker's master end alive."""
    master = start(workers=2)
    pids = master.ready(2)
    master.kill("SIGKILL", pids[0])
    later = master.ready(1)
    master.kill("SIGKILL")
    assert {int(master.expect(r"= orphan (\d+)")[1]) for _ in range(2)} == {pids[1], *later}


def test_stop_now(start: Start) -> None:
    master = start("stubborn", workers=2)
    master.ready(2)
    master.kill("SIGQUIT")
    assert master.exit_code() == 0
    assert master.text().count("QUIT is not for me") == 2
    assert "it was asked to stop now, and did not" in master.text()


def test_two_interrupts(start: Start) -> None:
    master = start("stubborn", workers=1, drain=1000)
    master.ready(1)
    master.kill("SIGINT")
    master.expect("Received SIGINT: stopping within 1000 s")
    master.kill("SIGINT")
    master.expect("Received SIGINT: stopping now")
    assert master.exit_code() == 0


def test_the_drain_deadline_is_exit_5(start: Start) -> None:
    master = start("stubborn", workers=1, drain=0)
    master.ready(1)
    master.kill("SIGTERM")
    assert master.exit_code() == 5
    assert "its drain deadline passed" in master.text()


def test_a_worker_without_a_handler_dies_of_term(start: Start) -> None:
    master = start("deaf", workers=1)
    master.ready(1)
    master.kill("SIGTERM")
    assert master.exit_code() == 0


@pytest.mark.parametrize(("name", "mode"), [("SIGINT", "interrupt"), ("SIGTERM", "(stop|untold)")])
def test_a_signal_to_the_whole_group(start: Start, name: str, mode: str) -> None:
    master = start(workers=3)
    pids = master.ready(3)
    os.killpg(master.process.pid, getattr(signal, name))
    assert master.exit_code() == 0
    assert len(re.findall(rf"= leaving \d+ {mode}", master.text())) == 3
    assert len(re.findall("= ready", master.text())) == len(pids)


def test_term_from_outside_to_one_worker(start: Start) -> None:
    master = start(workers=1)
    (pid,) = master.ready(1)
    master.kill("SIGTERM", pid)
    master.expect(f"= leaving {pid} untold")
    master.expect("leaves without having been told to")
    master.ready(1)
    master.kill("SIGTERM")
    assert master.exit_code() == 0


def test_more_and_fewer(start: Start) -> None:
    master = start(workers=1)
    master.ready(1)
    master.kill("SIGTTIN")
    master.ready(1)
    master.kill("SIGTTOU")
    master.expect(r"= leaving \d+ retire")
    master.kill("SIGUSR1")
    master.expect("SIGUSR1")
    master.kill("SIGUSR2")
    master.expect("SIGUSR2")
    master.kill("SIGWINCH")
    master.kill("SIGTERM")
    assert master.exit_code() == 0


def test_what_a_worker_inherits(start: Start) -> None:
    master = start("describe", workers=2, WATCHDOG_USEC="60000000")
    master.ready(2)
    master.kill("SIGTERM")
    assert master.exit_code() == 0
    text = master.text()
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
