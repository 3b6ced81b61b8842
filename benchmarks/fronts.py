"""nginx and haproxy before a server of the drills, on loopback, as their users have them.

Owns: their configuration (kept connections to the server, WebSockets), a process of each, and its end. Must not: repeat
a request for the client more often than the proxies do by themselves. Fails by: None where a proxy is not installed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import HOST, free_port

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream server {{ server {host}:{port}; keepalive 32; }}
    server {{
        listen {host}:{front};
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 1h
frontend front
    bind {host}:{front}
    default_backend server
backend server
    http-reuse always
    server one {host}:{port}
"""


@contextmanager
def front(name: str, port: int, folder: Path) -> Iterator[int | None]:
    """The port of a proxy before `port`, once it listens; None when there is no such proxy here."""
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        yield None
        return
    listens = free_port()
    file = folder / f"{name}.conf"
    template = NGINX if name == "nginx" else HAPROXY
    file.write_text(template.format(folder=folder, host=HOST, port=port, front=listens))
    command = [program, "-p", str(folder), "-c", str(file)] if name == "nginx" else [program, "-db", "-f", str(file)]
    with (folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_until_listening(process, listens)
        yield listens
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen")
