"""Addresses of this machine: one that is free, whether a server answers at another, and blocking connections to it."""

from __future__ import annotations

import socket

PATIENCE = 60.0
"""Seconds after which a call that blocks fails: a net, no test is meant to come near it."""

Address = str | tuple[str, int]
"""The path of a Unix socket, or host and port."""

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has at the moment."""
    with socket.create_server((host, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def dial(address: Address) -> socket.socket:
    """A connection; its calls block, and fail after `PATIENCE`."""
    if not isinstance(address, str):
        return socket.create_connection(address, PATIENCE)
    client = socket.socket(socket.AF_UNIX)
    try:
        client.settimeout(PATIENCE)
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def connects(address: Address) -> bool:
    """Whether somebody listens there."""
    try:
        dial(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    return True


def exchange(address: Address, data: bytes = GET) -> bytes:
    """Send that, and return all that comes until the server closes."""
    with dial(address) as client:
        client.sendall(data)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


def fetch(address: Address, data: bytes = GET) -> bytes:
    """The body of the answer to a request after which the server closes."""
    head, _, body = exchange(address, data).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return body
