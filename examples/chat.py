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

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }
  form { display: flex; gap: .5rem } #text { flex: 1 } input, button { font: inherit; padding: .3rem .6rem }
  #log { list-style: none; padding: 0 } #state { color: #777 }
</style>
<h1>Chat</h1>
<form><input id="name" value="guest" size="8" aria-label="name">
<input id="text" aria-label="message" autofocus autocomplete="off"><button>Send</button></form>
<p id="state" aria-live="polite">connecting</p>
<ul id="log"></ul>
<script>
  const state = document.getElementById("state"), log = document.getElementById("log");
  let socket, pause = 250;
  function connect() {
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/room", "chat.example");
    socket.onopen = () => { pause = 250; state.textContent = "connected" };
    socket.onmessage = (event) => {
      const item = document.createElement("li"), {name, text} = JSON.parse(event.data);
      item.textContent = name + ": " + text;
      log.prepend(item);
    };
    socket.onclose = (event) => {
      state.textContent = "closed (" + event.code + "), connecting again";
      setTimeout(connect, pause *= 1.5);
    };
  }
  connect();
  document.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    const text = document.getElementById("text");
    if (text.value) socket.send(JSON.stringify({name: document.getElementById("name").value, text: text.value}));
    text.value = "";
  };
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
            await tell_everybody({"name": str(said["name"])[:20], "text": str(said["text"])[:1000]})
    finally:
        del MEMBERS[id(send)]


async def tell_everybody(said: dict[str, str]) -> None:
    for send in list(MEMBERS.values()):
        try:
            await send({"type": "websocket.send", "text": json.dumps(said)})
        except OSError:
            pass  # this one has just left; its own `receive` says so
