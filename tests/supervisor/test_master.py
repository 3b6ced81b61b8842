"""The shell with a scripted kernel: every action becomes the right call, in order, and nothing is decided
here."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from uvicorn.config import Config
from uvicorn.net import sockets
from uvicorn.process import channel
from uvicorn.process.drainmode import DrainMode
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.actions import Status, Tell
from uvicorn.supervisor.events import Event, Signal
from uvicorn.supervisor.master import Master, app_name, policy_of
from uvicorn.supervisor.notify import Notifier

Script = list[tuple[float, list[Event]]]


class ScriptedKernel:
    """Plays (time, events) pairs, one for each wait, and writes down what it is asked for."""

    def __init__(self, script: Script, spy: Callable[[], str] = lambda: "") -> None:
        self.script = script
        self.spy = spy
        self.time = 0.0
        self.calls: list[str] = []
        self.deadlines: list[float | None] = []
        self.runs: list[Callable[[], int]] = []
        self.no_fork: set[int] = set()

    def now(self) -> float:
        return self.time

    def pid(self) -> int:
        return 500

    def wait(self, deadline: float | None) -> list[Event]:
        self.deadlines.append(deadline)
        self.time, events = self.script.pop(0)
        return events

    def spawn(self, serial: int, slot: int, generation: int, title: str, run: Callable[[], int]) -> Event:
        self.calls.append(f"spawn {serial} {slot} {generation} {title}")
        self.runs.append(run)
        return ev.SpawnFailed(serial, "no room") if serial in self.no_fork else ev.Spawned(serial, 600 + serial)

    def tell(self, serial: int, message: channel.Message) -> None:
        assert isinstance(message, channel.Drain)
        self.calls.append(f"tell {serial} {message.mode.name} {message.deadline:g}{self.spy()}")

    def tell_all(self, message: channel.Message) -> None:
        self.calls.append(f"tell all {type(message).__name__}")

    def signal(self, serial: int, name: str) -> None:
        self.calls.append(f"signal {serial} {name}")

    def dump_stack(self, serial: int) -> None:
        self.calls.append(f"dump {serial}")

    def ask(self, serial: int) -> None:
        self.calls.append(f"ask {serial}")

    def interrupt(self, serial: int) -> None:
        self.calls.append(f"interrupt {serial}")

    def measure_memory(self) -> list[Event]:
        self.calls.append("measure memory")
        return []

    def stack(self, serial: int) -> str | None:
        self.calls.append(f"stack {serial}")
        return 'File "app.py", line 3 in guilty'

    def close(self) -> None:
        self.calls.append("close")


class Manager:
    """A service manager's notification socket."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.settimeout(30)

    def heard(self) -> list[str]:
        return self.sock.recv(4096).decode().split("\n")


@pytest.fixture
def listener() -> Iterator[sockets.Listener]:
    found = sockets.bind_tcp("127.0.0.1", 0, 5)[0]
    yield found
    found.close()


