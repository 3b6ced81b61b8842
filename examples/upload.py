"""An upload with a progress bar: the page, and what takes the file. Open http://127.0.0.1:8000/ and choose one.

$ uvicorn --app-dir examples upload:app

The body is hashed as it comes and never held. `--limit-request-body` bounds how large one may be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Upload</title>
<style>
  :root { color-scheme: light dark; --back: #f7f3ee; --card: #fff; --text: #2a2118; --soft: #756a5d; --line: #e3d9cd;
    --accent: #b4521a; --on: #fff }
  @media (prefers-color-scheme: dark) { :root { --back: #16120e; --card: #221c16; --text: #f0e9e1; --soft: #ab9e8f;
    --line: #41372c; --accent: #ff9f5f; --on: #2d1503 } }
  * { box-sizing: border-box }
  body { display: grid; place-content: center; grid-template-columns: minmax(0, 34rem); min-height: 100vh;
    min-height: 100dvh; margin: 0; padding: 1rem; background: var(--back); color: var(--text);
    font: 1rem/1.5 system-ui, sans-serif }
  main { padding: clamp(1rem, 5vw, 2rem); border: 1px solid var(--line); border-radius: 1.2rem;
    background: var(--card) }
  h1, p { margin: 0 } h1 { font-size: 1.3rem }
  label { display: grid; position: relative; place-items: center; gap: .3rem; margin: 1.2rem 0; padding: 2.2rem 1rem;
    border: 2px dashed var(--line); border-radius: .9rem; text-align: center; overflow-wrap: anywhere }
  label:hover, label:focus-within { border-color: var(--accent) }
  label small { color: var(--soft) }
  #file { position: absolute; inset: 0; width: 100%; height: 100%; opacity: 0; cursor: pointer }
  button { width: 100%; padding: .7rem; border: 0; border-radius: .7rem; background: var(--accent); color: var(--on);
    font: inherit; font-weight: 600; cursor: pointer } button:disabled { opacity: .5; cursor: default }
  progress { width: 100%; height: .6rem; margin: 1.2rem 0 .6rem; border: 0; border-radius: 1rem; overflow: hidden;
    appearance: none; background: var(--line) }
  progress::-webkit-progress-bar { background: var(--line) }
  progress::-webkit-progress-value { background: var(--accent) }
  progress::-moz-progress-bar { background: var(--accent) }
  #said { color: var(--soft); font-size: .9rem; overflow-wrap: anywhere }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
</style>
<main>
<h1>Upload</h1>
<form><label><span id="chosen">Choose a file, or drop one here</span><small id="size">It is hashed and not kept.</small>
<input type="file" id="file" aria-label="File" required></label><button>Send</button></form>
<progress id="sent" max="1" value="0" aria-label="sent"></progress>
<p id="said" role="status">nothing sent yet</p>
</main>
<script>
  const [file, chosen, size, sent, said] =
    ["file", "chosen", "size", "sent", "said"].map((id) => document.getElementById(id));
  const button = document.querySelector("button");
  file.onchange = () => {
    const one = file.files[0];
    chosen.textContent = one ? one.name : "Choose a file, or drop one here";
    size.textContent = one ? one.size.toLocaleString() + " bytes" : "It is hashed and not kept.";
    sent.value = 0;
    said.textContent = "nothing sent yet";
  };
  document.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();  // fetch does not tell how much has been sent
    request.upload.onprogress = (event) => { if (event.total) sent.value = event.loaded / event.total };
    request.onload = () => {
      const answer = request.status == 200 && JSON.parse(request.responseText);
      said.textContent = answer ? answer.bytes + " bytes, SHA-256 " + answer.sha256 : "refused: " + request.status;
    };
    request.onerror = () => { said.textContent = "the connection was lost" };
    request.onloadend = () => { button.disabled = false };
    button.disabled = true;
    sent.value = 0;
    said.textContent = "sending";
    request.open("PUT", "/file");
    request.send(file.files[0]);
  };
</script>
"""


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(f"nothing here speaks {scope['type']}")
    match scope["method"], scope["path"]:
        case "GET", "/":
            await answer(send, 200, b"text/html; charset=utf-8", PAGE)
        case "PUT", "/file":
            await take(receive, send)
        case _:
            await answer(send, 404, b"text/plain; charset=utf-8", b"Not found")


async def take(receive: Receive, send: Send) -> None:
    size, digest, more = 0, hashlib.sha256(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return  # the client left in the middle: nobody waits for an answer
        body = message.get("body", b"")
        size += len(body)
        digest.update(body)
        more = message.get("more_body", False)
    found = {"bytes": size, "sha256": digest.hexdigest()}
    await answer(send, 200, b"application/json", json.dumps(found).encode())


async def answer(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
