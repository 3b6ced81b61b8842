"""Trusted proxies: lists of them, X-Forwarded-For and -Proto, and the middleware."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from applications import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.errors import ConfigError
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware, _TrustedHosts
from uvicorn.net.proxies import TrustedProxies, scheme

LIST = "127.0.0.1, 10.0.0.0/8 ,2001:db8::/32,192.0.2.1,::1,/run/nginx.sock"


# -- the list --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "host", "trusted"),
    [
        (LIST, "127.0.0.1", True),
        (LIST, "127.0.0.2", False),
        (LIST, "10.255.0.1", True),
        (LIST, "11.0.0.1", False),
        (LIST, "2001:db8::7", True),
        (LIST, "2001:0DB8:0:0::7", True),
        (LIST, "2001:db9::7", False),
        (LIST, "::1", True),
        (LIST, "0:0:0:0:0:0:0:1", True),
        (LIST, "::ffff:192.0.2.1", True),
        (LIST, "::ffff:10.1.1.1", True),
        (LIST, "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.0/120", "192.0.2.9", True),
        ("::ffff:192.0.2.0/120", "192.0.3.9", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        (LIST, "/run/nginx.sock", True),
        (LIST, "", False),
        (LIST, None, False),
        (LIST, "localhost", False),
        (["10.0.0.0/8", "192.0.2.1"], "10.0.0.1", True),
        (["10.0.0.0/8", "192.0.2.1"], "192.0.2.2", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("", "127.0.0.1", False),
        ("", "", False),
        ([], "127.0.0.1", False),
        ("*", "192.0.2.9", True),
        ("*", "anything", True),
        ("*", None, True),
        (["127.0.0.1", "*"], "192.0.2.9", True),
        ("127.0.0.1,*", "192.0.2.9", True),
        ("testclient", "testclient", True),
        ("fe80::/10", "fe80::1%eth0", True),
    ],
)
def test_who_is_trusted(hosts: str | list[str], host: str | None, trusted: bool) -> None:
    proxies = TrustedProxies(hosts)
    assert (host in proxies) is trusted
    assert (host in proxies) is trusted  # from the cache as well


def test_the_caches_are_bounded() -> None:
    proxies = TrustedProxies("10.0.0.0/8")
    for number in range(5000):
        assert f"192.0.{number // 256}.{number % 256}" not in proxies
        proxies.client(b"10.0.%d.%d" % (number // 256, number % 256))
    proxies.client(b"192.0.2.1," * 100000)
    assert len(proxies._known) <= 1024 and len(proxies._clients) <= 1024
    assert max(map(len, proxies._clients)) <= 256


TCP, UNIX, NOWHERE = ("127.0.0.1", 80), ("/run/app.sock", None), None


@pytest.mark.parametrize(
    ("hosts", "client", "server", "trusted"),
    [
        ("127.0.0.1", ("127.0.0.1", 5), TCP, True),
        ("127.0.0.1", ("192.0.2.1", 5), TCP, False),
        ("127.0.0.1", None, TCP, False),
        ("127.0.0.1", None, UNIX, False),
        ("unix:", None, UNIX, True),
        ("unix:", ("/run/client.sock", None), UNIX, True),
        ("unix:", None, TCP, False),
        ("unix:", ("192.0.2.1", 5), TCP, False),
        ("/run/app.sock", None, UNIX, True),
        ("unix:/run/app.sock", None, UNIX, True),
        ("/run/other.sock", None, UNIX, False),
        ("*", None, UNIX, True),
        ("*", ("192.0.2.1", 5), TCP, True),
        ("*", None, NOWHERE, True),
        ("unix:", None, NOWHERE, False),
    ],
)
def test_which_peer_is_trusted(
    hosts: str, client: tuple[str, int | None] | None, server: tuple[str, int | None] | None, trusted: bool
) -> None:
    assert TrustedProxies(hosts).trusts(client, server) is trusted


# -- the fields ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "value", "client"),
    [
        (LIST, "203.0.113.7", ("203.0.113.7", 0)),
        (LIST, " 203.0.113.7 ", ("203.0.113.7", 0)),
        (LIST, "203.0.113.7:4711", ("203.0.113.7", 4711)),
        (LIST, "203.0.113.7:99999", ("203.0.113.7", 0)),
        (LIST, "203.0.113.7:0x1", ("203.0.113.7", 0)),
        (LIST, "203.0.113.7:\u00b2", ("203.0.113.7", 0)),
        (LIST, "2001:db9::1", ("2001:db9::1", 0)),
        (LIST, "[2001:db9::1]", ("2001:db9::1", 0)),
        (LIST, "[2001:db9::1]:443", ("2001:db9::1", 443)),
        (LIST, '"[2001:db9::1]:443"', ("2001:db9::1", 443)),
        (LIST, "[2001:db9::1", None),
        (LIST, "[2001:db9::1]x", None),
        (LIST, "::ffff:203.0.113.7", ("203.0.113.7", 0)),
        # The right-most that is not trusted; what stands left of it is anybody's.
        (LIST, "198.51.100.1, 203.0.113.7", ("203.0.113.7", 0)),
        (LIST, "198.51.100.1, 203.0.113.7, 10.0.0.1", ("203.0.113.7", 0)),
        (LIST, "198.51.100.1,203.0.113.7,10.0.0.1:80,127.0.0.1", ("203.0.113.7", 0)),
        (LIST, "10.0.0.2, 203.0.113.7, 10.0.0.1", ("203.0.113.7", 0)),
        # Nobody but proxies: the first of them asked.
        (LIST, "10.0.0.3, 10.0.0.2, 10.0.0.1", ("10.0.0.3", 0)),
        (LIST, "203.0.113.7, /run/nginx.sock", ("203.0.113.7", 0)),
        # What is no address ends the walk.
        (LIST, "unknown", None),
        (LIST, "", None),
        (LIST, ", ,", None),
        (LIST, "203.0.113.7, unknown", None),
        (LIST, "203.0.113.7, unknown, 10.0.0.1", ("10.0.0.1", 0)),
        (LIST, "203.0.113.7, , 10.0.0.1", ("10.0.0.1", 0)),
        (LIST, "203.0.113.7, \x9b31m", None),
        (LIST, "_hidden", None),
        (LIST, "1.2.3.4.5", None),
        (LIST, "1.2.3", None),
        (LIST, "01.2.3.4", None),
        ("unix:", "203.0.113.7, unix:", ("203.0.113.7", 0)),
        ("unix:", "unix:", ("unix:", 0)),
        # Who trusts everybody trusts the whole chain.
        ("*", "198.51.100.1, 203.0.113.7", ("198.51.100.1", 0)),
        ("*", "unknown, 198.51.100.1:5, \xf0\xfd, unix:, ::1", ("198.51.100.1", 5)),
        ("*", "nobody", None),
    ],
)
def test_the_client(hosts: str, value: str, client: tuple[str, int] | None) -> None:
    proxies = TrustedProxies(hosts)
    assert proxies.client(value.encode("latin-1")) == client
    assert proxies.client(value.encode("latin-1")) == client


@pytest.mark.parametrize(
    ("value", "http", "websocket"),
    [
        (b"https", "https", "wss"),
        (b"http", "http", "ws"),
        (b"wss", "https", "wss"),
        (b"ws", "http", "ws"),
        (b" HTTPS ", "https", "wss"),
        (b"http, https", "https", "wss"),
        (b"https,http", "http", "ws"),
        (b"gopher", None, None),
        (b"", None, None),
        (b"https,", None, None),
    ],
)
def test_the_scheme(value: bytes, http: str | None, websocket: str | None) -> None:
    assert (scheme(value), scheme(value, websocket=True)) == (http, websocket)


# -- the setting -----------------------------------------------------------------------------------------------


def test_where_the_list_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert Config("app:app").forwarded_allow_ips == "127.0.0.1,::1"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8")
    assert Config("app:app").forwarded_allow_ips == "10.0.0.0/8"
    assert Config("app:app", forwarded_allow_ips="*").forwarded_allow_ips == "*"
    assert Config("app:app", forwarded_allow_ips=["a", "b"]).forwarded_allow_ips == ["a", "b"]


@pytest.mark.parametrize("text", ["10.0.0.300", "10.0.0.0/33", "2001:db8::/200", "1.2.3", "::1::", "10/999"])
def test_a_misspelt_address_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an address or a network"):
        Config("app:app", forwarded_allow_ips=f"127.0.0.1, {text}")


@pytest.mark.parametrize(
    "text", ["localhost", "cafe.de", "proxy.example.org", "/run/x.sock", "unix:", "*", "10.0.0.1/8", ""]
)
def test_names_and_paths_are_left_alone(text: str) -> None:
    Config("app:app", forwarded_allow_ips=text)


# -- the middleware --------------------------------------------------------------------------------------------


async def where(request: Request) -> PlainTextResponse:
    assert request.client is not None
    return PlainTextResponse(f"{request.url.scheme} {request.client.host}:{request.client.port}")


async def ask(trusted: str | list[str], headers: dict[str, str]) -> str:
    app = ProxyHeadersMiddleware(Starlette(routes=[Route("/", where)]), trusted_hosts=trusted)
    transport = httpx.ASGITransport(app, client=("192.0.2.1", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        return (await client.get("/", headers=headers)).text


@pytest.mark.parametrize(
    ("trusted", "answer"),
    [
        ("192.0.2.1", "https 203.0.113.7:0"),
        (["192.0.2.0/24"], "https 203.0.113.7:0"),
        ("*", "https 198.51.100.1:0"),
        ("127.0.0.1", "http 192.0.2.1:5000"),
    ],
)
async def test_starlette_behind_the_middleware(trusted: str | list[str], answer: str) -> None:
    headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7", "X-Forwarded-Proto": "https"}
    assert await ask(trusted, headers) == answer
    assert await ask(trusted, {}) == "http 192.0.2.1:5000"
    assert await ask(trusted, {"X-Forwarded-For": "nobody", "X-Forwarded-Proto": "x"}) == "http 192.0.2.1:5000"


async def scope_behind_the_middleware(kind: str, *headers: tuple[bytes, bytes]) -> Scope:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def receive() -> Message:
        raise AssertionError("the middleware receives nothing itself")

    async def send(message: Message) -> None:
        raise AssertionError("the middleware sends nothing itself")

    scope = {"type": kind, "scheme": "http", "client": ("192.0.2.1", 5), "server": ("a", 80), "headers": headers}
    await ProxyHeadersMiddleware(app, "192.0.2.1")(scope, receive, send)
    return seen[0]


@pytest.mark.parametrize(("proto", "expected"), [(b"https", "wss"), (b"http", "ws"), (b"wss", "wss"), (b"ws", "ws")])
async def test_a_websocket_behind_the_middleware(proto: bytes, expected: str) -> None:
    lines = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", proto)]
    scope = await scope_behind_the_middleware("websocket", *lines)
    assert (scope["scheme"], scope["client"]) == (expected, ("203.0.113.7", 0))


async def test_the_middleware_leaves_the_lifespan_alone() -> None:
    assert (await scope_behind_the_middleware("lifespan", (b"x-forwarded-proto", b"https")))["scheme"] == "http"


def test_the_middleware_trusts_loopback_unless_told() -> None:
    app = ProxyHeadersMiddleware(Starlette())
    assert "127.0.0.1" in app.trusted_hosts and "192.0.2.1" not in app.trusted_hosts


def test_the_list_by_the_name_that_others_import() -> None:
    trusted = _TrustedHosts("127.0.0.1, 10.0.0.0/8")
    assert "10.1.1.1" in trusted and "192.0.2.1" not in trusted and None not in trusted
    assert trusted.get_trusted_client_host("198.51.100.1, 192.0.2.1, 10.0.0.1") == "192.0.2.1"
    assert trusted.get_trusted_client_host("10.0.0.2, 10.0.0.1") == "10.0.0.2"
    assert trusted.get_trusted_client_host("somebody") == "somebody"
    assert trusted.get_trusted_client_host("") == ""
    assert _TrustedHosts("*").get_trusted_client_host("198.51.100.1, 10.0.0.1") == "198.51.100.1"