@pytest.fixture
def error_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Other tests configure our loggers for good; here they must reach caplog."""
    changed = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error")]
    before = [(log.level, log.propagate, log.handlers, log.disabled) for log in changed]
    for log in changed:
        log.propagate, log.handlers, log.disabled = True, [], False
        log.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    yield caplog
    for log, (level, propagate, handlers, disabled) in zip(changed, before, strict=True):
        log.propagate, log.handlers, log.disabled = propagate, handlers, disabled
        log.setLevel(level)


def config(**settings: object) -> Config:
    return Config("app:App", log_config=None, **{"workers": 1, **settings})  # type: ignore[arg-type]


def run(
    kernel: ScriptedKernel, listeners: list[sockets.Listener], notifier: Notifier | None = None, **settings: object
) -> int:
    master = Master(
        config(**settings),
        listeners,
        lambda config, listeners: len(listeners),
        kernel=lambda: kernel,
        notifier=notifier or Notifier(None),
    )
    return master.run()


def test_a_life(listener: sockets.Listener, error_log: pytest.LogCaptureFixture) -> None:
    script: Script = [
        (1.0, [ev.WorkerReady(1)]),
        (2.0, [ev.SignalReceived(Signal.TERM)]),
        (3.0, [ev.WorkerExited(1, 0)]),
    ]
    url = listener.url
    kernel = ScriptedKernel(script, spy=lambda: f" listening {listener.sock.fileno() != -1}")
    assert run(kernel, [listener]) == 0
    assert kernel.calls == [
        "spawn 1 0 1 uvicorn: worker 0 [app:App]",
        "tell all Listening",
        "tell 1 STOP 27 listening False",
        "signal 1 SIGTERM",
        "close",
    ]
    assert kernel.deadlines == [60.0, 31.0, 29.0]
    lines = [record.getMessage() for record in error_log.records if record.levelno >= logging.INFO]
    assert lines == [
        "Started parent process [500]",
        f"Uvicorn running on {url} (Press CTRL+C to quit)",
        "ready: 1 worker",
        "Received SIGTERM: stopping within 25 s.",
        "Stopping parent process [500]",
    ]


def test_it_listens_when_somebody_serves(listener: sockets.Listener, error_log: pytest.LogCaptureFixture) -> None:
    kernel = ScriptedKernel([])
    seen: list[str] = []

    def look(deadline: float | None) -> list[Event]:
        seen.append(f"{len(seen)}: {'listens' if listener.listens else 'bound'}")
        if len(seen) == 1:
            assert "running on" not in error_log.text
            return [ev.WorkerReady(1)]
        return [ev.SignalReceived(Signal.QUIT), ev.WorkerExited(1, 0)]

    kernel.wait = look  # type: ignore[method-assign]
    assert run(kernel, [listener]) == 0
    assert seen == ["0: bound", "1: listens"]
    assert error_log.text.count("running on") == 1


def test_who_listened_first_has_the_port(listener: sockets.Listener, error_log: pytest.LogCaptureFixture) -> None:
    """Both were bound: the second finds out when it listens."""
    host, port = listener.sock.getsockname()
    (other,) = sockets.bind_tcp(host, port, 5)
    other.listen()
    kernel = ScriptedKernel([(1.0, [ev.WorkerReady(1)]), (2.0, [ev.WorkerExited(1, 0)])])
    assert run(kernel, [listener]) == 3
    other.close()
    assert f"Cannot listen on {host}:{port}: the port is in use." in error_log.text
    assert "running on" not in error_log.text and "tell all Listening" not in kernel.calls


def test_the_worker_gets_the_sockets(listener: sockets.Listener) -> None:
    sizes: list[int] = []

    class Running(ScriptedKernel):
        def spawn(self, serial: int, slot: int, generation: int, title: str, run: Callable[[], int]) -> Event:
            sizes.append(run())
            return ev.Spawned(serial, 1)

    assert run(Running([(1.0, [ev.WorkerExited(1, 1)])]), [listener]) == 3
    assert sizes == [1]


def test_what_is_said_at_once_is_heard_before_what_waited(listener: sockets.Listener) -> None:
    """A fork that fails answers before the next wake-up is judged."""
    kernel = ScriptedKernel(
        [(1.0, [ev.WorkerReady(1)]), (3.0, [ev.WorkerExited(1, 1)]), (3.0, [ev.SignalReceived(Signal.QUIT)])]
    )
    kernel.no_fork = {2}
    assert run(kernel, [listener]) == 0
    assert kernel.calls[2:] == ["spawn 2 0 1 uvicorn: worker 0 [app:App]", "close"]


def test_stop_now_and_kill(listener: sockets.Listener) -> None:
    script: Script = [
        (1.0, [ev.WorkerReady(1)]),
        (2.0, [ev.SignalReceived(Signal.QUIT)]),
        (3.0, [ev.Tick()]),
        (3.1, [ev.WorkerExited(1, 137, "SIGKILL")]),
    ]
    kernel = ScriptedKernel(script)
    assert run(kernel, [listener]) == 0
    assert kernel.calls[2:] == ["signal 1 SIGQUIT", "signal 1 SIGKILL", "close"]


def test_a_hang_is_logged_with_its_stack(listener: sockets.Listener, error_log: pytest.LogCaptureFixture) -> None:
    script: Script = [
        (1.0, [ev.WorkerReady(1)]),
        (4.0, [ev.Tick()]),
        (4.5, [ev.Tick()]),
        (4.6, [ev.WorkerExited(1, 137, "SIGKILL"), ev.SignalReceived(Signal.QUIT)]),
        (5.0, [ev.WorkerExited(2, 131, "SIGQUIT")]),
    ]
    kernel = ScriptedKernel(script)
    assert run(kernel, [listener], timeout_worker_healthcheck=3) == 0
    assert kernel.calls[2:6] == [
        "dump 1",
        "stack 1",
        "signal 1 SIGKILL",
        "spawn 2 0 1 uvicorn: worker 0 [app:App]",
    ]
    assert 'File "app.py", line 3 in guilty' in error_log.text


def test_a_fault_of_our_own_is_exit_1_and_leaves_nothing_open(
    listener: sockets.Listener, error_log: pytest.LogCaptureFixture
) -> None:
    kernel = ScriptedKernel([])
    assert run(kernel, [listener]) == 1
    assert kernel.calls[-1] == "close"
    assert listener.sock.fileno() == -1
    assert "IndexError" in error_log.text


def test_reopening_logs_is_a_sentence_and_every_worker_hears(
    listener: sockets.Listener, error_log: pytest.LogCaptureFixture
) -> None:
    script: Script = [
        (1.0, [ev.SignalReceived(Signal.USR1), ev.SignalReceived(Signal.TERM)]),
        (2.0, [ev.WorkerExited(1, 0)]),
    ]
    kernel = ScriptedKernel(script)
    assert run(kernel, [listener]) == 0
    assert "Received SIGUSR1: there is no open log file to reopen." in error_log.text
    assert kernel.calls[1] == "tell all Reopen"


def test_the_service_manager_hears(listener: sockets.Listener, tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    script: Script = [
        (1.0, [ev.WorkerReady(1)]),
        (2.0, [ev.SignalReceived(Signal.HUP)]),
        (3.0, [ev.WorkerReady(2)]),
        (4.0, [ev.WorkerExited(1, 0), ev.SignalReceived(Signal.TERM), ev.WorkerExited(2, 0)]),
    ]
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    assert run(ScriptedKernel(script), [listener], Notifier.take(environ)) == 0
    assert environ == {}
    manager.sock.setblocking(False)
    heard = []
    while True:
        try:
            heard.append(manager.heard())
        except BlockingIOError:
            break
    manager.sock.close()
    assert [message[:-1] for message in heard if len(message) > 1] == [
        ["READY=1"],
        ["RELOADING=1", "MONOTONIC_USEC=2000000"],
        ["READY=1"],
        ["STOPPING=1"],
    ]
    assert "STATUS=1 of 1 workers ready, generation 2" in [message[-1] for message in heard]


def test_the_watchdog_is_asked_for_and_answered(listener: sockets.Listener, tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    environ = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "20000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    script: Script = [
        (1.0, [ev.WorkerReady(1)]),
        (10.0, [ev.Heartbeats((ev.Heartbeat(1, 9.9, 0, 3),)), ev.Tick()]),
        (11.0, [ev.SignalReceived(Signal.QUIT), ev.WorkerExited(1, 0)]),
    ]
    kernel = ScriptedKernel(script)
    assert run(kernel, [listener], Notifier.take(environ)) == 0
    assert environ == {}
    assert kernel.deadlines[:2] == [10.0, 10.0]
    heard = [manager.heard() for _ in range(5)]
    manager.sock.close()
    assert [message for message in heard if message[0].startswith("WATCHDOG")] == [
        ["WATCHDOG=1", "STATUS=1 of 1 workers ready, generation 1, 0 requests in flight, 3 served"]
    ]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "18446744073709551615"}, 18446744073709.551615),
        ({"WATCHDOG_USEC": "9" * 400}, 0.0),
        ({"WATCHDOG_USEC": "9" * 5000}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_whom_the_watchdog_is_for(environ: dict[str, str], seconds: float) -> None:
    assert Notifier.take({"NOTIFY_SOCKET": "/x", **environ}).watchdog == seconds
    assert Notifier.take(dict(environ)).watchdog == 0.0, "nobody could be told"


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the kernel chooses an abstract name
        manager.settimeout(30)
        name = manager.getsockname()
        Notifier("@" + name[1:].decode()).send(Status.READY, "fine", 1.0)
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"


def test_a_manager_that_is_gone_costs_one_debug_line(tmp_path: Path, error_log: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.send(Status.READY, "fine", 1.0)
    notifier.send(Status.READY, "fine", 2.0)
    assert [record.levelname for record in error_log.records] == ["DEBUG"]


def test_modes_are_the_channels() -> None:
    assert [mode.name for mode in DrainMode] == ["RETIRE", "STOP", "INTERRUPT", "CUT"]
    for mode in DrainMode:
        order = Tell(1, mode, 2.0)
        assert channel.decode(channel.encode(channel.Drain(order.mode, order.deadline))) == channel.Drain(mode, 2.0)


def test_settings_become_limits() -> None:
    wanted = policy_of(config(timeout_graceful_shutdown=7, timeout_worker_healthcheck=3))
    assert (wanted.drain, wanted.hang, wanted.boot, wanted.fixed_code) == (7.0, 3.0, 0.0, False)

    async def application(scope: object, receive: object, send: object) -> None:
        """Never called."""

    given = Config(application, log_config=None, workers=1)
    assert policy_of(given).fixed_code
    assert app_name(given).endswith("application")
