"""RFC 7239 `Forwarded`, and host, port and prefix, as nginx and haproxy write them."""

from __future__ import annotations

import re
import subprocess

import pytest

from ports import free_port
from real_proxies import StartHaproxy, StartNginx, StartOurs, ask

pytestmark = pytest.mark.system

OUTSIDE = "127.0.0.2"
NGINX = """
server {{
    listen 127.0.0.1:{here};
    location / {{
        proxy_pass http://127.0.0.1:{up};
        proxy_set_header Forwarded '{before}for="$remote_addr:$remote_port";proto=https;host="$http_host"';
    }}
    location /shop/ {{
        proxy_pass http://127.0.0.1:{up}/;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Forwarded-Port 8443;
        proxy_set_header X-Forwarded-Prefix /shop;
    }}
}}
"""
HAPROXY = """
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend web
    mode http
    bind 127.0.0.1:{here}
    {forwarded}
    default_backend app
backend app
    mode http
    server one 127.0.0.1:{up}
"""
SPOOFED = {"Forwarded": 'for=198.51.100.66;proto=https;host=evil;x="', "X-Forwarded-For": "198.51.100.67"}


def test_nginx_writes_forwarded(ours: StartOurs, nginx: StartNginx) -> None:
    server, here = ours("--forwarded-headers", "forwarded"), free_port()
    proxy = nginx(NGINX.format(here=here, up=server.port, before=""), here)
    told = ask(proxy.port, headers={**SPOOFED, "Host": "shop.example"})
    assert (told["client"][0], told["scheme"], told["host"]) == (OUTSIDE, "https", "shop.example")
    assert told["client"][1] != 0


def test_nginx_appends_to_what_the_client_wrote(ours: StartOurs, nginx: StartNginx) -> None:
    server, here = ours("--forwarded-headers", "forwarded"), free_port()
    proxy = nginx(NGINX.format(here=here, up=server.port, before="$http_forwarded, "), here)
    told = ask(proxy.port, headers={**SPOOFED, "Host": "shop.example"})
    assert told["fields"]["forwarded"].startswith(SPOOFED["Forwarded"])
    assert (told["client"][0], told["scheme"], told["host"]) == (OUTSIDE, "https", "shop.example")


def test_nginx_passes_on_what_it_does_not_write(ours: StartOurs, nginx: StartNginx) -> None:
    """This is why only one family of fields is believed, and by default not this one."""
    server, here = ours(), free_port()
    proxy = nginx(NGINX.format(here=here, up=server.port, before=""), here)
    told = ask(proxy.port, path="/shop/x", headers=SPOOFED)
    assert told["fields"]["forwarded"] == SPOOFED["Forwarded"]
    assert (told["client"][0], told["root_path"], told["path"]) == (OUTSIDE, "", "/x")


def test_host_port_and_prefix(ours: StartOurs, nginx: StartNginx) -> None:
    names = ",".join(f"x-forwarded-{name}" for name in ("for", "proto", "host", "port", "prefix"))
    server, here = ours("--forwarded-headers", names), free_port()
    proxy = nginx(NGINX.format(here=here, up=server.port, before=""), here)
    told = ask(proxy.port, path="/shop/x", headers={**SPOOFED, "Host": "shop.example", "X-Forwarded-Host": "evil"})
    assert (told["client"][0], told["scheme"], told["host"]) == (OUTSIDE, "https", "shop.example:8443")
    assert (told["root_path"], told["path"]) == ("/shop", "/shop/x")


def test_haproxy_writes_forwarded(ours: StartOurs, haproxy: StartHaproxy) -> None:
    """`option forwarded` exists from 2.8 on; an older one writes the field by a rule."""
    server, here = ours("--forwarded-headers", "forwarded"), free_port()
    rule = 'http-request add-header Forwarded for=\\"%[src]:%[src_port]\\";proto=http;host=\\"%[req.hdr(host)]\\"'
    option = "option forwarded proto host for" if version() >= (2, 8) else rule
    proxy = haproxy(HAPROXY.format(here=here, up=server.port, forwarded=option), here)
    told = ask(proxy.port, headers={**SPOOFED, "Host": "shop.example"})
    assert (told["client"][0], told["scheme"], told["host"]) == (OUTSIDE, "http", "shop.example")


def version() -> tuple[int, int]:
    said = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    assert found, said
    return int(found[1]), int(found[2])
