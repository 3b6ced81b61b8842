"""Workers under a real gunicorn: its signals, timeouts, heartbeats and limits, by our classes and by the package
uvicorn-worker, which is one thin class on top of `Config` and `Server`."""

from __future__ import annotations

import concurrent.futures
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from certificates import Authority, Pair
from programs import Program, Start

pytest.importorskip("gunicorn")

PATIENCE = 20.0

UNANSWERED = (OSError, http.client.HTTPException, AssertionError)
"""What `get` raises for a request that was ended: by a closed connection or by a 500."""

GUNICORN = "from gunicorn.app.wsgiapp import run; run()"

OURS = ["uvicorn.workers.UvicornWorker", "uvicorn.workers.UvicornH11Worker"]
THEIRS = ["uvicorn_worker.UvicornWorker"] if importlib.util.find_spec("uvicorn_worker") else []

APP = """
import asyncio, json, os, pathlib, signal, time

HERE = pathlib.Path(__file__).parent
print("imported by", os.getpid(), flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            print(message["type"], os.getpid(), flush=True)
            if message["type"] == "lifespan.startup":
                await starting()
                scope["state"]["here"] = os.getpid()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/hold":
        print("held", flush=True)
        while not (HERE / "release").exists():
            await asyncio.sleep(0.2)
            print("still there", flush=True)
    if scope["path"] == "/fork" and os.fork() == 0:
        names = ("SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGABRT")
        handlers = {signal.getsignal(getattr(signal, name)) for name in names}
        print("child", os.getpid(), handlers == {signal.SIG_DFL}, flush=True)
        signal.pause()
    if scope["path"] == "/block":
        hold_the_loop()
    told = {"pid": scope["state"]["here"], "client": scope["client"], "scheme": scope["scheme"], "uid": os.geteuid()}
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


async def starting():
    pass


def hold_the_loop():
    while not (HERE / "release").exists():
        time.sleep(0.02)
"""


