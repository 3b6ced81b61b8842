"""What `test_processes` runs: a master over workers that have no loop, only what the channel asks of them.

    program.py PLAN WORKERS DRAIN HANG

PLAN is a file; each worker reads it when it starts and behaves like its first word: serve, describe,
orphans, deaf, stubborn, fail, raise, sysexit, status N; "stick" blocks those that serve already. Everything
is said on standard error, a line a write, so that lines never mix.
"""

from __future__ import annotations

import atexit
import importlib
import os
import random
import select
import signal
import socket
import sys
import time
from pathlib import Path

from uvicorn.config import Config
from uvicorn.errors import StartupError
from uvicorn.net import sockets
from uvicorn.process import channel
from uvicorn.process.page import Phase
from uvicorn.supervisor.master import Master

plan, workers, drain, hang = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
stopping: list[int] = []


def say(text: str) -> None:
    os.write(2, f"= {text}\n".encode())


def guilty_function() -> None:
    """The line that a stack must show."""
    while True:
        time.sleep(60)


def leave_an_orphan() -> None:
    """A grandchild that outlives its parent becomes a child of PID 1; say so once PID 1 has reaped it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild:
            os.write(writer, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    path = Path("/proc") / os.read(reader, 20).decode()
    while path.exists():
        time.sleep(0.01)
    say("the orphan was reaped")


def describe(link: channel.WorkerLink, listeners: list[sockets.Listener]) -> None:
    fds = [int(name) for name in os.listdir("/proc/self/fd")] if Path("/proc/self/fd").exists() else []
    unix = 0
    for fd in fds:
        try:
            blocking = os.get_blocking(fd)
            with socket.socket(fileno=os.dup(fd)) as sock:
                unix += sock.family == socket.AF_UNIX
            os.set_blocking(fd, blocking)  # PyPy makes the socket that both are of a blocking one
        except OSError:
            pass
    say(f"sockets listening={len(listeners)} unix={unix}")
    silent = all(callable(signal.getsignal(getattr(signal, n))) for n in ("SIGINT", "SIGHUP", "SIGUSR1"))
    default = all(signal.getsignal(getattr(signal, n)) == signal.SIG_DFL for n in ("SIGTERM", "SIGQUIT"))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    say(f"signals silent={silent} default={default} blocked={len(blocked)}")
    say(f"random {random.random()}")
    say(f"environment {any(name.startswith(('NOTIFY_', 'WATCHDOG_')) for name in os.environ)}")
    title = Path("/proc/self/cmdline")
    say(f"title {title.read_bytes().rstrip(bytes(1)).decode() if title.exists() else '?'}")
    atexit.register(say, "atexit of the worker")


def serve(link: channel.WorkerLink, word: str) -> int:
    if word != "deaf":
        signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    if word == "orphans":
        leave_an_orphan()
    if word == "stubborn":
        signal.signal(signal.SIGQUIT, lambda *_: say("QUIT is not for me"))
    link.heartbeat.beat(time.monotonic(), 0, Phase.SERVING, 7)
    link.endpoint.send(channel.Ready())
    say(f"ready {os.getpid()} slot {link.slot} gen {link.generation}")
    poller = select.poll()
    poller.register(link.endpoint, select.POLLIN)
    while True:
        poller.poll(100)
        link.heartbeat.beat(time.monotonic(), 3, Phase.SERVING, 10)
        if not link.poll():
            say(f"orphan {os.getpid()}")
            return 0
        if Path(plan).read_text().split()[:1] == ["stick"]:
            say(f"stuck {os.getpid()}")
            guilty_function()
        if (link.drain or stopping) and word != "stubborn":
            link.poll()  # the order is on its way before the signal is
            say(f"leaving {os.getpid()} {link.drain.mode.value if link.drain else 'untold'}")
            link.endpoint.send(channel.Drained())
            return 0


def run_worker(config: Config, listeners: list[sockets.Listener]) -> int:
    link = channel.current
    assert link is not None
    word, *rest = Path(plan).read_text().split()
    if word == "fail":
        try:
            importlib.import_module("nothing")
        except ImportError as cause:
            raise StartupError("Error loading ASGI app.") from cause
    if word == "raise":
        raise RuntimeError("boom at import")
    if word == "status":
        os._exit(int(rest[0]))
    if word == "sysexit":
        sys.exit(0)
    if word == "describe":
        describe(link, listeners)
    return serve(link, word)


def inherited() -> None:
    say(f"atexit of the master in {'master' if os.getpid() == master_pid else 'worker'}")


master_pid = os.getpid()
if __name__ == "__main__":
    atexit.register(inherited)
    config = Config("app:App", workers=workers, timeout_graceful_shutdown=drain, timeout_worker_healthcheck=hang)
    code = Master(config, sockets.bind_tcp("127.0.0.1", 0, 5), run_worker).run()
    sys.exit(code)
