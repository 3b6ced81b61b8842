"""curl, nghttp and h2load over HTTP/2, with TLS and without."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import Authority, Pair, flags
from real_proxies import StartOurs, program_of

pytestmark = pytest.mark.system

BODY = os.urandom(3_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()

Serve = Callable[..., str]
"""serve(*options): our server with HTTP/2; its address."""


@pytest.fixture(params=["cleartext", "tls"])
def serve(request: pytest.FixtureRequest, ours: StartOurs, pair: Pair) -> Serve:
    def begin(*options: str) -> str:
        if request.param == "tls":
            return f"https://localhost:{ours('--http2', *options, *flags(pair)).port}"
        return f"http://localhost:{ours('--http2', *options).port}"

    return begin


@pytest.fixture
def body(tmp_path: Path) -> str:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    return str(path)


def output(*command: str, body: bytes | None = None) -> str:
    """What a command prints; it has to end well."""
    done = subprocess.run([program_of(command[0]), *command[1:]], input=body, capture_output=True, timeout=100)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr)
    return done.stdout.decode()


# -- curl ------------------------------------------------------------------------------------------------------


@pytest.fixture
def curl(authority: Authority) -> Callable[..., str]:
    """curl(address, *arguments): over TLS by ALPN, in cleartext by prior knowledge."""
    if "HTTP2" not in output("curl", "--version").partition("Features:")[2].split():
        pytest.skip("this curl has no HTTP/2")

    def run(address: str, *arguments: str, body: bytes | None = None) -> str:
        how = ["--cacert", authority.path] if address.startswith("https") else ["--http2-prior-knowledge"]
        return output("curl", "-sS", "-m", "60", *how, *arguments, body=body)

    return run


@pytest.mark.parametrize("arguments", [["--data-binary", "@-"], ["-T", "-"], ["-T", "-", "-H", "Expect: 100-continue"]])
def test_curl_uploads(serve: Serve, curl: Callable[..., str], arguments: list[str]) -> None:
    address = serve()
    told = json.loads(curl(address, *arguments, f"{address}/upload", body=BODY))
    assert (told["http_version"], told["size"], told["sha256"]) == ("2", len(BODY), DIGEST)


def test_curl_asks_often(ours: StartOurs, pair: Pair, curl: Callable[..., str]) -> None:
    """A hundred at a time on one connection. Not in cleartext: curl 7.88 fails there, with other servers too."""
    server = ours("--http2", *flags(pair))
    address = f"https://localhost:{server.port}"
    often = ["--parallel", "--parallel-max", "100", "-w", "%{http_version} %{http_code}\n", "-o", "/dev/null"]
    assert curl(address, *often, f"{address}/[1-400]").split("\n") == ["2 200"] * 400 + [""]
    program = server.program
    program.until(lambda: program.text.count('HTTP/2" 200') == 400, "400 lines")
    assert len(set(re.findall(r"127\.0\.0\.1:(\d+) - ", program.text))) == 1


def test_curl_head(serve: Serve, curl: Callable[..., str]) -> None:
    address = serve()
    assert curl(address, "-I", f"{address}/").startswith("HTTP/2 200")


def test_curl_in_cleartext_without_knowing(ours: StartOurs, curl: Callable[..., str]) -> None:
    """`Upgrade: h2c` is ignored: HTTP/1.1 goes on."""
    server = ours("--http2")
    told = json.loads(output("curl", "-sS", "--http2", f"http://127.0.0.1:{server.port}/"))
    assert told["http_version"] == "1.1" and told["fields"]["upgrade"] == "h2c"


def test_curl_with_http_1(ours: StartOurs, pair: Pair, curl: Callable[..., str]) -> None:
    server = ours("--http2", *flags(pair))
    address = f"https://localhost:{server.port}"
    assert json.loads(curl(address, "--http1.1", f"{address}/"))["http_version"] == "1.1"


# -- nghttp ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--window-bits", "10", "--connection-window-bits", "16"],
        ["--padding", "200"],
        ["--header-table-size", "0"],
        ["--header-table-size", "1000", "--encoder-header-table-size", "1000"],
        ["--trailer", "checksum: 1"],
        ["--expect-continue"],
        ["--continuation", "--header", f"x-long: {'a' * 30_000}"],
        ["--no-dep"],
        ["--no-content-length"],
    ],
    ids=" ".join,
)
def test_nghttp_uploads(serve: Serve, body: str, arguments: list[str]) -> None:
    address = serve()
    told = json.loads(output("nghttp", "--no-verify-peer", "--data", body, *arguments, f"{address}/upload"))
    assert (told["http_version"], told["size"], told["sha256"]) == ("2", len(BODY), DIGEST)
    assert "checksum" not in told["fields"]


def test_nghttp_asks_often(serve: Serve) -> None:
    address = serve()
    said = output("nghttp", "--no-verify-peer", "-n", "-s", "-m", "500", f"{address}/")
    assert len(re.findall(r" 200 +\d+ /$", said, re.MULTILINE)) == 500, said


# -- h2load ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["-n", "4000", "-c", "16", "-m", "8"], ["-n", "2000", "-c", "2", "-m", "1000"]])
def test_h2load(serve: Serve, arguments: list[str]) -> None:
    address = serve("--no-access-log")
    said = output("h2load", *arguments, f"{address}/")
    assert re.search(r"(\d+) done, \1 succeeded, 0 failed, 0 errored, 0 timeout", said), said


def test_h2load_uploads(serve: Serve, body: str) -> None:
    address = serve("--no-access-log")
    said = output("h2load", "-n", "40", "-c", "4", "-m", "10", "-d", body, f"{address}/upload")
    assert "40 done, 40 succeeded, 0 failed" in said, said