class Gunicorn:
    """A running gunicorn, what it has said, and how to ask it."""

    def __init__(self, program: Program, workers: int) -> None:
        self.program = program
        self.process = program.process
        self.says(r"Application startup complete", workers)
        listening = re.search(r"Listening at: (?:https?://127\.0\.0\.1:(\d+)|unix:(\S+)) ", self.text)
        assert listening is not None, self.text
        self.port, self.path = int(listening[1] or 0), listening[2]

    @property
    def text(self) -> str:
        return self.program.text

    def says(self, words: str, times: int = 1) -> list[str]:
        """Read until it has said that so many times; all of them. `words` has one group at most."""
        self.program.until(lambda: len(re.findall(words, self.text)) >= times, words)
        found = re.findall(words, self.text)
        assert len(found) >= times, f"{words!r} came {len(found)} times:\n{self.text}"
        return found

    def tell(self, number: signal.Signals) -> None:
        self.program.tell(number)

    @property
    def booted(self) -> set[int]:
        return {int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.text)}

    def connect(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        if tls is not None:
            return http.client.HTTPSConnection("localhost", self.port, context=tls, timeout=PATIENCE)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        if self.path:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(PATIENCE)
            connection.sock.connect(self.path)
        return connection

    def get(self, path: str = "/", tls: ssl.SSLContext | None = None, **headers: str) -> dict[str, Any]:
        connection = self.connect(tls)
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, (response.status, body)
            told: dict[str, Any] = json.loads(body)
            return told
        finally:
            connection.close()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        return self.program.end(number)


class StartGunicorn(Protocol):
    """start(*arguments, app=…) → gunicorn, all of whose workers serve."""

    def __call__(self, *arguments: str, app: str = APP, workers: int = 2, bind: str = "127.0.0.1:0") -> Gunicorn: ...


@pytest.fixture
def start(start_program: Start, tmp_path: Path) -> StartGunicorn:
    def begin(*arguments: str, app: str = APP, workers: int = 2, bind: str = "127.0.0.1:0") -> Gunicorn:
        return Gunicorn(launch(start_program, tmp_path, *arguments, app=app, workers=workers, bind=bind), workers)

    return begin


def launch(
    start_program: Start,
    folder: Path,
    *arguments: str,
    app: str = APP,
    workers: int = 1,
    bind: str = "127.0.0.1:0",
    target: str = "app:app",
) -> Program:
    (folder / "app.py").write_text(app)
    if "-k" not in arguments:
        arguments = ("-k", OURS[0], *arguments)
    # The folder for heartbeats is in memory where there is one: a disk that is slow must not look like a hang.
    shm = ["--worker-tmp-dir", "/dev/shm"] if os.path.isdir("/dev/shm") else []
    return start_program(
        GUNICORN,
        target,
        "-w",
        str(workers),
        "-b",
        bind,
        "--no-control-socket",
        *shm,
        *arguments,
        env={"WEB_CONCURRENCY": "1"},
    )


class Load:
    """Clients that ask without a pause, every other one over a kept connection."""

    def __init__(self, master: Gunicorn) -> None:
        self.failures: list[str] = []
        self.pids: set[int] = set()
        self._master = master
        self._stop = threading.Event()
        self._answered = threading.Condition()

    def until(self, holds: Callable[[set[int]], object]) -> None:
        """Wait until it holds for the workers that have answered since."""
        with self._answered:
            self.pids.clear()
            assert self._answered.wait_for(lambda: holds(self.pids), PATIENCE), (self.pids, self.failures[:3])

    def _ask(self, keeps: bool) -> None:
        connection = None
        while not self._stop.is_set() and len(self.failures) < 100:
            try:
                connection = connection or self._master.connect()
                connection.request("GET", "/")
                response = connection.getresponse()
                told = json.loads(response.read())
                with self._answered:
                    self.pids.add(told["pid"])
                    self._answered.notify_all()
                if keeps and not response.will_close:
                    continue
            except (OSError, http.client.HTTPException, ValueError) as exc:
                self.failures.append(repr(exc))
            if connection is not None:
                connection.close()
            connection = None
        if connection is not None:
            connection.close()

    @contextmanager
    def running(self, clients: int = 6) -> Iterator[Load]:
        threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(PATIENCE)


def others(before: set[int], pids: set[int]) -> set[int]:
    return pids - before


def gone(master: Gunicorn, pids: set[int]) -> None:
    for pid in pids:
        master.says(rf"Finished server process \[{pid}\]")


# -- under load ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", OURS + THEIRS)
def test_a_reload_under_load_loses_nothing(start: StartGunicorn, worker: str) -> None:
    master = start("-k", worker, workers=4)
    with Load(master).running() as load:
        load.until(lambda pids: pids)
        for generation in (2, 3):
            before = master.booted
            master.tell(signal.SIGHUP)
            gone(master, before)
            master.says("Application startup complete", 4 * generation)
            load.until(partial(others, before))
    assert load.failures == []
    assert master.end() == 0


@pytest.mark.parametrize("worker", OURS + THEIRS)
def test_a_limit_of_requests_under_load_loses_nothing(start: StartGunicorn, worker: str) -> None:
    master = start("-k", worker, "--max-requests", "800", "--max-requests-jitter", "80", workers=2)
    with Load(master).running() as load:
        master.says(r"Maximum request limit of 8\d\d exceeded", 4)
        seen = master.booted
        load.until(lambda pids: pids - seen)
    assert load.failures == []
    assert master.end() == 0


def test_more_and_fewer_workers_under_load(start: StartGunicorn) -> None:
    master = start(workers=1)
    with Load(master).running() as load:
        load.until(lambda pids: pids)
        first = set(master.booted)
        master.tell(signal.SIGTTIN)
        master.says("Application startup complete", 2)
        load.until(lambda pids: pids > first)
        master.tell(signal.SIGTTOU)
        gone(master, first)  # the older one
        load.until(lambda pids: pids - first)
    assert load.failures == []
    assert master.end() == 0


# -- the end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", OURS + THEIRS)
def test_a_stop_answers_what_is_in_flight(start: StartGunicorn, tmp_path: Path, worker: str) -> None:
    master = start("-k", worker)
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        answers = [clients.submit(master.get, "/hold") for _ in range(6)]
        master.says("held", 6)
        master.tell(signal.SIGTERM)
        master.says(r"Shutting down\n", len({*master.booted}))
        assert not any(answer.done() for answer in answers)
        (tmp_path / "release").touch()
        assert {answer.result(PATIENCE)["pid"] for answer in answers} <= master.booted
    assert master.end() == 0
    assert master.text.count("lifespan.shutdown") == 2, master.text
    with pytest.raises(ConnectionRefusedError):
        master.get()


@pytest.mark.parametrize("worker", [OURS[0], *THEIRS])
def test_a_term_that_is_repeated_is_no_wish_for_haste(start: StartGunicorn, tmp_path: Path, worker: str) -> None:
    """gunicorn does so, about once a second, until a worker that is one too many has left."""
    master = start("-k", worker, workers=1)
    with concurrent.futures.ThreadPoolExecutor(1) as clients:
        answer = clients.submit(master.get, "/hold")
        master.says("held")
        (pid,) = master.booted
        os.kill(pid, signal.SIGTERM)
        master.says(r"Shutting down\n")
        for _ in range(2):
            os.kill(pid, signal.SIGTERM)
            master.says("still there", master.text.count("still there") + 3)
        (tmp_path / "release").touch()
        assert answer.result(PATIENCE)["pid"] == pid
    master.says("Application startup complete", 2)
    assert master.end() == 0


def test_what_the_application_forks_is_no_worker(start: StartGunicorn) -> None:
    master = start(workers=1)
    master.get("/fork")
    (child,) = (int(pid) for pid in master.says(r"child (\d+) True"))
    master.tell(signal.SIGTERM)
    assert master.process.wait(PATIENCE) == 0
    with pytest.raises(ConnectionRefusedError):
        master.get()
    os.kill(child, signal.SIGTERM)
    assert master.end(signal.SIGTERM) == 0  # it has held the output open


def test_what_outlasts_the_graceful_timeout_is_cancelled_before_gunicorn_kills(start: StartGunicorn) -> None:
    master = start("--graceful-timeout", "2", workers=1)
    with concurrent.futures.ThreadPoolExecutor(1) as clients:
        answer = clients.submit(master.get, "/hold")
        master.says("held")
        assert master.end() == 0
        with pytest.raises(UNANSWERED):
            answer.result(PATIENCE)
    assert "Cancel 1 running task(s)" in master.text
    assert "lifespan.shutdown" in master.text and "SIGKILL" not in master.text, master.text


@pytest.mark.parametrize("way", ["QUIT", "INT", "Ctrl-C"])
def test_a_fast_stop_waits_for_nobody_and_shuts_the_application_down(start: StartGunicorn, way: str) -> None:
    master = start()
    with concurrent.futures.ThreadPoolExecutor(1) as clients:
        answer = clients.submit(master.get, "/hold")
        master.says("held")
        if way == "Ctrl-C":
            os.killpg(master.process.pid, signal.SIGINT)
        else:
            master.tell(signal.Signals[f"SIG{way}"])
        assert master.end() == 0
        with pytest.raises(UNANSWERED):
            answer.result(PATIENCE)
    assert "Worker exiting" in master.text and "Traceback" not in master.text, master.text
    assert len(re.findall("lifespan.shutdown", master.text)) == len(master.booted)


def test_a_worker_whose_master_is_gone_finishes_and_leaves(start: StartGunicorn, tmp_path: Path) -> None:
    master = start(workers=1)
    with concurrent.futures.ThreadPoolExecutor(1) as clients:
        answer = clients.submit(master.get, "/hold")
        master.says("held")
        master.process.kill()
        master.says("The arbiter is gone")
        (tmp_path / "release").touch()
        assert {answer.result(PATIENCE)["pid"]} == master.booted
    assert master.program.end() == -signal.SIGKILL  # and nobody is left who could write
    assert "lifespan.shutdown" in master.text


# -- who lives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", OURS + THEIRS)
def test_a_blocked_loop_is_ended_and_an_idle_one_is_not(start: StartGunicorn, worker: str) -> None:
    slow = APP.replace("async def starting():\n    pass", "async def starting():\n    await asyncio.sleep(3)")
    master = start("-k", worker, "--timeout", "2", app=slow if worker in OURS else APP)
    assert "WORKER TIMEOUT" not in master.text, "slow to start, but its loop turns"
    with concurrent.futures.ThreadPoolExecutor(1) as clients:
        blocked = clients.submit(master.get, "/block")
        (pid,) = master.says(r"WORKER TIMEOUT \(pid:(\d+)\)")
        with pytest.raises(UNANSWERED):
            blocked.result(PATIENCE)
    master.says("Application startup complete", 3)
    answered = {master.get()["pid"] for _ in range(8)}
    assert answered <= master.booted - {int(pid)}
    if worker in OURS:
        master.says("The event loop has not turned for 2 s; it is in:")
        assert "in hold_the_loop" in master.text
    assert master.end() == 0
    assert master.text.count("WORKER TIMEOUT") == 1, master.text


def test_a_worker_that_is_killed_is_replaced(start: StartGunicorn) -> None:
    master = start(workers=1)
    pid = master.get()["pid"]
    os.kill(pid, signal.SIGKILL)
    master.says("Application startup complete", 2)
    assert master.get()["pid"] in master.booted - {pid}
    assert master.end() == 0


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        (
            APP.replace(
                "await starting()",
                """await send({"type": "lifespan.startup.failed", "message": "no database"})
                return""",
            ),
            "no database",
        ),
        ("def app(environ, start_response):\n    return []", "takes two arguments, like a WSGI application"),
    ],
    ids=["import", "lifespan", "WSGI"],
)
def test_an_application_that_cannot_start_ends_gunicorn(
    start_program: Start, tmp_path: Path, source: str, cause: str
) -> None:
    # One worker: when two fail at the same moment, gunicorn's arbiter stumbles over the second and leaves with 1.
    program = launch(start_program, tmp_path, app=source, workers=1)
    assert program.end() == 3, program.text
    assert re.search(cause, program.text), program.text


