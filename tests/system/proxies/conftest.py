"""What the tests with real proxies share: our server under a master, nginx and haproxy in front of it, and clients.

The proxies run with the examples of the README, their addresses exchanged for what is free here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).resolve().parents[3] / "README.md"

OUTSIDE = "127.0.0.2"
"""A client that is no trusted proxy: those that a server trusts by default are 127.0.0.1 and ::1."""

APP = r"""
import asyncio, hashlib, json, os

def where(scope):
    fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    facts = {name: scope[name] for name in ("client", "server", "scheme", "path", "root_path")}
    return {**facts, "host": fields.get("host"), "fields": fields, "pid": os.getpid()}

async def answer(send, body, status=200):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})

async def upload(scope, receive, send):
    size, digest = 0, hashlib.sha256()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            print("upload aborted", flush=True)
            return
        if message["body"] and not size:
            print("upload began", flush=True)
        size += len(message["body"])
        digest.update(message["body"])
        if not message["more_body"]:
            return await answer(send, {"size": size, "sha256": digest.hexdigest(), **where(scope)})

async def hang(scope, receive, send):
    print("hang began", flush=True)
    while (await receive())["type"] != "http.disconnect":
        pass
    print("hang ended", flush=True)

async def endless(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": b"x" * 10000, "more_body": True})
            await asyncio.sleep(0)
    except OSError:
        print("endless ended", flush=True)
        raise

async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(where(scope))})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    print("websocket ended", message["code"], flush=True)

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    handlers = {"/upload": upload, "/hang": hang, "/endless": endless}
    if scope["path"] in handlers:
        return await handlers[scope["path"]](scope, receive, send)
    await answer(send, where(scope))
"""


class Ours:
    """Our server under a master, with its output; `port` is where it listens, `pid` its master's."""

    def __init__(self, program: Any) -> None:
        self.program = program
        self.pid = int(program.wait_for(r"Started parent process \[(\d+)\]")[1])
        self.port = program.listens()

    def says(self, words: str) -> re.Match[str]:
        found: re.Match[str] = self.program.wait_for(words)
        return found

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)
        self.says("reloaded: ")


@pytest.fixture
def ours(start_command: Callable[..., Any], tmp_path: Path) -> Callable[..., Ours]:
    """ours(*options, workers=1): serves the application above on a loopback port."""

    def start(*options: str, workers: int = 1) -> Ours:
        (tmp_path / "app.py").write_text(APP)
        common = ["app:app", "--port", "0", "--supervise", "--lifespan", "off", "--workers", str(workers)]
        return Ours(start_command(*common, *options))

    return start


def example(language: str) -> str:
    """The README's configuration in this language."""
    found = re.search(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    assert found, f"the README has no example for {language}"
    return found[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def exchanged(text: str, **what: str) -> str:
    """`text` with words exchanged, each of which has to be there."""
    for old, new in what.values():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy that runs: `port` is where it listens."""

    def __init__(self, command: list[str], port: int, log: Path, eventually: Callable[..., Any]) -> None:
        self.port = port
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            eventually(self._listens, f"{command[0]} listening")
        except BaseException:
            self.end()
            raise

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)


def _found(name: str) -> str:
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture
def nginx(tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Callable[..., Proxy]]:
    """nginx(http_block, port, top="") → a Proxy; the block stands inside of `http`, `top` before it."""
    running: list[Proxy] = []

    def start(block: str, port: int, top: str = "") -> Proxy:
        command = _found("nginx")
        temporary = "\n".join(
            f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = tmp_path / "nginx.conf"
        config.write_text(
            f"{top}\ndaemon off; master_process off; pid {tmp_path}/nginx.pid; error_log stderr warn;\n"
            "events { worker_connections 512; }\n"
            f"http {{ access_log off; client_max_body_size 50m; {temporary}\n{block}\n}}\n"
        )
        running.append(
            Proxy([command, "-c", str(config), "-p", str(tmp_path)], port, tmp_path / "nginx.log", eventually)
        )
        return running[-1]

    yield start
    for proxy in running:
        proxy.end()


@pytest.fixture
def haproxy(tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Callable[..., Proxy]]:
    """haproxy(sections, port) → a Proxy."""
    running: list[Proxy] = []

    def start(sections: str, port: int) -> Proxy:
        command = _found("haproxy")
        config = tmp_path / "haproxy.cfg"
        config.write_text(sections)
        running.append(Proxy([command, "-db", "-f", str(config)], port, tmp_path / "haproxy.log", eventually))
        return running[-1]

    yield start
    for proxy in running:
        proxy.end()


@pytest.fixture(params=["nginx", "haproxy"])
def in_front(request: pytest.FixtureRequest) -> Callable[..., Proxy]:
    """in_front(port): the README's example, once with each proxy, before our server on that port."""
    start = request.getfixturevalue(request.param)

    def begin(port: int) -> Proxy:
        here = free_port()
        if request.param == "nginx":
            text = exchanged(
                example("nginx"),
                up=("127.0.0.1:8000", f"127.0.0.1:{port}"),
                here=("listen 80;", f"listen 127.0.0.1:{here};"),
            )
        else:
            text = exchanged(
                example("haproxy"),
                up=("127.0.0.1:8000", f"127.0.0.1:{port}"),
                other=("127.0.0.1:8001", f"127.0.0.1:{port}"),
                second=("bind :81", f"bind 127.0.0.1:{free_port()}"),
                here=("bind :80", f"bind 127.0.0.1:{here}"),
            )
        proxy: Proxy = start(text, here)
        return proxy

    return begin


@pytest.fixture
def passed_on(haproxy: Callable[..., Proxy]) -> Callable[..., Proxy]:
    """passed_on(port, "send-proxy-v2"): haproxy passes bytes on, as in the README's example."""

    def begin(port: int, how: str, bind: str = "") -> Proxy:
        here = free_port()
        text = example("haproxy")
        text = exchanged(
            text[: text.index("frontend ")] + text[text.index("listen ") :],
            up=("127.0.0.1:8001", f"127.0.0.1:{port}"),
            how=("send-proxy-v2", how),
            here=("bind :81", f"bind 127.0.0.1:{here} {bind}"),
        )
        return haproxy(text, here)

    return begin


def _client(port: int, source: str = OUTSIDE) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))


def _ask(port: int, path: str = "/", **options: Any) -> dict[str, Any]:
    """What the application answers on a connection of its own."""
    headers = options.pop("headers", {})
    with contextlib.closing(options.pop("client", None) or _client(port)) as client:
        client.request("GET", path, headers=headers)
        response = client.getresponse()
        body = response.read()
        assert response.status == 200, (response.status, body)
        told: dict[str, Any] = json.loads(body)
        return told


@pytest.fixture(scope="session")
def client() -> Callable[..., http.client.HTTPConnection]:
    """client(port): a client from an address that nobody trusts."""
    return _client


@pytest.fixture(scope="session")
def ask() -> Callable[..., dict[str, Any]]:
    return _ask


@pytest.fixture(scope="session", name="free_port")
def free_port_fixture() -> Callable[[], int]:
    return free_port
