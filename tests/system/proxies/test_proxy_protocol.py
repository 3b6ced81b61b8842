"""The PROXY protocol as haproxy and nginx speak it: both versions, before TLS, health checks, reloads."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
from collections import Counter
from pathlib import Path

import pytest
from websockets.sync.client import connect

from certificates import Authority, Pair
from ports import free_port
from real_proxies import PassOn, StartNginx, StartOurs, ask, client_of, in_threads

pytestmark = pytest.mark.system

OUTSIDE = "127.0.0.2"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
def test_haproxy_passes_on(ours: StartOurs, passed_on: PassOn, how: str) -> None:
    server = ours("--proxy-protocol")
    proxy = passed_on(server.port, how)
    one = client_of(proxy.port)
    one.connect()
    own = list(one.sock.getsockname())
    told = ask(proxy.port, client=one, headers={"X-Forwarded-For": "198.51.100.66", "X-Forwarded-Proto": "https"})
    assert (told["client"], told["server"]) == (own, ["127.0.0.1", proxy.port])
    assert told["scheme"] == "http"  # what the client wrote is not believed for being passed on by a proxy
    server.says(rf"{OUTSIDE}:{own[1]} - \"GET / HTTP/1\.1\" 200")


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
def test_tls_goes_through_to_us(ours: StartOurs, passed_on: PassOn, authority: Authority, pair: Pair, how: str) -> None:
    server = ours("--proxy-protocol", "--ssl-certfile", pair["ssl_certfile"], "--ssl-keyfile", pair["ssl_keyfile"])
    told = ask(0, client=over_tls(passed_on(server.port, how).port, authority.client()))
    assert (told["client"][0], told["scheme"]) == (OUTSIDE, "https")


def test_tls_that_haproxy_ends(ours: StartOurs, passed_on: PassOn, authority: Authority, tmp_path: Path) -> None:
    authority.issue(tmp_path / "proxy.pem")
    server = ours("--proxy-protocol")
    proxy = passed_on(server.port, "send-proxy-v2-ssl", bind=f"ssl crt {tmp_path}/proxy.pem")
    told = ask(0, client=over_tls(proxy.port, authority.client()))
    assert (told["client"][0], told["scheme"]) == (OUTSIDE, "https")


def over_tls(port: int, context: ssl.SSLContext) -> http.client.HTTPConnection:
    class Here(http.client.HTTPSConnection):
        """The certificate is for localhost, the address is loopback's first."""

        def connect(self) -> None:
            http.client.HTTPConnection.connect(self)
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    return Here("127.0.0.1", port, timeout=30, source_address=(OUTSIDE, 0))


def test_nginx_passes_on(ours: StartOurs, nginx: StartNginx) -> None:
    if not STREAM_MODULE.exists():
        pytest.skip("nginx has no stream module here (package libnginx-mod-stream)")
    server, here = ours("--proxy-protocol"), free_port()
    stream = f"server {{ listen 127.0.0.1:{here}; proxy_pass 127.0.0.1:{server.port}; proxy_protocol on; }}"
    proxy = nginx("", here, f"load_module {STREAM_MODULE};\nstream {{ {stream} }}")
    assert ask(proxy.port)["client"][0] == OUTSIDE


def test_a_health_check_is_the_proxys_own(ours: StartOurs, passed_on: PassOn) -> None:
    server = ours("--proxy-protocol")
    passed_on(server.port, "send-proxy-v2 check inter 200ms\n    option httpchk GET /health")
    server.says(r"127\.0\.0\.1:\d+ - \"GET /health HTTP/1\.0\" 200")


def test_a_websocket(ours: StartOurs, passed_on: PassOn) -> None:
    server = ours("--proxy-protocol")
    proxy = passed_on(server.port, "send-proxy-v2")
    with connect(f"ws://127.0.0.1:{proxy.port}/", source_address=(OUTSIDE, 0)) as one:
        assert json.loads(one.recv(30))["client"][0] == OUTSIDE
        one.send("x")
        assert one.recv(30) == "x"


def test_an_upload_and_a_client_that_leaves(ours: StartOurs, passed_on: PassOn) -> None:
    server = ours("--proxy-protocol")
    proxy = passed_on(server.port, "send-proxy-v2")
    with contextlib.closing(client_of(proxy.port)) as one:
        one.request("POST", "/upload", body=b"x" * 1_000_000)
        assert json.load(one.getresponse())["size"] == 1_000_000
        one.request("GET", "/hang")
        server.says("hang began")
    server.says("hang ended")


def test_who_comes_without_the_proxy_is_refused(ours: StartOurs) -> None:
    server = ours("--proxy-protocol")
    for source in (OUTSIDE, "127.0.0.1"):
        with contextlib.closing(client_of(server.port, source)) as one, pytest.raises(OSError):
            one.request("GET", "/")
            one.getresponse()
    server.says(r"PROXY header refused\. 127\.0\.0\.2:\d+ - not from a trusted proxy")
    server.says(r"PROXY header refused\. 127\.0\.0\.1:\d+ - no PROXY header")


def test_a_reload_under_load(ours: StartOurs, passed_on: PassOn) -> None:
    """Each request on a connection of its own: bytes that are passed on cannot be sent again by the proxy."""
    server = ours("--proxy-protocol", "--no-access-log", workers=2)
    proxy = passed_on(server.port, "send-proxy-v2")
    seen: Counter[tuple[int, str] | str] = Counter()  # statuses and clients, and what went wrong

    def load(over: threading.Event) -> None:
        while not over.is_set():
            with contextlib.closing(client_of(proxy.port)) as one:
                try:
                    one.request("GET", "/", headers={"Connection": "close"})
                    response = one.getresponse()
                    seen[response.status, json.load(response)["client"][0]] += 1
                except (OSError, http.client.HTTPException) as exc:
                    seen[repr(exc)] += 1

    with in_threads(load, 4):
        for _ in range(3):
            server.reload()
    assert set(seen) == {(200, OUTSIDE)}, seen
