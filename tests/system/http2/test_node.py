"""Node.js's http2 against our server: many streams at once, uploads, aborts, a tunnel for WebSockets, reloads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certificates import Authority, Pair, flags
from installations import Node
from real_proxies import StartOurs, program_of

pytestmark = pytest.mark.system

COMMON = """
const http2 = require("http2"), crypto = require("crypto"), fs = require("fs");
const [url, ca, over] = process.argv.slice(2);
const connect = () => http2.connect(url, {ca: fs.readFileSync(ca)});
const ask = (session, headers, body) => new Promise((resolve, reject) => {
  const stream = session.request(headers), parts = [];
  let status;
  stream.on("response", (head) => { status = head[":status"]; });
  stream.on("data", (part) => parts.push(part));
  stream.on("end", () => resolve([status, Buffer.concat(parts).toString()]));
  stream.on("error", reject);
  stream.end(body);
});
const event = (one, name) => new Promise((resolve) => one.once(name, resolve));
const run = (main) => main().then((told) => console.log(JSON.stringify(told)),
                                  (error) => { console.error(error); process.exit(1); });
"""
REQUESTS = """
run(async () => {
  const session = connect();
  const {maxConcurrentStreams, enableConnectProtocol} = await event(session, "remoteSettings");
  const many = await Promise.all(Array.from({length: 1000}, (_, n) => ask(session, {":path": "/x/" + n})));
  const body = crypto.randomBytes(3000000), sum = crypto.createHash("sha256").update(body).digest("hex");
  const post = {":method": "POST", ":path": "/upload"};
  const posts = await Promise.all(Array.from({length: 4}, () => ask(session, post, body)));

  const endless = session.request({":path": "/endless"});
  await event(endless, "data");
  endless.close(http2.constants.NGHTTP2_CANCEL);
  await event(endless, "close");

  const tunnel = session.request({":method": "CONNECT", ":protocol": "websocket", ":path": "/ws",
                                  "sec-websocket-version": "13"});
  const {":status": opened} = await event(tunnel, "response");
  const first = await event(tunnel, "data");
  tunnel.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]));
  const close = await event(tunnel, "data");
  tunnel.end();
  await event(tunnel, "close");

  await new Promise((resolve, reject) => session.ping((error) => error ? reject(error) : resolve()));
  session.close();
  await event(session, "close");
  return {
    alpn: session.alpnProtocol, maxConcurrentStreams, enableConnectProtocol,
    many: many.filter(([status, body]) => status == 200 && JSON.parse(body).http_version == "2").length,
    posts: posts.filter(([status, body]) => status == 200 && JSON.parse(body).sha256 == sum).length,
    opened, first: first.length > 100, close: close.toString("hex"), reset: tunnel.rstCode,
  };
});
"""
RELOADS = """
run(async () => {
  let session = connect(), sessions = 1, pids = new Set();
  const failed = [];
  const one = async () => {
    while (!fs.existsSync(over) && failed.length < 10) {
      if (session.closed || session.destroyed) { session = connect(); sessions++; }
      const used = session;
      try {
        const [status, body] = await ask(used, {":path": "/"});
        if (status != 200) throw new Error(status);
        pids.add(JSON.parse(body).pid);
      } catch (error) {
        if (!used.closed || !error.message.includes("REFUSED_STREAM")) failed.push(String(error));
      }
    }
  };
  await Promise.all(Array.from({length: 20}, one));
  session.close();
  return {failed, sessions, workers: pids.size};
});
"""


@pytest.fixture
def javascript(tmp_path: Path) -> Node:
    program_of("node")
    return Node(tmp_path, tmp_path)


def test_requests(ours: StartOurs, javascript: Node, authority: Authority, pair: Pair) -> None:
    server = ours("--http2", "--no-access-log", *flags(pair))
    told = json.loads(javascript.run(COMMON + REQUESTS, f"https://localhost:{server.port}", authority.path))
    assert told == {
        "alpn": "h2",
        "maxConcurrentStreams": 128,
        "enableConnectProtocol": True,
        "many": 1000,
        "posts": 4,
        "opened": 200,
        "first": True,
        "close": "880203e8",
        "reset": 0,
    }
    program = server.program
    program.until(lambda: "endless ended" in program.text and "websocket ended 1000" in program.text)


def test_reloads(ours: StartOurs, javascript: Node, authority: Authority, pair: Pair, tmp_path: Path) -> None:
    """node itself refuses what it has not sent yet when a GOAWAY comes: nothing is lost when that is repeated."""
    server = ours("--http2", *flags(pair), workers=2)
    over = tmp_path / "over"
    with ThreadPoolExecutor(1) as pool:
        arguments = [f"https://localhost:{server.port}", authority.path, str(over)]
        asked = pool.submit(javascript.run, COMMON + RELOADS, *arguments)
        try:
            server.says('"GET / HTTP/2" 200')
            for _ in range(3):
                server.reload()
        finally:
            over.touch()
        told = json.loads(asked.result())
    assert told["failed"] == [] and told["sessions"] > 1 and told["workers"] > 1, told
