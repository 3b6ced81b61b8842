"""CPU time of a server per request over HTTP/2, as ratios between servers; the load is h2load's.

Owns: the works and the rounds. As in `speed`: one server runs at a time, alone on one core, started afresh for each of
its rounds; the load generator has the other core; rounds interleave, and what is shown is the median of the ratios of
each round. `ours1` is our server asked over HTTP/1.1, on as many connections, a request at a time. WebSockets have a
client of their own (`echo_client`).
Must not: show a round in which a request failed, or in which an answer was another than was to be expected.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks import apps, peers
from benchmarks.peers import Peer, Wish
from benchmarks.processes import HOST, StartFailed, Tree, core_seconds, free_port
from benchmarks.report import Row, markdown
from benchmarks.speed import BROWSER, DISTURBED, Refused, Round, disturbances
from benchmarks.websockets import frame as message_frame

PATHS = 20_000
SERVERS = "ours,ours1,granian,h2corn,peregrine,zttp,hypercorn"
SOCKETS = 32
MESSAGE = b"x" * 128


@dataclass(frozen=True)
class Work:
    """What h2load does: so many connections, streams on each, requests; and what has to come back."""

    name: str
    title: str
    app: str
    expected: bytes
    clients: int = 16
    streams: int = 8
    requests: int = 60_000
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    paths: int = 1
    tls: bool = False
    websocket: bool = False


HELLO = "apps:hello"
FIELDS = {name.lower(): value for name, value in BROWSER.items() if name != "Connection"}
POSTED = b"x" * 16384
WORKS = {
    work.name: work
    for work in [
        Work("many", "GET, 13 bytes, 16 connections of 8 streams", HELLO, apps.HELLO),
        Work("one", "the same, one connection of 100 streams", HELLO, apps.HELLO, 1, 100),
        Work("single", "the same, 64 connections of one stream", HELLO, apps.HELLO, 64, 1),
        Work("tls", "the same over TLS, 16 of 8", HELLO, apps.HELLO, tls=True),
        Work("paths", f"a browser's fields, {PATHS} paths", HELLO, apps.HELLO, headers=FIELDS, paths=PATHS),
        Work("large", "64 KiB bodies", "apps:large", apps.LARGE, requests=12_000),
        Work("chunks", "ten parts of 1 KiB", "apps:chunks", apps.CHUNK * apps.CHUNKS, requests=15_000),
        Work("post", "POST and echo 16 KiB", "apps:echo", POSTED, requests=12_000, body=POSTED),
        Work("websocket", "WebSocket echo of 128 bytes", "apps:websocket_echo", MESSAGE, SOCKETS, 1, websocket=True),
    ]
}


class Bench:
    """The folder with what servers and clients read, and the two cores."""

    def __init__(self, folder: Path, cores: tuple[int, int], attempts: int, share: float) -> None:
        self.folder = folder
        self.server_core, self.load_core = cores
        self.attempts = attempts
        self.share = share
        shutil.copy(Path(apps.__file__), folder)
        (folder / "body").write_bytes(POSTED)
        self.certificate = folder / "cert.pem", folder / "key.pem"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        made += ["-subj", "/CN=localhost", "-days", "2", "-out", str(self.certificate[0])]
        subprocess.run([*made, "-keyout", str(self.certificate[1])], check=True, capture_output=True)

    def command(self, peer: Peer, work: Work, port: int) -> list[str]:
        certificate = tuple(map(str, self.certificate)) if work.tls else ()
        command = peer.command(Wish(work.app, port, http2=peer.name != "ours1", certificate=certificate))
        if command is None:
            raise Refused("no feature")
        return command

    def run(self, command: list[str], seconds: float) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            preexec_fn=lambda: os.sched_setaffinity(0, {self.load_core}),
        )
        return done.stdout + done.stderr

    def verify(self, peer: Peer, work: Work, port: int) -> None:
        """By curl, because h2load looks at no body. Raises Refused."""
        version = "--http1.1" if peer.name == "ours1" else "--http2" if work.tls else "--http2-prior-knowledge"
        command = ["curl", "-s", "-k", "-m", "10", version, "-o", "answer", "-w", "%{http_version} %{http_code}"]
        command += [option for name, value in work.headers.items() for option in ("-H", f"{name}: {value}")]
        command += ["--data-binary", "@body", "-H", "expect:"] if work.body else []
        told = self.run([*command, self.url(work, port)], 20)
        wanted = f"{'1.1' if peer.name == 'ours1' else '2'} 200"
        if told != wanted or (self.folder / "answer").read_bytes() != work.expected:
            raise Refused(f"answers {told!r}, or another body")

    def url(self, work: Work, port: int) -> str:
        return f"{'https' if work.tls else 'http'}://{HOST}:{port}/"

    def load(self, peer: Peer, work: Work, port: int, requests: int) -> tuple[int, float]:
        """(requests, seconds) of one run of h2load. Raises Refused."""
        command = ["h2load", "-n", str(requests), "-c", str(work.clients), "-t1"]
        if peer.name == "ours1":
            command += ["--h1"]  # without pipelining: no client does that
        else:
            command += ["-m", str(work.streams)]
        command += [option for name, value in work.headers.items() for option in ("-H", f"{name}: {value}")]
        if work.body:
            command += ["-d", "body"]
        if work.paths > 1:
            paths = self.folder / f"paths{port}"
            paths.write_text("".join(f"{self.url(work, port)}items/{n}\n" for n in range(work.paths)))
            command += ["-i", paths.name]
        else:
            command.append(self.url(work, port))
        told = self.run(command, 120)
        good = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout", told)
        statuses = re.search(r"status codes: (\d+) 2xx", told)
        took = re.search(r"finished in ([\d.]+)(ms|s|us)", told)
        if good is None or statuses is None or took is None or not int(good[1]) == int(statuses[1]) == requests:
            raise Refused(f"h2load: {' '.join(told.split())[-300:]}")
        return requests, float(took[1]) * {"s": 1, "ms": 1e-3, "us": 1e-6}[took[2]]

    def round(self, peer: Peer, work: Work) -> Round:
        """Start, verify, warm up, measure, stop."""
        port = free_port()
        log = self.folder / f"{peer.name}.log"
        requests = int(work.requests * self.share)
        command = self.command(peer, work, port)
        with Tree(command, cwd=self.folder, log=log, env=peer.env(self.folder), core=self.server_core) as tree:
            wait(tree, port)
            if work.websocket:
                before = self.echoes(peer, port, requests // 5) and tree.cpu()
                others = core_seconds(self.server_core)
                count, seconds = self.echoes(peer, port, requests)
            else:
                self.verify(peer, work, port)
                self.load(peer, work, port, max(requests // 5, 1000))
                before, others = tree.cpu(), core_seconds(self.server_core)
                count, seconds = self.load(peer, work, port, requests)
            cpu = tree.cpu() - before
            disturbed = max(0.0, core_seconds(self.server_core) - others - cpu) / seconds
            tree.stop()
        return Round(count, seconds, cpu, len(work.expected), disturbed)

    def echoes(self, peer: Peer, port: int, count: int) -> tuple[int, float]:
        command = [sys.executable, "-m", "benchmarks.http2", "--echo", f"{peer.name},{port},{count}"]
        done = subprocess.run(
            command,
            cwd=Path(__file__).resolve().parent.parent,
            capture_output=True,
            text=True,
            timeout=120,
            preexec_fn=lambda: os.sched_setaffinity(0, {self.load_core}),
        )
        if done.returncode:
            raise Refused(done.stderr.strip()[-300:])
        return count, float(done.stdout)

    def quiet_round(self, peer: Peer, work: Work) -> Round:
        """The first undisturbed round, or the least disturbed of a few."""
        best = self.round(peer, work)
        for _ in range(self.attempts - 1):
            if best.others < DISTURBED:
                break
            best = min(best, self.round(peer, work), key=lambda taken: taken.others)
        return best


def wait(tree: Tree, port: int) -> None:
    """Until somebody listens. Not every peer answers HTTP/1.1 on this port."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and tree.process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=2).close()
        except OSError:
            time.sleep(0.02)
        else:
            time.sleep(0.3)
            return
    raise StartFailed("does not listen", tree.process.poll(), tree.log_tail())


