"""Fixtures that start a proxy in front of our server; they end with the test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installations import installed
from ports import free_port
from real_proxies import (
    HTTP2,
    Behind,
    Ours,
    PassOn,
    Proxy,
    PutInFront,
    StartHaproxy,
    StartNginx,
    StartOurs,
    example,
    exchanged,
    program_of,
)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """nginx(http_block, port, top="", command="") → a Proxy; the block stands inside of `http`, `top` before it."""
    running: list[Proxy] = []

    def start(block: str, port: int, top: str = "", command: str = "") -> Proxy:
        command = command or program_of("nginx")
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


@pytest.fixture(scope="session")
def newer() -> Path:
    """The folder with the proxies that scripts/install-proxies has put there."""
    return Path(installed("install-proxies", sys.executable))


LANGUAGES = {"haproxy": "haproxy", "caddy": "caddyfile", "envoy": "yaml", "nginx": "nginx"}
"""Of the examples in docs/http2.md."""
LISTENS = {
    "haproxy": ("bind :80", "bind 127.0.0.1:{}"),
    "caddy": ("shop.example {", "http://:{} {{\n\tbind 127.0.0.1"),
    "envoy": ("address: 0.0.0.0, port_value: 80 ", "address: 127.0.0.1, port_value: {} "),
    "nginx": ("listen 80;", "listen 127.0.0.1:{};"),
}
"""Where the examples listen, and where they do here."""
COMMANDS = {
    "haproxy": ["-db", "-f"],
    "caddy": ["run", "--adapter", "caddyfile", "--config"],
    "envoy": ["--disable-hot-restart", "--config-path"],
}
"""What comes before the path of a configuration."""


@pytest.fixture(params=list(LANGUAGES))
def behind(request: pytest.FixtureRequest, ours: StartOurs, tmp_path: Path, nginx: StartNginx) -> Iterator[Behind]:
    """behind(*options, workers=1): our server with HTTP/2, and each proxy before it, as docs/http2.md has it."""
    name = request.param
    program = Path(program_of(name)) if name == "haproxy" else request.getfixturevalue("newer") / name
    if not program.exists():
        pytest.skip(f"{name} could not be installed")
    running: list[Proxy] = []

    def begin(*options: str, workers: int = 1) -> tuple[Ours, Proxy]:
        server = ours("--http2", *options, workers=workers)
        here = free_port()
        there, instead = LISTENS[name]
        before = "address: 127.0.0.1, port_value: " if name == "envoy" else "127.0.0.1:"
        text = exchanged(
            example(LANGUAGES[name], HTTP2),
            up=(f"{before}8000", f"{before}{server.port}"),
            here=(there, instead.format(here)),
        )
        if name == "nginx":
            return server, nginx(text, here, command=str(program))
        path = tmp_path / f"{name}.yaml"  # envoy looks at the suffix
        path.write_text("{\n\tadmin off\n\tauto_https off\n}\n" * (name == "caddy") + text)
        running.append(Proxy([str(program), *COMMANDS[name], str(path)], here, tmp_path / f"{name}.log"))
        return server, running[-1]

    yield begin
    for proxy in running:
        proxy.end()
