"""Peers whose network fails silently: two network namespaces, and the link between them is taken down.

Loopback cannot show this, since its kernel answers for the peer. Needs root and iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from programs import Program, Start, eventually

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        sys.platform != "linux" or not hasattr(os, "geteuid") or os.geteuid() != 0,
        reason="network namespaces need root",
    ),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("nsenter")), reason="ip or nsenter is not installed"),
]

SERVER = """
import sys
import uvicorn

async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    try:
        while scope["path"] == "/push":
            await send({"type": "websocket.send", "bytes": bytes(65536)})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        print("heard", message["code"])
    except OSError:
        print("raised")

uvicorn.run(
    app, host="0.0.0.0", port=0, ws=sys.argv[1], lifespan="off", ws_ping_interval=0.5, ws_ping_timeout=1.0,
    timeout_graceful_shutdown=1,
)
"""

LOST = """
import socket, sys, time
peers = []
for path in ["/echo", "/push"] * 3:
    for _ in range(200):  # until there is a cable
        try:
            peer = socket.create_connection(("10.77.0.1", int(sys.argv[1])), 5)
            break
        except OSError:
            time.sleep(0.1)
    peer.sendall(f"GET {path} HTTP/1.1\\r\\nHost: a\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
        "Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\\r\\n\\r\\n".encode())
    assert peer.recv(12) == b"HTTP/1.1 101"
    peers.append(peer)
print("connected")
time.sleep(600)
"""

NEIGHBOUR = """
import sys
from websockets.sync.client import connect
with connect(f"ws://127.0.0.1:{sys.argv[1]}/echo") as peer:
    print("here")
    for number in range(1 << 40):
        peer.send(str(number))
        assert peer.recv(10) == str(number)
        if number % 1000 == 0:
            print("round")
"""


def inside(program: Program, *command: str) -> None:
    subprocess.run(["nsenter", "-t", str(program.process.pid), "-n", *command], check=True, timeout=30)


def sockets(program: Program) -> int:
    found = 0
    for fd in Path(f"/proc/{program.process.pid}/fd").iterdir():
        try:
            found += os.readlink(fd).startswith("socket:")
        except FileNotFoundError:
            pass  # closed meanwhile
    return found


@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_a_peer_that_vanishes(start_program: Start, ws: str) -> None:
    server = start_program(SERVER, ws, prefix=("unshare", "--net"))
    port = server.wait_for(r"running on http://0\.0\.0\.0:(\d+)")[1]
    inside(server, "ip", "link", "set", "lo", "up")
    neighbour = start_program(NEIGHBOUR, port, prefix=("nsenter", "-t", str(server.process.pid), "-n"))
    neighbour.wait_for("round")
    before = sockets(server)
    lost = start_program(LOST, port, prefix=("unshare", "--net"))
    eventually(lambda: own_network(lost), "a network of its own")
    ends = ("near", "netns", str(server.process.pid)), ("far", "netns", str(lost.process.pid))
    subprocess.run(["ip", "link", "add", *ends[0], "type", "veth", "peer", "name", *ends[1]], check=True, timeout=30)
    for program, name, address in ((server, "near", "10.77.0.1/24"), (lost, "far", "10.77.0.2/24")):
        inside(program, "ip", "addr", "add", address, "dev", name)
        inside(program, "ip", "link", "set", name, "up")
    lost.wait_for("connected")
    inside(lost, "ip", "link", "set", "far", "down")
    for _ in range(6):
        server.wait_for(r"heard 1011|raised")
    assert (server.text.count("heard 1011"), server.text.count("raised")) == (3, 3)
    eventually(lambda: sockets(server) == before, "the sockets of those who vanished are closed")
    neighbour.unmatched.clear()
    neighbour.wait_for("round")


def own_network(program: Program) -> bool:
    return os.readlink(f"/proc/{program.process.pid}/ns/net") != os.readlink("/proc/self/ns/net")
