"""Server-sent events: a clock and a counter that tick in every open tab. Open http://127.0.0.1:8000/ in two or three.

$ uvicorn --app-dir examples --timeout-graceful-shutdown 3 events:app

A stream ends when its client leaves. It also ends when the server drains, and the browser then connects again and goes
on counting where it was. Streams hear of a drain only when its time is nearly over, hence the short time above. The
number of open tabs is the worker's; a browser opens at most six HTTP/1.1 connections to a site.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from itertools import count
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EVERY = 1.0
OPEN: set[int] = set()

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Events</title>
<style>
  :root { color-scheme: light dark; --back: #eef5f3; --card: #fff; --text: #10231f; --soft: #5b706b; --line: #d3e2de;
    --accent: #0f8a72; --bad: #b95c00 }
  @media (prefers-color-scheme: dark) { :root { --back: #0e1614; --card: #17211f; --text: #e4efec; --soft: #93a8a2;
    --line: #2a3a36; --accent: #3fd0b0; --bad: #ffa94d } }
  body { display: grid; place-content: center; justify-items: center; gap: 1.5rem; box-sizing: border-box;
    min-height: 100vh; min-height: 100dvh; margin: 0; padding: 1rem; background: var(--back); color: var(--text);
    font: 1rem/1.5 system-ui, sans-serif }
  h1, p { margin: 0 } h1 { font-size: 1.3rem }
  #time { display: grid; place-content: center; box-sizing: border-box; width: min(20rem, 80vw); aspect-ratio: 1;
    border: .8rem solid transparent; border-radius: 50%; font-size: clamp(2.5rem, 14vw, 3.8rem); font-weight: 300;
    font-variant-numeric: tabular-nums; background: linear-gradient(var(--card), var(--card)) padding-box,
    conic-gradient(var(--accent) calc(var(--second, 0) * 6deg), var(--line) 0) border-box }
  #facts { display: flex; flex-wrap: wrap; justify-content: center; gap: .6rem }
  #facts span { padding: .3rem .9rem; border: 1px solid var(--line); border-radius: 2rem; background: var(--card) }
  #state { color: var(--bad) } #state.good { color: var(--accent) }
  #state::before { content: ""; display: inline-block; width: .6em; height: .6em; margin-right: .4em;
    border-radius: 50%; background: currentColor }
  #hint { color: var(--soft); text-align: center; text-wrap: balance }
</style>
<h1>Events</h1>
<p id="time" role="timer" aria-label="time of the server">--:--:--</p>
<p id="facts"><span>event <b id="number">0</b></span> <span>open tabs: <b id="tabs">0</b></span></p>
<p id="state" role="status">connecting</p>
<p id="hint">Each second comes from the server. Open this page in a second tab.</p>
<script>
  const show = (id, text) => { document.getElementById(id).textContent = text };
  const state = (text) => {
    show("state", text);
    document.getElementById("state").className = text == "connected" ? "good" : "";
  };
  const source = new EventSource("/events");
  source.onopen = () => state("connected");
  source.onerror = () => state("connecting again");
  source.addEventListener("tick", (event) => {
    const tick = JSON.parse(event.data);
    show("number", event.lastEventId);
    show("time", tick.time);
    show("tabs", tick.tabs);
    document.getElementById("time").style.setProperty("--second", tick.time.slice(-2));
  });
</script>
"""


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(f"nothing here speaks {scope['type']}")
    if scope["path"] == "/events":
        await stream(scope, receive, send)
        return
    status, body = (200, PAGE) if scope["path"] == "/" else (404, b"Not found")
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(scope: Message, receive: Receive, send: Send) -> None:
    last = dict(scope["headers"]).get(b"last-event-id", b"0")
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async with aclosing(ticks(receive, int(last) if last.isdigit() else 0)) as events:
        async for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body"})  # whole, if somebody is still there: a drain, not a client that left


async def ticks(receive: Receive, last: int) -> AsyncGenerator[bytes, None]:
    """Events after number `last`, until there is a disconnect."""
    over = asyncio.ensure_future(disconnected(receive))
    OPEN.add(id(over))
    try:
        yield b"retry: 250\n\n"  # milliseconds until a browser connects again
        for number in count(last + 1):
            data = json.dumps({"time": time.strftime("%H:%M:%S"), "tabs": len(OPEN)})
            yield f"id: {number}\nevent: tick\ndata: {data}\n\n".encode()
            if (await asyncio.wait([over], timeout=EVERY))[0]:
                return
    finally:
        OPEN.discard(id(over))
        over.cancel()


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
