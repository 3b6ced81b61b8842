"""Our server under a master, proxies in front of it, and clients of them.

The proxies run with the examples of the README and of docs/http2.md, their addresses exchanged for what is free here.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from checkout import ROOT
from programs import NOTHING, Program, eventually

README = ROOT / "README.md"
HTTP2 = ROOT / "docs" / "http2.md"

OUTSIDE = "127.0.0.2"
"""A client that is no trusted proxy: those that a server trusts by default are 127.0.0.1 and ::1."""

APP = r"""
import asyncio, hashlib, json, os

def where(scope):
    fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    facts = {name: scope[name] for name in ("http_version", "client", "server", "scheme", "path", "root_path")}
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
    print("hang began on", scope["client"][1], flush=True)
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

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pid = int(program.wait_for(r"Started parent process \[(\d+)\]")[1])
        self.port = program.listens()

    def says(self, words: str) -> re.Match[str]:
        return self.program.wait_for(words)

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)
        self.says("reloaded: ")


def example(language: str, page: Path = README) -> str:
    """The page's configuration in this language."""
    found = re.search(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    assert found, f"{page} has no example for {language}"
    return found[1]


def exchanged(text: str, **what: tuple[str, str]) -> str:
    """Replace words of `text`; fail if one is missing."""
    for old, new in what.values():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A running proxy; `port` is where it listens."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        environment = {**os.environ, "XDG_DATA_HOME": str(log.parent)}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )
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


def program_of(name: str) -> str:
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def client_of(port: int, source: str = OUTSIDE) -> http.client.HTTPConnection:
    """A client, from an address that nobody trusts unless `source` is another."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))


def ask(
    port: int,
    path: str = "/",
    *,
    client: http.client.HTTPConnection | None = None,
    headers: Mapping[str, str] = NOTHING,
) -> dict[str, Any]:
    """Send a request on a new connection and return the application's answer, which is JSON."""
    with contextlib.closing(client or client_of(port)) as asking:
        asking.request("GET", path, headers=headers)
        response = asking.getresponse()
        body = response.read()
        assert response.status == 200, (response.status, body)
        told: dict[str, Any] = json.loads(body)
        return told


BODY = os.urandom(3_000_000)
"""An upload."""
DIGEST = hashlib.sha256(BODY).hexdigest()


def upload(client: http.client.HTTPConnection, chunked: bool) -> dict[str, Any]:
    """Send BODY; what the application says of it."""
    pieces = (BODY[at : at + 70_000] for at in range(0, len(BODY), 70_000))
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    client.request("POST", "/upload", body=pieces if chunked else BODY, encode_chunked=chunked, headers=headers)
    told: dict[str, Any] = json.load(client.getresponse())
    return told


def upload_that_waits(client: http.client.HTTPConnection, server: Ours) -> dict[str, Any]:
    """Send a part, and the rest when the application has had that; what it says at the end."""

    def parts() -> Iterator[bytes]:
        yield b"x" * 100_000
        server.says("upload began")
        yield b"end"

    client.request("POST", "/upload", body=parts(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    told: dict[str, Any] = json.load(client.getresponse())
    return told


LEAVING = [
    (b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n", "hang began", "hang ended"),
    (b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n", "", "endless ended"),
    (
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9000,
        "upload began",
        "upload aborted",
    ),
]
"""The head of a request whose client leaves; what the application prints before that (if nothing, it has answered), and
after."""


def leave(proxy: Proxy, server: Ours, head: bytes, begins: str, ends: str) -> None:
    """Send that, leave, and wait until the application knows."""
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as sock:
        sock.sendall(head)
        if begins:
            server.says(begins)
        else:
            assert sock.recv(100)
    server.says(ends)


def load(port: int, over: threading.Event, seen: Counter[int | str], method: str) -> None:
    """Requests over kept connections until it is over; statuses, and what went wrong."""
    while not over.is_set():
        with contextlib.closing(client_of(port)) as one:
            try:
                for _ in range(200):
                    if over.is_set():
                        break
                    one.request(method, "/upload" if method == "POST" else "/", body=b"x" if method == "POST" else None)
                    response = one.getresponse()
                    response.read()
                    seen[response.status] += 1
                    if response.will_close:
                        break
            except OSError as exc:
                seen[repr(exc)] += 1


@contextlib.contextmanager
def in_threads(work: Callable[[threading.Event], None], count: int) -> Iterator[None]:
    """Run `work` in `count` threads; the event that they are given is set at the end of the block."""
    over = threading.Event()
    threads = [threading.Thread(target=work, args=(over,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


class StartOurs(Protocol):
    """Serves the application above, or `source`, on a loopback port."""

    def __call__(self, *options: str, workers: int = 1, source: str = APP) -> Ours: ...


class StartNginx(Protocol):
    """nginx with this block inside of `http`, and `top` before it: the system's, or `command`."""

    def __call__(self, block: str, port: int, top: str = "", command: str = "") -> Proxy: ...


class PassOn(Protocol):
    """haproxy passes bytes on to our server at that port, as in the README's example: "send-proxy-v2"."""

    def __call__(self, port: int, how: str, bind: str = "") -> Proxy: ...


StartHaproxy = Callable[[str, int], Proxy]
"""haproxy with these sections, which listen on that port."""

PutInFront = Callable[[int], Proxy]
"""The README's example, before our server on that port."""

Behind = Callable[..., tuple[Ours, Proxy]]
"""behind(*options, workers=1): our server with HTTP/2, and a proxy that speaks it to that."""
