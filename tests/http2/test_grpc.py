"""gRPC: the service of examples/grpc, a real server, and grpcio as its client."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority, Pair, flags
from checkout import ROOT
from programs import SHARED, Begin, Program, Start

EXAMPLE = str(ROOT / "examples" / "grpc")


@pytest.fixture(autouse=True)
def grpcio() -> None:
    """Not imported here: its threads are for the process of the client (`grpc_calls`)."""
    try:
        importlib.metadata.version("grpcio")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("grpcio is not installed")


@pytest.fixture
def serve(start_command: Start) -> Begin[Program]:
    """serve(*options): the example, over HTTP/2."""

    def begin(*options: str) -> Program:
        return start_command("greeter:app", "--http2", "--app-dir", EXAMPLE, "--port", "0", *options)

    return begin


@pytest.fixture
def call(start_python: Start) -> Start:
    """call(scenario, address): a client, which is running then."""

    def begin(*arguments: str, **options: Any) -> Program:
        return start_python(str(Path(SHARED) / "grpc_calls.py"), *arguments, **options)

    return begin


def passes(client: Program) -> None:
    code = client.end()
    assert code == 0, client.text


def go_on(client: Program) -> None:
    assert client.process.stdin is not None
    client.process.stdin.write(b"\n")
    client.process.stdin.flush()


@pytest.mark.parametrize("scenario", ["kinds", "large", "many", "deadlines", "pings"])
@pytest.mark.parametrize("loop", ["auto", "asyncio"])
def test_calls(serve: Begin[Program], call: Start, scenario: str, loop: str) -> None:
    server = serve("--loop", loop)
    passes(call(scenario, f"127.0.0.1:{server.port}"))
    assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in server.text and "Invalid HTTP request" not in server.text


@pytest.mark.parametrize("scenario", ["kinds", "large", "many"])
def test_calls_over_tls(serve: Begin[Program], call: Start, authority: Authority, pair: Pair, scenario: str) -> None:
    server = serve(*flags(pair))
    passes(call(scenario, f"localhost:{server.port}", authority.path))
    assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in server.text


@pytest.mark.parametrize("tls", [False, True], ids=["cleartext", "tls"])
def test_an_idle_channel_loses_no_call(
    serve: Begin[Program], call: Start, authority: Authority, pair: Pair, tls: bool
) -> None:
    server = serve("--timeout-keep-alive", "0", *(flags(pair) if tls else ()))
    passes(call("idle", *([f"localhost:{server.port}", authority.path] if tls else [f"127.0.0.1:{server.port}"])))


def test_reloads_lose_no_call(serve: Begin[Program], call: Start) -> None:
    server = serve("--workers", "2", "--timeout-graceful-shutdown", "50", "--no-access-log")
    server.serves()
    client = call("busy", f"127.0.0.1:{server.port}", stdin=subprocess.PIPE)
    for _ in range(4):
        client.wait_for("calling")
    for generation in (2, 3):
        server.tell(signal.SIGHUP)
        server.expect(f"reloaded: 2 workers, generation {generation}")
    go_on(client)
    passes(client)
    assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in server.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_loses_no_call_that_was_begun(serve: Begin[Program], call: Start, number: int, workers: int) -> None:
    server = serve("--workers", str(workers), "--timeout-graceful-shutdown", "50")
    client = call("begun", f"127.0.0.1:{server.port}", stdin=subprocess.PIPE)
    client.wait_for("begun")
    server.tell(number)
    server.expect("Waiting for|Shutting down|Stopping|Received SIG")
    go_on(client)
    passes(client)
    server.end()
    assert "Traceback" not in server.text


def test_limits(serve: Begin[Program], call: Start) -> None:
    """The server's own answers are statuses of HTTP."""
    server = serve("--limit-request-body", "1000", "--limit-concurrency", "1", "--limit-queue", "0")
    passes(call("refused", f"127.0.0.1:{server.port}"))