# -- subclasses ------------------------------------------------------------------------------------------------

SUBCLASS = """
from uvicorn.workers import UvicornWorker

class Mine(UvicornWorker):
    CONFIG_KWARGS = %s
"""


def test_config_kwargs_of_a_subclass_win(start: StartGunicorn, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SUBCLASS % {"loop": "asyncio", "http": "h11", "headers": [["x-mine", "1"]]})
    master = start("-k", "mine.Mine", workers=1)
    connection = master.connect()
    connection.request("GET", "/")
    assert connection.getresponse().getheader("x-mine") == "1"
    connection.close()
    assert master.end() == 0


def test_config_kwargs_that_cannot_work_end_gunicorn(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SUBCLASS % {"http": "gopher"})
    program = launch(start_program, tmp_path, "-k", "mine.Mine")
    assert program.end() == 3, program.text
    assert "gopher" in program.text


def test_wsgi_by_a_subclass(start_program: Start, tmp_path: Path) -> None:
    pytest.importorskip("a2wsgi")
    (tmp_path / "mine.py").write_text(SUBCLASS % {"interface": "wsgi"})
    source = """
import json, os
def app(environ, start_response):
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "multiprocess": environ["wsgi.multiprocess"]}).encode()]
"""
    master = Gunicorn(launch(start_program, tmp_path, "-k", "mine.Mine", app=source), 1)
    assert {master.get()["pid"]} == master.booted
    assert "Interface wsgi, 10 threads." in master.text
    assert master.end() == 0


