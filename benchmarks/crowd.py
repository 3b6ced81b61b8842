"""Slow clients, in a process of their own: `python -m benchmarks.crowd KIND COUNT PORT`.

Owns: connecting, behaving slowly once a second, and noticing when the server ends a connection. Says `ready` when all
are connected, and when its standard input ends one line of JSON: how many the server has ended, and after how long.
Must not: measure a server.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

from benchmarks.processes import HOST

GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n"
END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

Client = socket.socket


def connect(port: int, opening: bytes, receive_buffer: int | None = None) -> Client:
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(30)
    client.connect((HOST, port))
    client.sendall(opening)
    return client


def slow_header(port: int) -> Client:
    return connect(port, GET % b"/" + b"X: ")


def reader(port: int) -> Client:
    return connect(port, GET % b"/big" + b"\r\n", receive_buffer=4096)


def upload(port: int) -> Client:
    return connect(port, b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (1 << 40))


def idle(port: int) -> Client:
    client = connect(port, GET % b"/" + b"\r\n")
    client.recv(65536)
    return client


def one_byte_out(client: Client) -> None:
    client.send(b"x")


def one_byte_in(client: Client) -> None:
    client.recv(1)


def as_much_as_it_takes(client: Client) -> None:
    while client.send(b"x" * 65536):
        pass


def nothing(client: Client) -> None: ...


KINDS: dict[str, tuple[Callable[[int], Client], Callable[[Client], None]]] = {
    "headers": (slow_header, one_byte_out),
    "readers": (reader, one_byte_in),
    "upload": (upload, as_much_as_it_takes),
    "idle": (idle, nothing),
}


def main(kind: str, count: int, port: int) -> None:
    opening, each_second = KINDS[kind]
    poll, clients, begun, ended = select.epoll(), {}, {}, []
    for _ in range(count):
        client = opening(port)
        client.setblocking(False)
        poll.register(client, END)
        clients[client.fileno()] = client
        begun[client.fileno()] = time.monotonic()
    print("ready", flush=True)
    leave = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        leave.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    while not leave.is_set():
        tick = time.monotonic()
        for client in clients.values():
            try:
                each_second(client)
            except OSError:
                pass  # nothing to read, no room to write, or over: the poll tells
        while not leave.is_set() and (left := tick + 1 - time.monotonic()) > 0:
            for number, _ in poll.poll(min(left, 0.1)):
                poll.unregister(number)
                clients.pop(number).close()
                ended.append(time.monotonic() - begun[number])
                if not clients:
                    print("all", flush=True)
    print(json.dumps({"ended": len(ended), "first": min(ended, default=0), "last": max(ended, default=0)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
