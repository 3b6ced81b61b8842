"""Requests per second and server CPU time per request, as ratios between two servers.

Owns: the workloads, the check that every server sends the very same answer, and the rounds. One
server runs at a time, alone on one core, started afresh for each of its rounds; the load generator has the
other core; rounds interleave, and what is shown is the median of the ratios of each round, with its
interval (see `report`). Absolute figures go into `--json` only.
A round in which other processes used a tenth of either core is repeated, a few times, and counted if it stays so.
Must not: show a round in which an answer was not a 200, a socket failed or the number of bytes was another
than the verified one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks import apps, peers
from benchmarks.peers import Peer, Wish
from benchmarks.processes import HOST, StartFailed, Tree, core_seconds, free_port
from benchmarks.report import Row, markdown, plot

CONNECTIONS = 64
PIPELINE = 16
DISTURBED = 0.1

BROWSER = {
    "Connection": "keep-alive",
    "Cache-Control": "max-age=0",
    "sec-ch-ua": '"Chromium";v="130", "Not?A_Brand";v="99"',
    "sec-ch-ua-mobile": "?0",
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Mode": "navigate",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.7",
    "Cookie": "sid=8f3a2c7e5d1b4f60; theme=dark; consent=yes",
}


@dataclass(frozen=True)
class Work:
    """One workload: what is asked, and the body that must come back. With `variants` no request is like the one before:
    so many paths and cookies take turns. `rounds`: at least so many, because the differences are small.
    """

    name: str
    app: str
    expected: bytes
    title: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    depth: int = 1
    variants: int = 1
    access_log: bool = False
    pure: bool = False
    needs: str = ""
    rounds: int = 0

    def request(self) -> bytes:
        lines = [f"{'POST' if self.body else 'GET'} / HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def script(self) -> str:
        """For wrk. A `response` function would cost the load generator a copy of each answer, so there is
        none.
        """
        lines = [f"wrk.headers[{wrk_string(k)}] = {wrk_string(v)}" for k, v in self.headers.items()]
        lines.append('wrk.headers["Host"] = "localhost"')
        if self.body:
            lines += [
                'wrk.method = "POST"',
                f"wrk.body = string.rep({self.body[:1].decode()!r}, {len(self.body)})",
            ]
        if self.variants > 1:
            cookie = wrk_string(self.headers["Cookie"])
            lines += [
                "local made, at = {}, 0",
                "function init(args)",
                f"  for i = 1, {self.variants} do",
                f'    wrk.headers["Cookie"] = {cookie} .. "; visit=" .. i',
                '    made[i] = wrk.format(nil, "/items/" .. i)',
                "  end",
                "end",
                "function request()",
                "  at = at % #made + 1",
                "  return made[at]",
                "end",
            ]
        if self.depth > 1:
            lines += [
                "local batch",
                "function init(args)",
                f"  batch = string.rep(wrk.format(), {self.depth})",
                "end",
                "function request() return batch end",
            ]
        lines += [
            "function done(summary, latency, requests)",
            "  local e = summary.errors",
            '  io.write(string.format("RESULT %d %d %d %d\\n",',
            "    summary.requests, summary.duration, summary.bytes,",
            "    e.connect + e.read + e.write + e.status + e.timeout))",
            "end",
        ]
        return "\n".join(lines) + "\n"


def wrk_string(text: str) -> str:
    return json.dumps(text)


HELLO, POSTED = apps.HELLO, b"x" * 16384
JSON = b'{"hello":"world","items":[1,2,3]}'
WORKS = {
    work.name: work
    for work in [
        Work("get", "apps:hello", HELLO, "GET, 13 bytes"),
        Work("headers", "apps:hello", HELLO, "GET with a browser's 13 headers", headers=BROWSER),
        Work(
            "varied", "apps:hello", HELLO, "the same, each with another path and cookie", headers=BROWSER, variants=997
        ),
        Work("large", "apps:large", apps.LARGE, "GET, 64 KiB body"),
        Work("post", "apps:echo", POSTED, "POST and echo 16 KiB", body=POSTED),
        Work("chunks", "apps:chunks", apps.CHUNK * apps.CHUNKS, "ten streamed chunks of 1 KiB"),
        Work("pipeline", "apps:hello", HELLO, "pipelined GETs, 16 deep", depth=PIPELINE),
        Work("close", "apps:hello", HELLO, "a new connection per request", headers={"Connection": "close"}),
        Work("fastapi", "fastapi_app:app", JSON, "FastAPI, a JSON endpoint", needs="fastapi"),
        Work("access", "apps:hello", HELLO, "GET, access log on, to a file", access_log=True),
        Work("pure", "apps:hello", HELLO, "GET, h11 and asyncio", pure=True),
    ]
}


class Refused(Exception):
    """This server does not do this work as asked, so there is nothing to compare."""


@dataclass(frozen=True)
class Answer:
    """One response as it went over the wire."""

    head: bytes
    body: bytes
    size: int

    def fields(self) -> dict[str, str]:
        lines = [line.split(":", 1) for line in self.head.decode("latin-1").split("\r\n")[1:]]
        return {name.strip().lower(): value.strip() for name, value in lines}


def read_answer(sock: socket.socket, buffer: bytes) -> tuple[Answer, bytes]:
    """One response, its chunks joined, and what came after it."""

    def more(data: bytes) -> bytes:
        piece = sock.recv(1 << 20)
        if not piece:
            raise Refused(f"the connection ended after {data[:80]!r}")
        return data + piece

    while b"\r\n\r\n" not in buffer:
        buffer = more(buffer)
    head, _, rest = buffer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length:
        wanted = int(length[1])
        while len(rest) < wanted:
            rest = more(rest)
        return Answer(head, rest[:wanted], len(head) + 4 + wanted), rest[wanted:]
    if not re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        raise Refused("neither a length nor chunks")
    body, at = b"", 0
    while True:
        while b"\r\n" not in rest[at:]:
            rest = more(rest)
        line_end = rest.index(b"\r\n", at)
        size = int(rest[at:line_end], 16)
        while len(rest) < line_end + 2 + size + 2:
            rest = more(rest)
        body += rest[line_end + 2 : line_end + 2 + size]
        at = line_end + 2 + size + 2
        if size == 0:
            return Answer(head, body, len(head) + 4 + at), rest[at:]


def verify(work: Work, port: int) -> Answer:
    """Asks as the load generator will, twice on one connection, and wants the exact status, body and content
    type.
    """
    with socket.create_connection((HOST, port), timeout=5) as sock:
        answers = []
        rest = b""
        for _ in range(1 if work.headers.get("Connection") == "close" else 2):
            sock.sendall(work.request() * work.depth)
            for _ in range(work.depth):
                answer, rest = read_answer(sock, rest)
                answers.append(answer)
        if rest:
            raise Refused(f"bytes after the response: {rest[:80]!r}")
    for answer in answers:
        if not answer.head.startswith(b"HTTP/1.1 200"):
            raise Refused(f"answered {answer.head[:60]!r}")
        if answer.body != work.expected:
            raise Refused(f"a wrong body of {len(answer.body)} bytes")
        if "content-type" not in answer.fields() or "date" not in answer.fields():
            raise Refused("no content-type or no date")
    return answers[-1]


@dataclass
class Round:
    requests: int
    seconds: float
    cpu: float
    answer: int
    others: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def cost(self) -> float:
        return self.cpu / self.requests


class Bench:
    def __init__(self, folder: Path, seconds: int, cores: tuple[int, int], attempts: int, warm_up: int = 1) -> None:
        self.folder = folder
        self.seconds = seconds
        self.warm_up = warm_up
        self.attempts = attempts
        self.server_core, self.load_core = cores
        for name in ("apps.py", "fastapi_app.py"):
            shutil.copy(Path(apps.__file__).with_name(name), folder / name)

    def wrk(self, work: Work, port: int, seconds: int) -> tuple[int, float, int]:
        script = self.folder / f"{work.name}.lua"
        script.write_text(work.script())
        command = [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "-s",
            str(script),
            f"http://{HOST}:{port}/",
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + 20,
            preexec_fn=lambda: os.sched_setaffinity(0, {self.load_core}),
        )
        found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+)", done.stdout)
        if found is None:
            raise Refused(f"wrk: {(done.stderr or done.stdout).strip()[-200:]}")
        requests, microseconds, received, errors = map(int, found.groups())
        if errors or not requests:
            raise Refused(f"{errors} errors in {requests} requests")
        return requests, microseconds / 1e6, received

    def load_cpu(self) -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # wrk's: servers are reaped between rounds
        return usage.ru_utime + usage.ru_stime

    def quiet_round(self, peer: Peer, work: Work) -> tuple[Round, Answer]:
        """The first undisturbed round, or the least disturbed of a few."""
        best = self.round(peer, work)
        for _ in range(self.attempts - 1):
            if best[0].others < DISTURBED:
                break
            best = min(best, self.round(peer, work), key=lambda taken: taken[0].others)
        return best

    def round(self, peer: Peer, work: Work) -> tuple[Round, Answer]:
        """Start, verify, warm up, measure, stop."""
        port = free_port()
        command = peer.command(Wish(work.app, port, access_log=work.access_log, pure=work.pure))
        if command is None:
            raise Refused("no feature")
        if work.needs and peer.version(self.folder, work.needs) is None:
            raise Refused(f"{work.needs} is not installed")
        log = self.folder / f"{peer.name}.log"
        with Tree(command, cwd=self.folder, log=log, env=peer.env(self.folder), core=self.server_core) as tree:
            tree.wait_until_answering(port)
            answer = verify(work, port)
            self.wrk(work, port, self.warm_up)
            cores = core_seconds(self.server_core), core_seconds(self.load_core)
            before, load_before = tree.cpu(), self.load_cpu()
            requests, seconds, received = self.wrk(work, port, self.seconds)
            cpu, load_cpu = tree.cpu() - before, self.load_cpu() - load_before
            server_others = core_seconds(self.server_core) - cores[0] - cpu
            load_others = core_seconds(self.load_core) - cores[1] - load_cpu
            # wrk also counts the bytes of answers cut off by the end: at most `depth` a connection.
            spare = answer.size * (CONNECTIONS * work.depth + 1)
            if abs(received - requests * answer.size) > spare:
                raise Refused(f"{received} bytes for {requests} answers of {answer.size}")
            if work.access_log and log.read_bytes().count(b"\n") < requests:
                raise Refused("fewer log lines than requests")
            tree.stop()
        return Round(requests, seconds, cpu, answer.size, max(server_others, load_others) / seconds), answer


def run_work(bench: Bench, work: Work, servers: list[Peer], rounds: int) -> dict[str, list[Round]]:
    """Interleaved rounds of every server that can do it; one that cannot is named on stderr and left out."""
    rounds = max(rounds, work.rounds)
    taken: dict[str, list[Round]] = {peer.name: [] for peer in servers}
    answers: dict[str, Answer] = {}
    out: set[str] = set()
    for number in range(rounds):
        for peer in servers:
            if peer.name in out:
                continue
            try:
                result, answer = bench.quiet_round(peer, work)
            except (Refused, StartFailed, OSError, subprocess.TimeoutExpired) as error:
                tail = f"\n{error.log}" if isinstance(error, StartFailed) else ""
                print(f"  {work.name}: {peer.name} left out: {error}{tail}", file=sys.stderr)
                out.add(peer.name)
                continue
            answers.setdefault(peer.name, answer)
            taken[peer.name].append(result)
            print(f"  {work.name}: round {number + 1}/{rounds} {peer.name} done", file=sys.stderr)
    for name in out:
        taken.pop(name)
        answers.pop(name, None)
    if work.needs:
        versions = {peer.version(bench.folder, work.needs) for peer in servers if peer.name in taken}
        if len(versions) > 1:
            print(f"  {work.name}: NOT COMPARABLE, different versions: {versions}", file=sys.stderr)
    for name, answer in answers.items():
        print(
            f"  {work.name}: {name} answers {answer.size} bytes: {', '.join(answer.fields())}",
            file=sys.stderr,
        )
    return taken


def results(subject: str, table: dict[str, dict[str, list[Round]]]) -> list[Row]:
    """The ratios of each round, by work and peer. Works whose subject was left out are not among them."""
    rows = []
    for name, taken in table.items():
        own = taken.get(subject)
        for peer, other in taken.items():
            if own and peer != subject:
                pairs = list(zip(own, other, strict=True))
                rate = [a.rate / b.rate for a, b in pairs]
                cost = [b.cost / a.cost for a, b in pairs]
                rows.append(Row(WORKS[name].title, peer, rate, cost, f"{own[0].answer} : {other[0].answer}"))
    return rows


def disturbances(table: dict[str, dict[str, list[Round]]]) -> str:
    every = [taken for servers in table.values() for rounds in servers.values() for taken in rounds]
    disturbed = sum(taken.others >= DISTURBED for taken in every)
    if not disturbed:
        return f"None of {len(every)} rounds was disturbed."
    return f"{disturbed} of {len(every)} rounds were disturbed: other processes used {DISTURBED:.0%} of a core."


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--work", default="get", help=f"comma-separated, or all: {', '.join(WORKS)}")
    parser.add_argument("--servers", default="ours,uvicorn", help=f"comma-separated: {', '.join(peers.BUILDERS)}")
    parser.add_argument("--subject", default="ours", help="the server that is compared with each other one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4, help="of measuring in each round")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds before it; a JIT compiler wants ten")
    parser.add_argument("--pure", action="store_true", help="every work with h11 and asyncio, as for PyPy")
    parser.add_argument("--ours", type=Path, default=Path(sys.executable), help="interpreter that has our package")
    parser.add_argument("--peers-env", type=Path, help="an existing virtual environment with the peers")
    parser.add_argument("--cores", default="0,1", help="the server's core and the load generator's")
    parser.add_argument("--attempts", type=int, default=3, help="at a round, while others use the cores")
    parser.add_argument("--json", type=Path, help="write every round here")
    parser.add_argument("--plot", type=Path, help="write a plot of the CPU time ratios here, as SVG")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed")
    works = list(WORKS) if arguments.work == "all" else arguments.work.split(",")
    if unknown := set(works) - set(WORKS):
        raise SystemExit(f"no work {', '.join(unknown)}; there are {', '.join(WORKS)}")
    server_core, load_core = map(int, arguments.cores.split(","))
    if missing := {server_core, load_core} - os.sched_getaffinity(0) or server_core == load_core:
        raise SystemExit(f"two different cores are needed: {missing}")
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        cores = server_core, load_core
        bench = Bench(Path(name), arguments.seconds, cores, arguments.attempts, arguments.warm_up)
        names = arguments.servers.split(",")
        servers = peers.present(peers.find(names, ours=arguments.ours, peers_env=arguments.peers_env), bench.folder)
        versions = {peer.name: peer.version(bench.folder) or "" for peer in servers}
        if arguments.subject not in {peer.name for peer in servers}:
            raise SystemExit(f"{arguments.subject} is not there")
        asked = [replace(WORKS[name], pure=arguments.pure or WORKS[name].pure) for name in works]
        table = {work.name: run_work(bench, work, servers, arguments.rounds) for work in asked}
    rows = results(arguments.subject, table)
    print(markdown(arguments.subject, rows, versions))
    print(f"\n{disturbances(table)}")
    if arguments.plot:
        arguments.plot.write_text(plot(arguments.subject, rows, versions))
    if arguments.json:
        plain = {w: {s: [asdict(r) for r in rounds] for s, rounds in taken.items()} for w, taken in table.items()}
        arguments.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
