"""The command behind a proxy: `--proxy-protocol` and `--forwarded-headers` in workers, through a reload."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from programs import Start

APP = """
async def app(scope, receive, send):
    text = f"{scope['client'][0]} {scope['scheme']} {dict(scope['headers'])[b'host'].decode()}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""
PROXY = b"PROXY TCP4 203.0.113.1 192.0.2.1 4711 443\r\n"
FORWARDED = b"X-Forwarded-For: 198.51.100.7\r\nForwarded: for=192.0.2.7;proto=https;host=shop.example\r\n"


def ask(port: int, before: bytes = b"", fields: bytes = b"") -> str:
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(before + b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + fields + b"\r\n")
        with sock.makefile("rb") as answer:
            return answer.read().partition(b"\r\n\r\n")[2].decode()


def test_the_proxy_protocol(start_command: Start, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    program = start_command("app:app", "--port=0", "--workers=2", "--proxy-protocol")
    program.serves()
    assert ask(program.port, PROXY) == "203.0.113.1 http a"
    program.wait_for(r'203\.0\.113\.1:4711 - "GET /x HTTP/1\.1" 200')
    program.tell(signal.SIGHUP)
    program.wait_for("reloaded: ")
    assert ask(program.port, PROXY) == "203.0.113.1 http a"
    try:
        assert ask(program.port) == ""
    except ConnectionResetError:
        pass
    program.wait_for(r"PROXY header refused\. 127\.0\.0\.1:\d+ - no PROXY header")
    assert program.end(signal.SIGTERM) == 0


def test_which_fields_are_believed(start_command: Start, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    program = start_command("app:app", "--port=0", "--forwarded-headers=forwarded")
    assert ask(program.listens(), fields=FORWARDED) == "192.0.2.7 https shop.example"
    program.wait_for(r'192\.0\.2\.7:0 - "GET /x HTTP/1\.1" 200')


def test_two_families_are_refused(start_command: Start, tmp_path: Path) -> None:
    program = start_command("app:app", "--forwarded-headers=forwarded,x-forwarded-for")
    program.wait_for("cannot be used together")
    assert program.end() == 2