# -- settings --------------------------------------------------------------------------------------------------


def gunicorn_config(**settings: Any) -> Any:
    from gunicorn.config import Config

    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


def test_gunicorns_settings_are_ours() -> None:
    from uvicorn.worker.gunicorn import settings_of

    settings = settings_of(
        gunicorn_config(keepalive=7, backlog=99, graceful_timeout=20, forwarded_allow_ips="10.0.0.1")
    )
    assert settings["timeout_keep_alive"] == 7
    assert settings["backlog"] == 99
    assert settings["timeout_graceful_shutdown"] == 19
    assert settings["forwarded_allow_ips"] == "10.0.0.1" or settings["forwarded_allow_ips"] == ["10.0.0.1"]
    assert not {"limit_request_line", "limit_request_fields", "ssl_certfile", "lifespan"} & settings.keys()


def test_limits_count_when_they_are_set() -> None:
    from uvicorn.worker.gunicorn import settings_of

    settings = settings_of(gunicorn_config(limit_request_line=1000, limit_request_fields=7))
    assert (settings["limit_request_line"], settings["limit_request_fields"]) == (1000, 7)
    settings = settings_of(gunicorn_config(root_path="/shop", asgi_lifespan="off"))
    assert (settings["root_path"], settings["lifespan"]) == ("/shop", "off")


