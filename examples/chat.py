"""A chat room: the page and its WebSocket, both served here. Open http://127.0.0.1:8000/ in two windows.

$ uvicorn --app-dir examples chat:app

The room is the worker's: with more than one worker there are as many rooms.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MEMBERS: dict[int, Send] = {}
LONGEST = {"id": 50, "name": 20, "text": 1000}
"""What is passed on of a message, in characters."""

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Chat</title>
<style>
  :root { color-scheme: light dark; --back: #f3f4f8; --card: #fff; --text: #1b1d29; --soft: #666c80; --line: #dcdfe9;
    --accent: #5145cd; --on: #fff; --good: #1a8f5a; --bad: #b95c00 }
  @media (prefers-color-scheme: dark) { :root { --back: #12131a; --card: #1e2029; --text: #e8e9f0; --soft: #9aa0b4;
    --line: #333747; --accent: #a79dff; --on: #16123d; --good: #4cc38a; --bad: #ffa94d } }
  * { box-sizing: border-box }
  body { display: flex; flex-direction: column; max-width: 44rem; height: 100vh; height: 100dvh; margin: auto;
    background: var(--back); color: var(--text); font: 1rem/1.45 system-ui, sans-serif }
  header { display: flex; align-items: baseline; justify-content: space-between; padding: 1rem; gap: 1rem }
  h1 { margin: 0; font-size: 1.3rem }
  #state { margin: 0; color: var(--bad); font-size: .9rem } #state.good { color: var(--good) }
  #state::before { content: ""; display: inline-block; width: .6em; height: .6em; margin-right: .4em;
    border-radius: 50%; background: currentColor }
  #log { flex: 1; overflow-y: auto; display: flex; flex-direction: column; gap: .5rem; margin: 0; padding: 0 1rem;
    list-style: none }
  #log:not(:empty)::before { content: ""; margin-top: auto }
  #log:empty::after { content: "Nobody has said anything yet. Open this page in a second window."; margin: auto;
    color: var(--soft); text-align: center; text-wrap: balance }
  li { max-width: 80%; align-self: flex-start; padding: .4rem .8rem; border: 1px solid var(--line);
    border-radius: .3rem 1rem 1rem; background: var(--card); overflow-wrap: anywhere }
  li b { display: block; color: var(--soft); font-size: .8rem; font-weight: 600 }
  li.mine { align-self: flex-end; border-radius: 1rem .3rem 1rem 1rem; background: var(--accent); color: var(--on);
    border-color: transparent }
  li.mine b { display: none }
  li.waiting { opacity: .6 } li.waiting::after { content: "not sent yet"; display: block; font-size: .8rem }
  form { display: flex; gap: .5rem; padding: 1rem; padding-bottom: max(1rem, env(safe-area-inset-bottom)) }
  input, button { min-width: 0; padding: .6rem .8rem; border: 1px solid var(--line); border-radius: .7rem;
    font: inherit; background: var(--card); color: inherit }
  #name { flex: 0 1 7rem } #text { flex: 1 1 8rem }
  button { flex: none; border: 0; background: var(--accent); color: var(--on); font-weight: 600; cursor: pointer }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 1px }
</style>
<header><h1>Chat</h1><p id="state" role="status">connecting</p></header>
<ul id="log" aria-live="polite"></ul>
<form><input id="name" value="guest" maxlength="20" aria-label="name">
<input id="text" maxlength="1000" placeholder="Message" aria-label="message" autofocus autocomplete="off">
<button>Send</button></form>
<script>
  const [state, log, name_, text] = ["state", "log", "name", "text"].map((id) => document.getElementById(id));
  const waiting = new Map();  // what we have said and the room has not: by id, in order
  let socket, pause = 250;

  function connect() {
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/room", "chat.example");
    socket.onopen = () => {
      pause = 250;
      show("connected");
      waiting.forEach(send);
    };
    socket.onmessage = (event) => {
      const said = JSON.parse(event.data);
      waiting.delete(said.id);
      add(said).classList.remove("waiting");
    };
    socket.onclose = (event) => {
      show("closed (" + event.code + "), connecting again");
      setTimeout(connect, pause = Math.min(pause * 1.5, 5000));
    };
  }

  function show(words) {
    state.textContent = words;
    state.className = words == "connected" ? "good" : "";
  }

  function send(said) {
    if (socket.readyState == WebSocket.OPEN) socket.send(JSON.stringify(said));
  }

  function add({id, name, text}) {  // once: what is sent again after a lost connection may be there already
    const known = id && document.getElementById(id);
    if (known) return known;
    const item = document.createElement("li"), who = document.createElement("b"), what = document.createElement("span");
    if (id) item.id = id;
    who.textContent = name;
    what.textContent = text;
    item.append(who, what);
    log.append(item);
    log.scrollTop = log.scrollHeight;
    return item;
  }

  document.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    if (!text.value) return;
    const said = {id: "m" + Date.now() + Math.random(), name: name_.value || "guest", text: text.value};
    waiting.set(said.id, said);
    add(said).classList.add("mine", "waiting");
    send(said);
    text.value = "";
  };
  connect();
</script>
"""


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await room(scope, receive, send)
    elif scope["type"] == "http":
        status, body = (200, PAGE) if scope["path"] == "/" else (404, b"Not found")
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        raise NotImplementedError(f"nothing here speaks {scope['type']}")


async def room(scope: Message, receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    if scope["path"] != "/room":
        await send({"type": "websocket.close"})  # before it is accepted: 403
        return
    wanted = "chat.example" if "chat.example" in scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": wanted})
    MEMBERS[id(send)] = send
    try:
        while (message := await receive())["type"] == "websocket.receive":
            said = json.loads(message["text"])
            await tell_everybody({key: str(said[key])[:longest] for key, longest in LONGEST.items() if key in said})
    finally:
        del MEMBERS[id(send)]


async def tell_everybody(said: dict[str, str]) -> None:
    for send in list(MEMBERS.values()):
        try:
            await send({"type": "websocket.send", "text": json.dumps(said)})
        except OSError:
            pass  # this one has just left; its own `receive` says so
