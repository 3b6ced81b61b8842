"""The drills' clients: closed loops over raw sockets that count every request which did not get its answer.

Owns: the closed loop, the report, and a load program that runs in a process
of its own (`python -m benchmarks.load PLAN`), tells each server process it first hears from on standard
output, and reports when its standard input ends.

What counts: a request that was sent and whose complete response did not come, and a connection that was
refused, is a failed request; nothing is retried silently. A connection whose end had already arrived
*before* the next request was sent is not: every client with a pool looks, and opens another one (`closed`
has those). `Connection: close` on a response is honoured. After a failure a client rests a moment, so
that a port nobody listens on is not counted at the speed of a loop.
Must not: know a server, or leave loopback.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.exchange import KINDS, LIMIT, classify, connect, ended
from benchmarks.works import WORKS, Closed, Round, Work, ask

REST = 0.05


@dataclass(frozen=True)
class Plan:
    """`rotate` is after how many answers a keep-alive client opens a new connection by itself (0: never);
    `probes` are additional clients with a connection per request and a pause between requests; `requests` is after how
    many of them, answered or failed, all stop by themselves (0: never). `works` names what the clients do instead of
    asking for `path`, comma-separated, each the next one (`benchmarks.works`).
    """

    port: int
    clients: int = 24
    keep_alive: bool = True
    path: str = "/"
    rotate: int = 0
    probes: int = 0
    pause: float = 0.0
    probe_pause: float = 0.01
    requests: int = 0
    works: str = ""


@dataclass
class Failure:
    """`pid` is who had answered last on that connection, 0 when nobody had; `begun` and `at` are when its round did."""

    kind: str
    at: float
    pid: int
    detail: str = ""
    begun: float = 0.0
    work: str = ""


@dataclass
class Report:
    """What the clients saw; times are the monotonic clock's, which all processes share.

    `closed` are the moments when a client found that its idle keep-alive connection had been closed without an
    announcement (`Connection: close`): no failure for a client that looks, one for a client that does not.
    """

    ok: int = 0
    rounds: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    connections: int = 0
    closed: list[float] = field(default_factory=list)
    slowest: float = 0.0
    first_heard: dict[int, float] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)

    def describe(self) -> str:
        """`0`, or the number of failures with what they were."""
        if not self.failures:
            return "0"
        kinds = {kind: sum(f.kind == kind for f in self.failures) for kind in KINDS}
        return f"{len(self.failures)} ({', '.join(f'{n} {k}' for k, n in kinds.items() if n)})"


class Client:
    """One closed loop: the next request goes out when the last one is answered or has failed."""

    def __init__(self, swarm: Swarm, name: str, work: Work, pause: float) -> None:
        self.swarm = swarm
        self.name = name
        self.work = work
        self.pause = pause
        self.on: Round | None = None
        self.answered = 0

    def drop(self) -> None:
        if self.on is not None:
            self.on.sock.close()
        self.on = None
        self.answered = 0

    async def one(self) -> int:
        """The next round; who answered."""
        report = self.swarm.report
        if self.on is not None and not self.on.rest and ended(self.on.sock):
            report.closed.append(time.monotonic())
            self.drop()
        if self.on is None:
            self.on = Round(await connect(self.swarm.plan.port))
            report.connections += 1
        await self.work(self.on)
        return self.on.pid

    async def run(self) -> None:
        report, plan = self.swarm.report, self.swarm.plan
        while self.swarm.wants_more():
            begun = time.monotonic()
            try:
                pid = await asyncio.wait_for(self.one(), LIMIT)
            except Closed:
                report.closed.append(time.monotonic())
                self.drop()
                continue
            except Exception as error:
                known = self.on.pid if self.on is not None else 0
                why = f"{type(error).__name__}: {error}"
                report.failures.append(Failure(classify(error), time.monotonic(), known, why, begun, self.name))
                self.drop()
                await asyncio.sleep(REST)
                continue
            now = time.monotonic()
            report.ok += 1
            report.rounds[self.name] = report.rounds.get(self.name, 0) + 1
            report.slowest = max(report.slowest, now - begun)
            self.swarm.heard(pid, now)
            self.answered += 1
            if (self.on is not None and self.on.close) or self.answered == plan.rotate:
                self.drop()
            if self.pause:
                await asyncio.sleep(self.pause)
        self.drop()


class Swarm:
    """All clients of one plan."""

    def __init__(self, plan: Plan, tell: Callable[[dict[str, Any]], None]) -> None:
        self.plan = plan
        self.tell = tell
        self.report = Report()
        self.stopping = False
        self.begun = 0

    def heard(self, pid: int, now: float) -> None:
        answers = self.report.answers
        if pid not in answers:
            answers[pid] = 0
            self.report.first_heard[pid] = now
            self.tell({"pid": pid, "at": now})
        answers[pid] += 1

    def wants_more(self) -> bool:
        """Whether a client may begin another request; the request is counted if so."""
        self.begun += 1
        return not self.stopping and (not self.plan.requests or self.begun <= self.plan.requests)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or every client has ended by itself."""
        plan = self.plan
        works: list[tuple[str, Work]] = [("", partial(ask, path=plan.path, close=not plan.keep_alive))]
        if plan.works:
            works = [(name, WORKS[name]) for name in plan.works.split(",")]
        clients = [Client(self, *works[number % len(works)], plan.pause) for number in range(plan.clients)]
        probe = partial(ask, path=plan.path, close=True)
        clients += [Client(self, "", probe, plan.probe_pause) for _ in range(plan.probes)]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        stopped = asyncio.create_task(stop.wait())
        waiting: list[asyncio.Future[Any]] = [asyncio.gather(*tasks), stopped]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        self.stopping = True
        await asyncio.gather(*tasks)
        stopped.cancel()


class Load:
    """The handle on a load program: the pids heard from while it runs, its report when it is stopped."""

    def __init__(self, plan: Plan) -> None:
        self._heard: dict[int, float] = {}
        self.final: dict[str, Any] | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(plan))],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "pid" in message:
                self._heard[message["pid"]] = message["at"]
            else:
                self.final = message

    @property
    def heard(self) -> dict[int, float]:
        """Each server process and when it was first heard from: a copy, the reader goes on."""
        return dict(self._heard)

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()

    def finish(self, seconds: float) -> Report:
        """Waits until all requests of the plan were made, for that long at most."""
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass
        return self.stop()

    def stop(self) -> Report:
        """Lets every client finish its request (bounded by its own limit) and returns what was counted."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=LIMIT + 5)
        self.reader.join()
        final = self.final
        if final is None:
            raise RuntimeError("the load program died")
        for key in ("first_heard", "answers"):
            final[key] = {int(pid): value for pid, value in final[key].items()}
        final["failures"] = [Failure(**failure) for failure in final["failures"]]
        return Report(**final)


def tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


async def main(plan: Plan) -> None:
    stop = asyncio.Event()
    # Standard input is only ever closed, never written: readable means that it ended.
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    swarm = Swarm(plan, tell)
    await swarm.run(stop)
    tell(asdict(swarm.report))


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
