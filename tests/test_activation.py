"""Sockets that a service manager passes (sd_listen_fds(3)): when they are used, and that no client notices a restart.

The test is the service manager: a launcher puts sockets at descriptor 3 and up and becomes the command, as systemd's
child does.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TextIO

import pytest

from ports import Address, dial
from programs import PATIENCE, Program, Start, run_code
from uvicorn.errors import BindError
from uvicorn.net.sockets import describe, take_passed

if sys.platform == "win32":
    pytest.skip("descriptors are passed on Unix", allow_module_level=True)

APP = """
import json, os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    seen = sorted(name for name in os.environ if name.startswith("LISTEN_"))
    inherited = [fd for fd in (3, 4) if os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(fd)]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps([seen, inherited]).encode()})
"""

LAUNCHER = """
import os, sys
given, pid, names, *command = sys.argv[1:]
high = [os.dup(os.dup(int(fd))) for fd in given.split(",")]  # out of the way of 3 and 4
high = [os.dup(fd) if fd < 20 and os.dup2(fd, fd + 20) else fd + 20 for fd in high]
for index, fd in enumerate(high):
    os.dup2(fd, 3 + index, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()) if pid == "ours" else pid, LISTEN_FDS=str(len(high)))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(sys.executable, [sys.executable, "-m", "uvicorn", *command])
"""


class HasDescriptor(Protocol):
    def fileno(self) -> int: ...


class Launch(Protocol):
    def __call__(
        self, sockets: Sequence[HasDescriptor], *options: str, pid: str = "ours", names: str = ""
    ) -> Program: ...


@pytest.fixture
def start(tmp_path: Path, start_python: Start) -> Launch:
    """start(sockets, *options): the command with sockets passed to it."""
    (tmp_path / "good.py").write_text(APP)

    def begin(sockets: Sequence[HasDescriptor], *options: str, pid: str = "ours", names: str = "") -> Program:
        fds = [sock.fileno() for sock in sockets]
        arguments = (",".join(map(str, fds)), pid, names, "good:app", *options)
        return start_python("-c", LAUNCHER, *arguments, pass_fds=fds)

    return begin


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "x.sock"))
        sock.listen(16)
        yield sock


def ask(address: Address) -> bytes:
    with dial(address) as client:
        return answer(client)


def answer(client: socket.socket) -> bytes:
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    response = http.client.HTTPResponse(client)
    response.begin()
    assert response.status == 200
    return response.read()


# -- who believes in them --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"},
        {"LISTEN_PID": "me", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid())},
    ],
)
def test_not_for_us(environ: dict[str, str]) -> None:
    environ["OTHER"] = "stays"
    assert take_passed(environ) == {}
    assert environ == {"OTHER": "stays"}


@pytest.mark.parametrize("count", ["many", "-1"])
def test_a_count_that_is_none(count: str) -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}
    with pytest.raises(BindError, match=f"LISTEN_FDS is '{count}', which is not a number"):
        take_passed(environ)
    assert environ == {}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_of_them_serve(start: Launch, listener: socket.socket, unix: socket.socket, workers: str) -> None:
    service = start([listener, unix], "--workers", workers, "--port", "1", names="web:local")
    port = listener.getsockname()[1]
    line = service.wait_for("sockets of the service manager.*")[0]
    assert line == (
        "sockets of the service manager instead of --host, --port and --uds:"
        f" web (http://127.0.0.1:{port}), local (unix:{unix.getsockname()})"
    )
    for address in (listener.getsockname(), unix.getsockname()):
        assert ask(address) == b"[[], []]", "the application sees or inherits what is not its own"
    assert service.end(signal.SIGTERM) == 0
    assert Path(unix.getsockname()).exists(), "the file is the service manager's"


def test_names_may_be_missing(start: Launch, listener: socket.socket) -> None:
    service = start([listener])
    service.wait_for(r"--uds: unknown \(http")


def test_a_pid_that_is_not_ours(start: Launch, listener: socket.socket) -> None:
    service = start([listener], "--port", "0", pid="1")
    port = service.listens()
    assert port != listener.getsockname()[1]
    assert ask(("127.0.0.1", port)).startswith(b"[[]")


def test_an_explicit_descriptor_wins(start: Launch, listener: socket.socket, unix: socket.socket) -> None:
    service = start([listener, unix], "--fd", "4")
    service.wait_for(rf"running on unix:{unix.getsockname()}")
    assert ask(unix.getsockname()) == b"[[], []]"
    assert "service manager" not in service.text


# -- what cannot be listened on --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [("datagram", "it is not a stream socket"), ("connection", "it is a connection, not"), ("file", "non-socket")],
)
def test_what_is_no_listening_socket(
    start: Launch, tmp_path: Path, listener: socket.socket, kind: str, words: str
) -> None:
    with socket.create_connection(listener.getsockname()) as connection:
        things: dict[str, socket.socket | TextIO] = {
            "datagram": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "connection": connection,
            "file": (tmp_path / "file").open("w"),
        }
        service = start([listener, things[kind]], names="web:odd")
        assert service.end() == 3
        for thing in things.values():
            thing.close()
    (line,) = service.text.splitlines()
    assert "Cannot use descriptor 4 (odd) of the service manager: " in line and words in line
    assert line.endswith("It must be a listening stream socket: set ListenStream= and Accept=no in the .socket unit.")


def test_more_are_promised_than_there_are(listener: socket.socket) -> None:
    code = (
        "import os\nfrom uvicorn.net.sockets import take_passed\nos.closerange(3, 100)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1000000000')\ntake_passed()"
    )
    ended = run_code(code)
    assert "LISTEN_FDS is 1000000000, but descriptor 3 cannot be used (Bad file descriptor)." in ended.stderr


# -- a restart -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_who_comes_between_two_runs_waits_and_is_answered(start: Launch, listener: socket.socket, workers: str) -> None:
    address = listener.getsockname()
    first = start([listener], "--workers", workers)
    assert ask(address)
    assert first.end(signal.SIGTERM) == 0
    with socket.create_connection(address, timeout=PATIENCE) as between:
        second = start([listener], "--workers", workers)
        assert answer(between) == b"[[], []]"
        assert second.end(signal.SIGTERM) == 0


def test_an_abstract_name_is_readable() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind("")  # the kernel chooses an abstract name
        assert re.fullmatch(r"unix:@[0-9a-f]+", describe(sock)) or sys.platform != "linux"
