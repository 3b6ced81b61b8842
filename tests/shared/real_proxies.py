"""Our server under a master, nginx and haproxy in front of it, and clients of them.

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
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from checkout import ROOT
from programs import NOTHING, Program, eventually

README = ROOT / "README.md"

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

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pid = int(program.wait_for(r"Started parent process \[(\d+)\]")[1])
        self.port = program.listens()

    def says(self, words: str) -> re.Match[str]:
        return self.program.wait_for(words)

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)
        self.says("reloaded: ")


def example(language: str) -> str:
    """The README's configuration in this language."""
    found = re.search(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    assert found, f"the README has no example for {language}"
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
    """nginx with this block inside of `http`, and `top` before it."""

    def __call__(self, block: str, port: int, top: str = "") -> Proxy: ...


class PassOn(Protocol):
    """haproxy passes bytes on to our server at that port, as in the README's example: "send-proxy-v2"."""

    def __call__(self, port: int, how: str, bind: str = "") -> Proxy: ...


StartHaproxy = Callable[[str, int], Proxy]
"""haproxy with these sections, which listen on that port."""

PutInFront = Callable[[int], Proxy]
"""The README's example, before our server on that port."""
