"""Clients that people use: Chromium on the chat example, Socket.IO in JavaScript over both transports, aiohttp.

They are installed by scripts/install-websocket-clients.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from installations import Node, started

pytestmark = pytest.mark.system

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

CHAT = """
    const [one, two] = [await context.newPage(), await context.newPage()];
    for (const page of [one, two]) {
      await page.goto(process.argv[2]);
      await page.getByText("connected", {exact: true}).waitFor();
    }
    await one.fill("#text", "hello from one");
    await one.keyboard.press("Enter");
    await two.getByText("hello from one", {exact: true}).waitFor();
    await one.evaluate(() => socket.close());
    await one.fill("#text", "typed while away");
    await one.keyboard.press("Enter");
    await two.getByText("typed while away", {exact: true}).waitFor();
    await one.waitForFunction(() => !document.querySelector(".waiting"));
    await one.setViewportSize({width: 400, height: 800});
    const button = await one.getByRole("button", {name: "Send"}).boundingBox();
    if (button.x + button.width > 400) throw new Error("Send is cut off");
    const facts = await two.evaluate(() => [socket.protocol, socket.extensions]);
    console.log(JSON.stringify(facts));
"""

SOCKET_IO = """
import socketio
server = socketio.AsyncServer(async_mode="asgi")
app = socketio.ASGIApp(server)

@server.event
async def add(sid, first, second):
    await server.emit("told", {"by": first}, room=sid)
    return first + second
"""
SOCKET_IO_CLIENT = """
const {io} = require("socket.io-client");
const socket = io(process.argv[2], {transports: process.argv[3].split(",")});
const told = new Promise((resolve) => socket.on("told", resolve));
socket.on("connect_error", (error) => { console.error(error); process.exit(1); });
socket.on("connect", async () => {
  const sum = await socket.emitWithAck("add", 2, 3);
  const upgraded = () => socket.io.engine.transport.name;
  if (process.argv[3].includes("websocket") && upgraded() != "websocket")
    await new Promise((resolve) => socket.io.engine.once("upgrade", resolve));
  const again = await socket.emitWithAck("add", "x".repeat(50000), "y");
  console.log(JSON.stringify([sum, await told, again.length, upgraded()]));
  socket.close();
});
"""

AIOHTTP = """
import asyncio, sys
import aiohttp

async def main():
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(sys.argv[1], compress=15, protocols=["chat.example"]) as socket:
            await socket.send_json({"name": "a", "text": "b"})
            print(socket.protocol, socket.compress, await socket.receive_json())

asyncio.run(main())
"""


@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_chromium(node: Node, ws: str) -> None:
    with started(EXAMPLES, "chat:app", "--ws", ws) as port:
        said = node.browse(CHAT, f"http://127.0.0.1:{port}/")
    assert said.startswith('["chat.example","permessage-deflate')


@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
@pytest.mark.parametrize("transports", ["polling", "websocket", "polling,websocket"])
def test_socket_io(tmp_path: Path, clients: Path, node: Node, ws: str, transports: str) -> None:
    (tmp_path / "rooms.py").write_text(SOCKET_IO)
    with started(tmp_path, "rooms:app", "--ws", ws, path=str(clients / "site")) as port:
        said = node.run(SOCKET_IO_CLIENT, f"http://127.0.0.1:{port}", transports)
    assert said == f'[5,{{"by":2}},50001,"{transports.split(",")[-1]}"]'


@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_aiohttp(clients: Path, ws: str) -> None:
    with started(EXAMPLES, "chat:app", "--ws", ws) as port:
        done = subprocess.run(
            [sys.executable, "-c", AIOHTTP, f"http://127.0.0.1:{port}/room"],
            env={**os.environ, "PYTHONPATH": str(clients / "site")},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.strip() == "chat.example 12 {'name': 'a', 'text': 'b'}", done.stderr