def test_a_short_graceful_timeout_leaves_a_tenth() -> None:
    from uvicorn.worker.gunicorn import settings_of

    assert settings_of(gunicorn_config(graceful_timeout=2))["timeout_graceful_shutdown"] == pytest.approx(1.8)
    assert settings_of(gunicorn_config(graceful_timeout=0))["timeout_graceful_shutdown"] == 0


def test_proxies_that_gunicorn_trusts_are_believed(start: StartGunicorn) -> None:
    master = start("--forwarded-allow-ips", "127.0.0.1", workers=1)
    told = master.get(X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https")
    assert (told["client"][0], told["scheme"]) == ("192.0.2.7", "https")
    assert master.end() == 0


def test_proxies_that_gunicorn_does_not_trust_are_not(start: StartGunicorn) -> None:
    master = start("--forwarded-allow-ips", "192.0.2.1", workers=1)
    told = master.get(X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https")
    assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "http")
    assert master.end() == 0


@pytest.mark.parametrize("worker", OURS + THEIRS)
def test_https(start: StartGunicorn, pair: Pair, authority: Authority, worker: str) -> None:
    master = start("-k", worker, "--certfile", pair["ssl_certfile"], "--keyfile", pair["ssl_keyfile"], workers=1)
    told = master.get(tls=authority.client())
    assert told["scheme"] == "https" and {told["pid"]} == master.booted
    assert master.end() == 0


@pytest.mark.parametrize("worker", OURS + THEIRS)
def test_a_unix_socket_survives_a_reload(start: StartGunicorn, tmp_path: Path, worker: str) -> None:
    master = start("-k", worker, bind=f"unix:{tmp_path}/s")
    before = master.booted
    assert master.get()["pid"] in before
    master.tell(signal.SIGHUP)
    gone(master, before)
    assert master.get()["pid"] in master.booted - before
    assert master.end() == 0
    assert not (tmp_path / "s").exists()


def test_user_and_group(start: StartGunicorn) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    try:
        subprocess.run([sys.executable, "-c", "import hashlib"], user=65534, cwd="/", check=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("the interpreter is in a folder that only root can read")
    # preloaded, so that the application's folder need not be readable for nobody
    master = start("--preload", "--user", "65534", "--group", "65534", workers=1)
    assert master.get()["uid"] == 65534
    assert master.end() == 0


# -- application and logs --------------------------------------------------------------------------------------


def test_a_preloaded_application_is_imported_once(start: StartGunicorn) -> None:
    master = start("--preload")
    assert master.says("imported by (\\d+)") == [str(master.process.pid)]
    assert master.get()["pid"] in master.booted
    assert master.end() == 0


def test_without_preload_a_reload_serves_new_code(start: StartGunicorn, tmp_path: Path) -> None:
    master = start(workers=1)
    before = master.booted
    (tmp_path / "app.py").write_text(APP.replace('"uid": os.geteuid()', '"uid": "new code"') + "\n# longer")
    master.tell(signal.SIGHUP)
    gone(master, before)
    assert master.get()["uid"] == "new code"
    assert master.end() == 0


def test_gunicorns_reloader_replaces_the_worker(start: StartGunicorn, tmp_path: Path) -> None:
    master = start("--reload", "--reload-engine", "poll", workers=1)
    (tmp_path / "app.py").write_text("this is no Python")
    os.utime(tmp_path / "app.py", (time.time() + 10,) * 2)
    master.says("Application startup complete", 2)
    connection = master.connect()
    connection.request("GET", "/")
    assert connection.getresponse().status == 500
    connection.close()
    master.says("SyntaxError")
    (tmp_path / "app.py").write_text(APP.replace('"uid": os.geteuid()', '"uid": "mended"'))
    os.utime(tmp_path / "app.py", (time.time() + 20,) * 2)
    master.says("Application startup complete", 3)
    assert master.get()["uid"] == "mended"
    assert master.end() == 0


@pytest.mark.parametrize("worker", OURS + THEIRS)
def test_logs_go_where_gunicorns_go_and_are_reopened(start_program: Start, tmp_path: Path, worker: str) -> None:
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    program = launch(
        start_program, tmp_path, "-k", worker, "--error-logfile", str(error), "--access-logfile", str(access), workers=1
    )
    program.wait_for("lifespan.startup")
    deadline = time.monotonic() + PATIENCE

    def holds(path: Path, words: str) -> None:
        while not path.exists() or not re.search(words, path.read_text()):
            assert time.monotonic() < deadline and program.process.poll() is None, (path, words, program.text)
            time.sleep(0.02)

    holds(error, "Application startup complete")
    listening = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", error.read_text())
    assert listening is not None

    def ask(path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(listening[1]), timeout=PATIENCE)
        connection.request("GET", path)
        assert connection.getresponse().read()
        connection.close()

    ask("/first?x=1")
    holds(access, r'127\.0\.0\.1:\d+ - "GET /first\?x=1 HTTP/1\.1" 200')
    for path in (error, access):
        path.rename(path.with_suffix(".old"))
    program.tell(signal.SIGUSR1)
    holds(error, "")
    holds(access, "")  # the worker has opened it
    ask("/second")
    holds(access, r'"GET /second HTTP/1\.1" 200')
    assert program.end(signal.SIGTERM) == 0
    assert "Shutting down" in error.read_text() and "Finished server process" in error.read_text()
    assert "/second" not in access.with_suffix(".old").read_text()


def test_a_log_file_that_cannot_be_opened_anew_fails_no_request(start: StartGunicorn, tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    master = start("--access-logfile", str(access), workers=1)
    (pid,) = master.booted
    access.rename(tmp_path / "old.log")
    access.mkdir()
    os.kill(pid, signal.SIGUSR1)
    master.says("Cannot reopen a log file")
    connection = master.connect()
    for number in range(3):
        connection.request("GET", f"/{number}")
        assert json.loads(connection.getresponse().read())["pid"] == pid
    connection.close()
    master.says(r'"GET /2 HTTP/1\.1" 200')
    os.kill(pid, signal.SIGTERM)
    gone(master, {pid})
    assert "Traceback" not in master.text, master.text


def test_a_websocket_is_sent_away_by_a_stop(start: StartGunicorn) -> None:
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import ConnectionClosed

    echo = """
async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
"""
    master = start(app=echo, workers=1)
    with client.connect(f"ws://127.0.0.1:{master.port}/") as session:
        session.send("hello")
        assert session.recv(PATIENCE) == "hello"
        master.tell(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            session.recv(PATIENCE)
        assert session.close_code == 1012
    assert master.end() == 0
