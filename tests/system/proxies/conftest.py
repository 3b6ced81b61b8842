"""Fixtures that start a proxy in front of our server; they end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_port
from real_proxies import (
    PassOn,
    Proxy,
    PutInFront,
    StartHaproxy,
    StartNginx,
    example,
    exchanged,
    program_of,
)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """nginx(http_block, port, top="") → a Proxy; the block stands inside of `http`, `top` before it."""
    running: list[Proxy] = []

    def start(block: str, port: int, top: str = "") -> Proxy:
        command = program_of("nginx")
        temporary = "\n".join(
            f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = tmp_path / "nginx.conf"
        config.write_text(
            f"{top}\ndaemon off; master_process off; pid {tmp_path}/nginx.pid; error_log stderr warn;\n"
            "events { worker_connections 512; }\n"
            f"http {{ access_log off; client_max_body_size 50m; {temporary}\n{block}\n}}\n"
        )
        running.append(Proxy([command, "-c", str(config), "-p", str(tmp_path)], port, tmp_path / "nginx.log"))
        return running[-1]

    yield start
    for proxy in running:
        proxy.end()


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[StartHaproxy]:
    """haproxy(sections, port) → a Proxy."""
    running: list[Proxy] = []

    def start(sections: str, port: int) -> Proxy:
        command = program_of("haproxy")
        config = tmp_path / "haproxy.cfg"
        config.write_text(sections)
        running.append(Proxy([command, "-db", "-f", str(config)], port, tmp_path / "haproxy.log"))
        return running[-1]

    yield start
    for proxy in running:
        proxy.end()


@pytest.fixture(params=["nginx", "haproxy"])
def in_front(request: pytest.FixtureRequest) -> PutInFront:
    """in_front(port): the README's example, once with each proxy, before our server on that port."""
    start = request.getfixturevalue(request.param)

    def begin(port: int) -> Proxy:
        here = free_port()
        if request.param == "nginx":
            text = exchanged(
                example("nginx"),
                up=("127.0.0.1:8000", f"127.0.0.1:{port}"),
                here=("listen 80;", f"listen 127.0.0.1:{here};"),
            )
        else:
            text = exchanged(
                example("haproxy"),
                up=("127.0.0.1:8000", f"127.0.0.1:{port}"),
                other=("127.0.0.1:8001", f"127.0.0.1:{port}"),
                second=("bind :81", f"bind 127.0.0.1:{free_port()}"),
                here=("bind :80", f"bind 127.0.0.1:{here}"),
            )
        proxy: Proxy = start(text, here)
        return proxy

    return begin


@pytest.fixture
def passed_on(haproxy: StartHaproxy) -> PassOn:
    """passed_on(port, "send-proxy-v2"): haproxy passes bytes on, as in the README's example."""

    def begin(port: int, how: str, bind: str = "") -> Proxy:
        here = free_port()
        text = example("haproxy")
        text = exchanged(
            text[: text.index("frontend ")] + text[text.index("listen ") :],
            up=("127.0.0.1:8001", f"127.0.0.1:{port}"),
            how=("send-proxy-v2", how),
            here=("bind :81", f"bind 127.0.0.1:{here} {bind}"),
        )
        return haproxy(text, here)

    return begin
