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
<meta name="viewport" content="width=device-width">
<title>Upload</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }
  label, progress { display: block; width: 100%; margin: 1rem 0 } input, button { font: inherit }
  #said { overflow-wrap: anywhere }
</style>
<h1>Upload</h1>
<form><label>File <input type="file" id="file" required></label><button>Send</button></form>
<progress id="sent" max="1" value="0" aria-label="sent"></progress>
<p id="said" role="status">nothing sent yet</p>
<script>
  const file = document.getElementById("file"), sent = document.getElementById("sent");
  const said = document.getElementById("said"), button = document.querySelector("button");
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
