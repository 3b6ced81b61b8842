"""uvicorn.service and uvicorn.socket, as they are shipped, under a real systemd (257, with Type=notify-reload)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from machines import Machine, Service
from programs import eventually

pytestmark = pytest.mark.system

UNITS = Path(__file__).resolve().parents[2] / "systemd"

APP = """
import asyncio, json, os, threading, time

VERSION = 1

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        await asyncio.sleep(float(scope["query_string"]))
    if scope["path"] == "/block":
        threading.Event().wait()
    seen = {
        "version": VERSION, "pid": os.getpid(), "uid": os.getuid(),
        "environ": sorted(n for n in os.environ if n.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))),
    }
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})
"""

LOOP = """
import http.client, json, sys, threading, time

stop = threading.Event()
answered, failed = [0], []

def ask():
    end = time.monotonic() + 120
    while not stop.is_set() and time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
            connection.request("GET", "/")
            assert connection.getresponse().read()
            connection.close()
            answered[0] += 1
            if answered[0] == 20:
                print("going", flush=True)
        except Exception as exc:
            failed.append(repr(exc))

threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
sys.stdin.read()
stop.set()
for thread in threads: thread.join()
print(json.dumps([answered[0], failed]))
"""


@dataclasses.dataclass
class Seen:
    """The answers and errors of the clients, once they have ended."""

    answered: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def clients(service: Service) -> Iterator[Seen]:
    """Four clients that send requests without a pause, each on a new connection; what they saw, after the block."""
    seen = Seen()
    process = service.machine.client(LOOP)
    try:
        assert process.stdout is not None and process.stdout.readline() == "going\n"
        yield seen
        seen.answered, seen.failed = json.loads(process.communicate(timeout=90)[0])
    finally:
        process.kill()
        process.communicate()


# -- the files -------------------------------------------------------------------------------------------------


def test_the_units_are_sound_and_hardened(debian: Path) -> None:
    """Checked by the systemd that knows notify-reload, in its own root folder."""
    if not shutil.which("chroot"):
        pytest.skip("chroot is not installed")
    script = """
        set -e
        mkdir -p /run/units /srv/app/.venv/bin /srv/blog/.venv/bin
        for name in app blog; do ln -sf /bin/true /srv/$name/.venv/bin/uvicorn; done
        cp /run/given/* /run/units/
        mv /run/units/uvicorn@.service /run/units/uvicorn@blog.service
        systemd-analyze verify --man=no /run/units/*
        for unit in uvicorn.service uvicorn@blog.service; do
            systemd-analyze security --no-pager --offline=true --threshold=15 /run/units/$unit | tail -n 1
        done
    """
    wrap = f"mount -t tmpfs none {debian}/run && mount -t tmpfs none {debian}/srv && mkdir {debian}/run/given"
    wrap += f" && cp {UNITS}/* {debian}/run/given/ && exec chroot {debian} sh -c '{script}'"
    ended = subprocess.run(["unshare", "--mount", "sh", "-c", wrap], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert ended.stdout.count("OK") == 2, ended.stdout


# -- a life ----------------------------------------------------------------------------------------------------


def test_start_and_stop(service: Service) -> None:
    service.install(APP)
    service.machine.run("systemctl start uvicorn.service")
    assert service.show("ActiveState") == "active"
    assert service.show("StatusText").endswith(" workers ready, generation 1")
    seen = service.ask()
    assert seen["uid"] > 1000 and seen["environ"] == []
    service.machine.run("systemctl stop uvicorn.service")
    assert (service.show("ActiveState"), service.show("Result"), service.show("ExecMainStatus")) == (
        "inactive",
        "success",
        "0",
    )
    journal = service.journal()
    assert "web (http://127.0.0.1:8000)" in journal
    assert "WARNING" not in journal and "ERROR" not in journal


def test_reload(service: Service) -> None:
    """`systemctl reload` returns when the new code serves, and no client sees it."""
    service.install(APP)
    service.machine.run("systemctl start uvicorn.service")
    with clients(service) as seen:
        service.application(APP.replace("VERSION = 1", "VERSION = 2"))
        service.machine.run("systemctl reload uvicorn.service")
        assert {service.ask()["version"] for _ in range(10)} == {2}
    assert seen.failed == [] and seen.answered > 20
    assert "workers ready, generation 2" in service.show("StatusText")
    assert service.show("NRestarts") == "0"


def test_a_reload_that_fails(service: Service) -> None:
    service.install(APP)
    service.machine.run("systemctl start uvicorn.service")
    with clients(service) as seen:
        service.application("import nothing_at_all")
        service.machine.run("systemctl reload uvicorn.service")
        assert service.show("ActiveState") == "active"
        assert "generation 1, the last reload failed" in service.show("StatusText")
        assert service.ask()["version"] == 1
        service.application(APP.replace("VERSION = 1", "VERSION = 3"))
        service.machine.run("systemctl reload uvicorn.service")
        assert {service.ask()["version"] for _ in range(10)} == {3}
    assert seen.failed == []
    assert "reload failed" not in service.show("StatusText")
    assert "No module named 'nothing_at_all'" in service.journal()


def test_a_reload_that_takes_longer_than_the_watchdog(service: Service) -> None:
    service.install(APP, "WatchdogSec=2s")
    service.machine.run("systemctl start uvicorn.service")
    service.application(APP.replace("VERSION = 1", "VERSION = 2; time.sleep(3)"))
    service.machine.run("systemctl reload uvicorn.service")
    assert {service.ask()["version"] for _ in range(10)} == {2}
    assert service.show("NRestarts") == "0"


def test_a_worker_is_killed(service: Service) -> None:
    service.install(APP)
    service.machine.run("systemctl start uvicorn.service")
    master, victim = service.show("MainPID"), service.ask()["pid"]
    status = service.show("StatusText")
    service.machine.run(f"kill -9 {victim}")
    eventually(lambda: f"[{victim}] was killed by SIGKILL from outside" in service.journal(), "a line about it")
    ready = status.partition(" workers")[0]
    eventually(lambda: service.show("StatusText").startswith(f"{ready} workers ready"), "a full fleet")
    assert (service.show("MainPID"), service.show("NRestarts")) == (master, "0")


def test_what_is_in_flight_outlives_the_watchdog_in_a_drain(service: Service) -> None:
    service.install(APP, "WatchdogSec=2s")
    service.machine.run("systemctl start uvicorn.service")
    slow = service.machine.client(
        "import urllib.request, sys; print(urllib.request.urlopen('http://127.0.0.1:8000/slow?6').status)"
    )
    try:
        eventually(lambda: "1 request in flight" in service.show("StatusText"), "live figures")
        service.machine.run("systemctl stop uvicorn.service")
        assert slow.communicate(timeout=60)[0] == "200\n"
    finally:
        slow.kill()
        slow.communicate()
    assert service.show("Result") == "success"


# -- the watchdog ----------------------------------------------------------------------------------------------


def test_a_master_that_stands_still_is_restarted(service: Service) -> None:
    service.install(APP, "WatchdogSec=2s")
    service.machine.run("systemctl start uvicorn.service")
    master = service.show("MainPID")
    service.machine.run(f"kill -STOP {master}")
    eventually(lambda: service.show("NRestarts") == "1" and service.show("ActiveState") == "active", "a restart")
    assert service.show("MainPID") != master
    assert service.ask()["version"] == 1
    assert "Watchdog timeout" in service.journal()


def test_loops_that_stand_still_are_a_dead_service(service: Service) -> None:
    """The hang limit is off, so the workers are not replaced."""
    command = "/srv/app/.venv/bin/uvicorn app:app --workers 1 --timeout-worker-healthcheck 0"
    service.install(APP, "WatchdogSec=2s", "ExecStart=", f"ExecStart={command}")
    service.machine.run("systemctl start uvicorn.service")
    stuck = service.machine.client("import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/block')")
    try:
        eventually(lambda: service.show("NRestarts") == "1", "a restart")
    finally:
        stuck.kill()
        stuck.communicate()
    assert "event loops do not run: the service manager's watchdog is not answered" in service.journal()


# -- socket activation -----------------------------------------------------------------------------------------


def test_the_first_client_starts_the_service(service: Service) -> None:
    service.install(APP)
    service.machine.run("systemctl start uvicorn.socket")
    assert service.show("ActiveState") == "inactive"
    assert service.ask()["version"] == 1
    assert service.show("ActiveState") == "active"


def test_no_client_sees_a_restart(service: Service) -> None:
    service.install(APP)
    service.machine.run("systemctl start uvicorn.service")
    with clients(service) as seen:
        for version in (2, 3):
            service.application(APP.replace("VERSION = 1", f"VERSION = {version}"))
            service.machine.run("systemctl restart uvicorn.service")
            assert service.ask()["version"] == version
    assert seen.failed == [] and seen.answered > 20


def test_no_client_is_refused_when_the_master_dies(service: Service) -> None:
    """Requests in flight are lost with it; all other clients wait for the next master."""
    service.install(APP, "RestartSec=0")
    service.machine.run("systemctl start uvicorn.service")
    with clients(service) as seen:
        service.machine.run(f"kill -9 {service.show('MainPID')}")
        eventually(lambda: service.show("NRestarts") == "1" and service.show("ActiveState") == "active", "a restart")
        assert service.ask()["version"] == 1
    assert [reason for reason in seen.failed if "Refused" in reason] == []
    assert len(seen.failed) <= 4


def test_the_template(machine: Machine, service: Service) -> None:
    service.install(APP)
    machine.write("/etc/uvicorn/blog.env", "UVICORN_APP=app:app\nUVICORN_PORT=8001\nUVICORN_WORKERS=2\n")
    machine.run("ln -sfn /srv/app /srv/blog; systemctl start uvicorn@blog.service")
    try:
        assert json.loads(machine.run("curl -sS --fail http://127.0.0.1:8001/"))["version"] == 1
        assert "2 of 2 workers ready" in machine.run("systemctl show -P StatusText uvicorn@blog.service")
    finally:
        machine.run("systemctl stop uvicorn@blog.service; rm /srv/blog /etc/uvicorn/blog.env")