# -- WebSockets ----------------------------------------------------------------------------------------------------


def h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def text(value: bytes) -> bytes:
    return bytes((len(value),)) + value


def open_tunnel(sock: socket.socket, authority: bytes) -> None:
    """A WebSocket on stream 1 (RFC 8441), with windows that never shut. Raises ValueError."""
    settings = b"\x00\x04\x7f\xff\xff\xff"
    fields = b"".join(
        b"\x00" + text(name) + text(value)
        for name, value in [
            (b":method", b"CONNECT"),
            (b":protocol", b"websocket"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", authority),
            (b"sec-websocket-version", b"13"),
        ]
    )
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0, settings)
    hello += h2_frame(8, 0, 0, (2**31 - 1 - 65535).to_bytes(4, "big"))
    sock.sendall(hello + h2_frame(4, 1, 0, b"") + h2_frame(1, 4, 1, fields))
    got = b""
    while b"\x01\x04\x00\x00\x00\x01" not in got:  # the head of its HEADERS
        part = sock.recv(65536)
        if not part:
            raise ValueError("no tunnel")
        got += part


def open_upgrade(sock: socket.socket, authority: bytes) -> None:
    """A WebSocket over HTTP/1.1. Raises ValueError."""
    lines = [b"GET / HTTP/1.1", b"Host: " + authority, b"Upgrade: websocket", b"Connection: Upgrade"]
    lines += [b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13", b"", b""]
    sock.sendall(b"\r\n".join(lines))
    got = b""
    while b"\r\n\r\n" not in got:
        part = sock.recv(65536)
        if not part:
            raise ValueError("no upgrade")
        got += part


def echo_client(name: str, port: int, count: int) -> float:
    """`count` echoes over SOCKETS connections, one in flight on each; the seconds."""
    message = message_frame(MESSAGE, 0x82)
    over_http2 = name != "ours1"
    sent = h2_frame(0, 0, 1, message) if over_http2 else message
    size = len(MESSAGE) + 4 + 9 * over_http2  # 2 bytes of head, and 2 of a length above 125
    poll, sockets, held = select.epoll(), {}, {}
    for _ in range(SOCKETS):
        sock = socket.create_connection((HOST, port), timeout=20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        (open_tunnel if over_http2 else open_upgrade)(sock, f"{HOST}:{port}".encode())
        sockets[sock.fileno()], held[sock.fileno()] = sock, b""
        poll.register(sock.fileno(), select.EPOLLIN)
    begin = time.monotonic()
    for sock in sockets.values():
        sock.sendall(sent)
    begun = done = 0
    begun = len(sockets)
    while done < count:
        for number, _ in poll.poll(20):
            got = sockets[number].recv(65536)
            if not got:
                raise ValueError("closed")
            held[number] += got
            if over_http2:
                held[number] = without_control(held[number])
            if len(held[number]) < size:
                continue
            if held[number][-len(MESSAGE) :] != MESSAGE:
                raise ValueError("another echo than what was sent")
            held[number] = b""
            done += 1
            if begun < count:
                begun += 1
                sockets[number].sendall(sent)
    return time.monotonic() - begin


def without_control(data: bytes) -> bytes:
    """Without the frames in front that are no DATA."""
    while len(data) >= 9 and data[3] and len(data) >= 9 + int.from_bytes(data[:3], "big"):
        data = data[9 + int.from_bytes(data[:3], "big") :]
    return data


# -- the program ---------------------------------------------------------------------------------------------------


def run_work(bench: Bench, work: Work, servers: list[Peer], rounds: int) -> dict[str, list[Round]]:
    """Interleaved rounds; a server that cannot do it is named on stderr and left out."""
    taken: dict[str, list[Round]] = {peer.name: [] for peer in servers}
    for number in range(rounds):
        for peer in servers:
            if peer.name not in taken:
                continue
            try:
                taken[peer.name].append(bench.quiet_round(peer, work))
            except (Refused, StartFailed, OSError, subprocess.TimeoutExpired) as error:
                print(f"  {work.name}: {peer.name} left out: {error}", file=sys.stderr)
                del taken[peer.name]
                continue
            cost = taken[peer.name][-1].cost
            print(f"  {work.name}: round {number + 1}/{rounds} {peer.name} {cost * 1e6:.1f} us", file=sys.stderr)
    return taken


def results(table: dict[str, dict[str, list[Round]]]) -> list[Row]:
    rows = []
    for name, taken in table.items():
        own = taken.get("ours")
        for peer, other in taken.items():
            if own and peer != "ours":
                pairs = list(zip(own, other, strict=True))
                rate, cost = [a.rate / b.rate for a, b in pairs], [b.cost / a.cost for a, b in pairs]
                rows.append(Row(WORKS[name].title, peer, rate, cost, "1 : 1"))
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http2", description=__doc__)
    parser.add_argument("--work", default="all", help=f"comma-separated, or all: {', '.join(WORKS)}")
    parser.add_argument("--servers", default=SERVERS, help=f"comma-separated, of {SERVERS}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--share", type=float, default=1.0, help="of the requests that a work has")
    parser.add_argument("--ours", type=Path, default=Path(sys.executable), help="interpreter that has our package")
    parser.add_argument("--peers-env", type=Path, help="an existing virtual environment with the peers")
    parser.add_argument("--cores", default="0,1", help="the server's core and the load generator's")
    parser.add_argument("--attempts", type=int, default=3, help="at a round, while others use the server's core")
    parser.add_argument("--json", type=Path, help="write every round here")
    parser.add_argument("--echo", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if arguments.echo:
        name, port, count = arguments.echo.split(",")
        print(echo_client(name, int(port), int(count)))
        return
    for tool in ("h2load", "curl", "openssl"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed")
    works = list(WORKS) if arguments.work == "all" else arguments.work.split(",")
    if unknown := set(works) - set(WORKS):
        raise SystemExit(f"no work {', '.join(unknown)}; there are {', '.join(WORKS)}")
    server_core, load_core = map(int, arguments.cores.split(","))
    with tempfile.TemporaryDirectory(prefix="http2-") as name:
        bench = Bench(Path(name), (server_core, load_core), arguments.attempts, arguments.share)
        names = arguments.servers.split(",")
        found = peers.find([one for one in names if one != "ours1"], ours=arguments.ours, peers_env=arguments.peers_env)
        servers = peers.present(found, bench.folder)
        ours = next(peer for peer in servers if peer.name == "ours")
        if "ours1" in names:
            servers.append(replace(ours, name="ours1"))
        versions = {peer.name: peer.version(bench.folder) or "" for peer in servers}
        table = {}
        for name in works:
            work = WORKS[name]
            who = [peer for peer in servers if not work.websocket or peer.name in ("ours", "ours1")]
            table[name] = run_work(bench, work, who, arguments.rounds)
    print(markdown("ours", results(table), versions))
    print(f"\n{disturbances(table)}")
    if arguments.json:
        plain = {w: {s: [asdict(r) for r in rounds] for s, rounds in taken.items()} for w, taken in table.items()}
        arguments.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
