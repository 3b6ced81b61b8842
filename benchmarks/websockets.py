"""WebSocket echoes per second, CPU time per echo and memory of idle sockets, as ratios between servers.

Owns: the workloads, the client (a process of its own, pinned to the other core), the rounds and the table. As in
`speed`: one server runs at a time, started afresh for each of its rounds; rounds interleave; what is shown is the
median of the ratios of each round, with the smallest and the largest. Every echo of the first round trip is compared
with what was sent, later ones by their number of bytes. Must not: show a round in which a socket failed. Absolute
figures go into `--json` only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import peers
from benchmarks.peers import Peer, Wish
from benchmarks.processes import HOST, StartFailed, Tree, free_port

CONNECTIONS = 32
IDLE = 5000
WARM_UP = 0.5
WORDS = b'{"id": 12345, "kind": "message", "text": "The quick brown fox jumps over the lazy dog"}, '
MASK = b"\x11\x22\x33\x44"
EXTENSION = "permessage-deflate; client_no_context_takeover; client_max_window_bits"


class Work(NamedTuple):
    title: str
    size: int
    deflate: bool = False
    idle: bool = False


WORKS = {
    "small": Work("echo of 128 bytes", 128),
    "large": Work("echo of 64 KiB", 65536),
    "deflate": Work("echo of 1 KiB, compressed", 1024, deflate=True),
    "idle": Work(f"memory of {IDLE} idle sockets, compression agreed", 0, deflate=True, idle=True),
}


# -- the client ------------------------------------------------------------------------------------------------


def frame(payload: bytes, first: int) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    key = (MASK * (size // 4 + 1))[:size]
    return head + MASK + (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def connect(port: int, deflate: bool) -> socket.socket:
    """An open WebSocket. Raises OSError or ValueError."""
    sock = socket.create_connection((HOST, port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [
        "GET / HTTP/1.1",
        f"Host: {HOST}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Extensions: {EXTENSION}"] if deflate else []),
    ]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = sock.recv(4096)
        if not part:
            raise ValueError("closed during the handshake")
        head += part
    if b" 101 " not in head[:20] or (deflate and b"permessage-deflate" not in head):
        raise ValueError(head[:40].decode("latin-1"))
    return sock


def one_echo(sock: socket.socket, sent: bytes, payload: bytes, deflate: bool) -> None:
    """A round trip that is looked at."""
    sock.sendall(sent)
    got = b""
    while True:
        part = sock.recv(1 << 20)
        if not part:
            raise ValueError("closed")
        got += part
        size, head = got[1], 2
        if size > 125:
            head = 4 if size == 126 else 10
            size = int.from_bytes(got[2:head], "big")
        if len(got) >= head + size:
            break
    body = got[head:]
    if deflate and got[0] & 0x40:
        body = zlib.decompressobj(wbits=-15).decompress(body + b"\x00\x00\xff\xff")
    if body != payload:
        raise ValueError("another echo than what was sent")


def size_of_frame(view: bytes | bytearray) -> int:
    """Bytes of the frame that `view` begins with. (Heads are never split in practice: they come with their payload.)"""
    if view[1] < 126:
        return 2 + view[1]
    head = 4 if view[1] == 126 else 10
    return head + int.from_bytes(view[2:head], "big")


class Socket:
    """One connection with one message in flight: `missing` counts the bytes of its echo that did not come yet."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)  # else every call would ask the kernel first whether it can be made
        self.receive = sock.recv_into
        self.send = sock.sendall
        self.missing = 0


def echo_for(seconds: float, sockets: dict[int, Socket], poll: select.epoll, sent: bytes) -> tuple[int, float]:
    """(echoes, seconds): each connection sends again when its echo is there."""
    for each in sockets.values():
        each.send(sent)
    count, left = 0, len(sockets)
    room = bytearray(1 << 20)
    begin = time.monotonic()
    end = begin + seconds
    while left:
        going = time.monotonic() < end
        for number, _ in poll.poll(20):
            each = sockets[number]
            got = each.receive(room)
            if not got:
                raise ValueError("closed")
            each.missing = (each.missing or size_of_frame(room)) - got
            if each.missing:
                continue
            count += 1
            if going:
                each.send(sent)
            else:
                left -= 1
    return count, time.monotonic() - begin


