"""Chromium over HTTP/2: a page with many resources, an EventSource, uploads by fetch, and WebSockets.

Chromium opens a WebSocket over a connection of HTTP/2 that it has, when the server has announced that it may
(RFC 8441).
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certificates import Pair, flags
from installations import Node
from real_proxies import StartOurs

pytestmark = pytest.mark.system

APP = r"""
import asyncio, json, os

PAGE = b'''<!doctype html><title>many</title>
PARTS
<script>
performance.setResourceTimingBufferSize(1000);

const all = async () => {
  const events = new EventSource("/events");
  const told = [];
  await new Promise((resolve) => { events.onmessage = (event) => { if (told.push(event.data) == 3) resolve(); }; });
  events.close();

  const blob = new Blob([new Uint8Array(3000000).fill(7)]);
  const whole = await (await fetch("/upload", {method: "POST", body: blob})).json();
  let left = 30;
  const stream = new ReadableStream({pull(controller) {
    if (left--) controller.enqueue(new Uint8Array(100000).fill(7)); else controller.close();
  }});
  const streamed = await (await fetch("/upload", {method: "POST", body: stream, duplex: "half"})).json();

  const abort = new AbortController();
  const endless = await fetch("/endless", {signal: abort.signal});
  await endless.body.getReader().read();
  abort.abort();

  const socket = (path, protocols) => new Promise((resolve, reject) => {
    const one = new WebSocket("wss://" + location.host + path, protocols);
    const got = [];
    one.binaryType = "arraybuffer";
    one.onopen = () => { one.send("text"); one.send(new Uint8Array(200000)); };
    one.onmessage = (event) => { if (got.push(event.data.byteLength || event.data) == 3) one.close(1000, "enough"); };
    one.onclose = (event) => resolve({got, code: event.code, clean: event.wasClean, protocol: one.protocol,
                                      extensions: one.extensions});
  });
  const asked = [["/ws", ["one", "two"]], ["/ws"], ["/denied"], ["/closes"]];
  const sockets = await Promise.all(asked.map((one) => socket(...one)));
  const after = await (await fetch("/version")).json();
  const entries = performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"));
  const protocols = {};
  for (const {nextHopProtocol} of entries) protocols[nextHopProtocol] = (protocols[nextHopProtocol] || 0) + 1;
  const loaded = [...document.images].filter((image) => image.complete && image.naturalWidth == 1).length;
  return JSON.stringify({told, whole, streamed, sockets, after, protocols, loaded});
};

const asking = async () => {
  let count = 0, failed = 0, pids = new Set();
  const one = async () => {
    for (let over = false; !over;) {
      try {
        const answer = await (await fetch("/over", count++ % 2 ? {method: "POST", body: "x"} : {})).json();
        pids.add(answer.pid);
        over = answer.over;
      } catch (error) { failed++; over = failed > 100; }
    }
  };
  await Promise.all(Array.from({length: 6}, one));
  return JSON.stringify({count, failed, workers: pids.size});
};
</script>'''.replace(b"PARTS", b"".join(b'<img src="/part/%d">' % number for number in range(300)))
PIXEL = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'

async def answer(send, kind, body):
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

async def http(scope, receive, send):
    path = scope["path"]
    if path == "/events":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        print("events ended", flush=True)
    elif path == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 10000, "more_body": True})
                await asyncio.sleep(0)
        except OSError:
            print("endless ended", flush=True)
    elif path == "/upload":
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
        fields = dict(scope["headers"])
        length = fields.get(b"content-length", b"").decode()
        await answer(send, b"application/json", json.dumps([size, length]).encode())
    elif path == "/version":
        await answer(send, b"application/json", json.dumps(scope["http_version"]).encode())
    elif path == "/over":
        if not os.path.exists("asked"):
            open("asked", "w").close()
            print("asked", flush=True)
        told = {"over": os.path.exists("over"), "pid": os.getpid()}
        await answer(send, b"application/json", json.dumps(told).encode())
    elif path.startswith("/part/"):
        await answer(send, b"image/svg+xml", PIXEL)
    else:
        await answer(send, b"text/html", PAGE)

async def websocket(scope, receive, send):
    await receive()
    if scope["path"] == "/denied":
        return await send({"type": "websocket.close"})
    chosen = scope["subprotocols"][-1:]
    await send({"type": "websocket.accept", "subprotocol": chosen[0] if chosen else None})
    await send({"type": "websocket.send", "text": "over " + scope["http_version"]})
    if scope["path"] == "/closes":
        return await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    print("websocket ended", message["code"], flush=True)

async def app(scope, receive, send):
    await (websocket if scope["type"] == "websocket" else http)(scope, receive, send)
"""

BROWSE = """
    const page = await context.newPage();
    const failed = [];
    page.on("requestfailed", (request) => failed.push(request.url()));
    await page.goto(process.argv[2], {waitUntil: "load"});
    const told = JSON.parse(await page.evaluate(() => all()));
    console.log(JSON.stringify({...told, failed}));
"""
ASK = """
    const page = await context.newPage();
    await page.goto(process.argv[2], {waitUntil: "load"});
    console.log(await page.evaluate(() => asking()));
"""


@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_a_page(ours: StartOurs, node: Node, pair: Pair, ws: str) -> None:
    server = ours("--http2", "--ws", ws, *flags(pair), source=APP)
    address = f"https://localhost:{server.port}"
    told = json.loads(node.browse(BROWSE, f"{address}/"))
    assert set(told["protocols"]) == {"h2"} and told["protocols"]["h2"] > 305, told
    assert told["loaded"] == 300
    assert told["told"] == ["0", "1", "2"]
    assert (told["whole"], told["streamed"]) == ([3_000_000, "3000000"], [3_000_000, ""])
    assert told["after"] == "2"
    assert sorted(told["failed"]) == [f"{address}/endless", f"{address}/events"]  # what the page has ended itself
    one, two, denied, closed = told["sockets"]
    assert one["got"] == two["got"] == ["over 2", "text", 200_000]
    assert (one["protocol"], one["code"], one["clean"]) == ("two", 1000, True)
    assert one["extensions"].startswith("permessage-deflate") and two["protocol"] == ""
    assert (denied["got"], denied["code"]) == ([], 1006)
    assert (closed["got"], closed["code"], closed["clean"]) == (["over 2"], 4001, True)
    program = server.program
    ends = ["endless ended", "events ended", "/part/299 HTTP/2"]
    program.until(lambda: all(words in program.text for words in ends), str(ends))
    assert program.text.count("websocket ended 1000") == 2
    assert not any(words in program.text for words in ("HTTP/1.1", "Invalid", "Traceback")), program.text


def test_reloads_under_a_page(ours: StartOurs, node: Node, pair: Pair, tmp_path: Path) -> None:
    """No request fails: Chromium takes a new connection when it is asked to leave."""
    server = ours("--http2", "--no-access-log", *flags(pair), source=APP, workers=2)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(node.browse, ASK, f"https://localhost:{server.port}/")
        try:
            server.says("asked")
            for _ in range(3):
                server.reload()
        finally:
            (tmp_path / "over").touch()
        told = json.loads(asked.result())
    assert told["failed"] == 0 and told["workers"] > 1, told
