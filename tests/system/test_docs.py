"""What docs/ says about other programs: nginx works with its configuration, other servers have these options."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Authority
from ports import connects, free_port
from programs import Start, eventually

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MOVING = (DOCS / "moving.md").read_text(encoding="utf-8")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
RELEASES = dict(re.findall(r"\b(gunicorn|hypercorn|daphne|granian) ([\d.]+\d)", MOVING.partition("##")[0]))

APP = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    said = f"{scope['scheme']} {scope['client'][0]} {dict(scope['headers'])[b'host'].decode()}\\n"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": said.encode(), "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
"""

AROUND = """
user root;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ }}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
{site}
}}
"""


@pytest.fixture
def configuration(tmp_path: Path, authority: Authority) -> tuple[Path, int]:
    """The block of docs/deployment.md as a whole configuration with its files and its port here."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    page = (DOCS / "deployment.md").read_text(encoding="utf-8")
    site = re.findall(r"^```nginx\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0]
    authority.issue(tmp_path / "chain.pem", tmp_path / "key.pem", "shop.example")
    port = free_port()
    for theirs, here in [
        ("/etc/ssl/shop", str(tmp_path)),
        ("/run/shop", str(tmp_path)),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
    ]:
        assert theirs in site
        site = site.replace(theirs, here)
    path = tmp_path / "nginx.conf"
    path.write_text(AROUND.format(folder=tmp_path, site=site))
    return path, port


@pytest.fixture
def nginx(configuration: tuple[Path, int]) -> Iterator[int]:
    """The port of a running nginx."""
    path, port = configuration
    tried = subprocess.run(["nginx", "-t", "-c", str(path)], capture_output=True, text=True, timeout=60)
    assert tried.returncode == 0 and "[warn]" not in tried.stderr, tried.stderr
    process = subprocess.Popen(["nginx", "-c", str(path)], stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: connects(("127.0.0.1", port)), "nginx listens")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def test_nginx(nginx: int, tmp_path: Path, authority: Authority, start_program: Start) -> None:
    """Over TLS, through the Unix socket; and an unfinished response reaches the client at once."""
    path = tmp_path / "shop.sock"
    (tmp_path / "shop.py").write_text(APP)
    program = start_program(f"import uvicorn\nuvicorn.run('shop:app', uds={str(path)!r}, forwarded_allow_ips='unix:')")
    program.wait_for("running on unix:")
    with (
        socket.create_connection(("127.0.0.1", nginx), timeout=60) as plain,
        authority.client().wrap_socket(plain, server_hostname="shop.example") as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        said = b""
        while b"\n" not in said.partition(b"\r\n\r\n")[2].partition(b"\r\n")[2]:
            more = client.recv(65536)
            assert more, said
            said += more
    assert b"https 127.0.0.1 shop.example\n" in said


@pytest.fixture(scope="session")
def commands(cache: Path) -> Path:
    """The folder with the commands of the releases that the page names."""
    wanted = [f"{name}=={version}" for name, version in RELEASES.items()]
    place = cache / "-".join(["servers", *wanted])
    if not (place / "complete").exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(place)],
            [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted],
        ):
            made = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if made.returncode:
                pytest.skip(f"the other servers cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
        (place / "complete").touch()
    return place / "bin"


@pytest.mark.parametrize("server", RELEASES)
def test_moving_names_every_option(server: str, commands: Path) -> None:
    said = subprocess.run([commands / server, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    theirs = {option for option in OPTION.findall(said) if not option.endswith("-")} - {"--help", "--version"}
    section = MOVING.partition(f"## From {server}\n")[2].partition("\n## ")[0]
    cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    assert set(OPTION.findall(" ".join(cells))) == theirs