def client(port: int, work: Work, seconds: float) -> None:
    """The process with the load: one line when it is warm, one with the counts. Idle sockets stay until input ends."""
    if work.idle:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by nobody: the server has its own
        held = [connect(port, True) for _ in range(IDLE)]
        print("ready", flush=True)
        sys.stdin.read()
        held.clear()
        return
    payload = (WORDS * (work.size // len(WORDS) + 1))[: work.size]
    sent = frame(payload, 0x81)
    if work.deflate:
        packer = zlib.compressobj(wbits=-12)
        sent = frame((packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1)
    sockets = {}
    poll = select.epoll()
    for _ in range(CONNECTIONS):
        sock = connect(port, work.deflate)
        one_echo(sock, sent, payload, work.deflate)
        poll.register(sock.fileno(), select.EPOLLIN)
        sockets[sock.fileno()] = Socket(sock)
    echo_for(WARM_UP, sockets, poll, sent)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(echo_for(seconds, sockets, poll, sent)), flush=True)
    sys.stdin.read()


# -- rounds ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def load(port: int, name: str, seconds: float, core: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.websockets", "--client", f"{port},{name},{seconds}"],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def measure(peer: Peer, name: str, seconds: float, cores: tuple[int, int], folder: Path) -> dict[str, float]:
    """One round. Raises StartFailed or ValueError for a server that does not do this work."""
    work, port = WORKS[name], free_port()
    command = peer.command(Wish("apps:websocket_echo", port))
    if command is None:
        raise ValueError("no feature")
    shutil.copy(Path(__file__).with_name("apps.py"), folder)
    with Tree(command, cwd=folder, log=folder / f"{peer.name}.log", env=peer.env(folder), core=cores[0]) as tree:
        tree.wait_until_answering(port)
        before = tree.pss()
        with load(port, name, seconds, cores[1]) as process:
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
            if process.stdout.readline() != "ready\n":
                raise ValueError((process.stderr.read().strip().splitlines() or ["the client died"])[-1])
            if work.idle:
                return {"bytes": (tree.pss() - before) / IDLE}
            cpu = tree.cpu()
            process.stdin.write("go\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise ValueError((process.stderr.read().strip().splitlines() or ["the client died"])[-1])
            count, took = json.loads(line)
            return {"rate": count / took, "cpu": (tree.cpu() - cpu) / count}


def shown(ratios: list[float]) -> str:
    if not ratios:
        return "–"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def table(name: str, results: dict[str, list[dict[str, float]]], base: str) -> None:
    print(f"\n{WORKS[name].title}, as a ratio to {base} (median, smallest and largest of the rounds)")
    for server, rounds in results.items():
        if not rounds:
            continue
        pairs = list(zip(rounds, results[base], strict=False))
        if WORKS[name].idle:
            print(f"  {server:10} memory {shown([mine['bytes'] / theirs['bytes'] for mine, theirs in pairs])}")
            continue
        rate = shown([mine["rate"] / theirs["rate"] for mine, theirs in pairs])
        cpu = shown([theirs["cpu"] / mine["cpu"] for mine, theirs in pairs])
        print(f"  {server:10} echoes/s {rate}   echoes per CPU second {cpu}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", default="small", help=f"comma-separated of {', '.join(WORKS)}, or all")
    servers = f"of {', '.join(peers.BUILDERS)}; uvicorn, or else the last, is the base"
    parser.add_argument("--servers", default="ours,uvicorn", help=servers)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--cores", default="0,1", help="the server's and the client's")
    parser.add_argument("--ours", type=Path, default=Path(sys.executable))
    parser.add_argument("--peers-env", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        port, name, seconds = options.client.split(",")
        client(int(port), WORKS[name], float(seconds))
        return
    server_core, client_core = map(int, options.cores.split(","))
    everything: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        names = options.servers.split(",")
        there = peers.present(peers.find(names, ours=options.ours, peers_env=options.peers_env), folder)
        base = "uvicorn" if "uvicorn" in names else names[-1]
        for name in WORKS if options.work == "all" else options.work.split(","):
            results: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in there}
            out: set[str] = set()
            for _ in range(options.rounds):
                for peer in there:
                    if peer.name in out:
                        continue
                    try:
                        got = measure(peer, name, options.seconds, (server_core, client_core), folder)
                    except (ValueError, OSError, StartFailed) as exc:
                        out.add(peer.name)
                        results[peer.name] = []
                        print(f"{peer.name}, {WORKS[name].title}: left out: {exc}", file=sys.stderr)
                    else:
                        results[peer.name].append(got)
            table(name, results, base)
            everything[name] = results
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
