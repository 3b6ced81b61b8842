"""Fields beyond X-Forwarded-For and -Proto: `Forwarded` (RFC 7239), -Host, -Port, -Prefix, and the setting."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications import Scope
from uvicorn.config import Config
from uvicorn.errors import ConfigError
from uvicorn.net.forwarded import elements
from uvicorn.net.proxies import FIELDS, FORWARDED, ForwardedInfo, TrustedProxies, apply_headers

TRUSTED = "10.0.0.0/8,unix:"
CLIENT = ("203.0.113.7", 0)


# -- the grammar -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1", [{"for": "192.0.2.1"}]),
        ('For="[2001:db8::1]:4711" ; PROTO=http;', [{"for": "[2001:db8::1]:4711", "proto": "http"}]),
        ("for=[2001:db8::1]:4711;host=a:80", [{"for": "[2001:db8::1]:4711", "host": "a:80"}]),
        ("for=a, for=b ,for=c", [{"for": "c"}, {"for": "b"}, {"for": "a"}]),
        ('a="x,y;z", for=b', [{"for": "b"}, {"a": "x,y;z"}]),
        (r'a="say \"x, y\\"', [{"a": r'say "x, y' + "\\"}]),
        ("", [None]),
        ("for=a,,for=b", [{"for": "b"}, None, {"for": "a"}]),
        ("for=a;for=b", [None]),
        ("for", [None]),
        ("for=", [None]),
        ("for =a", [None]),
        ('for="a"b', [None]),
        ('for="x, for=b', [{"for": "b"}, None]),
        ('for="x, for="[::1]"', [{"for": "[::1]"}, None]),
        ('for=x;a=", for="[::1]";host="h"', [{"for": "[::1]", "host": "h"}, None]),
        ('for="\\, for="[::1]"', [{"for": "[::1]"}, None]),
        ('for="x\\", for="[::1]"', [{"for": "[::1]"}, None]),
    ],
)
def test_elements(value: str, expected: list[dict[str, str] | None]) -> None:
    assert list(elements(value)) == expected


OWN = st.sampled_from(["for=192.0.2.1", 'for="[2001:db8::1]"', 'for=_a;host="x,\\"y";proto=https', 'host=";a=";for=b'])


@given(st.text('",;=\\ ax', max_size=30), OWN)
def test_what_a_client_wrote_cannot_touch_what_the_proxy_appended(theirs: str, own: str) -> None:
    assert next(elements(f"{theirs}, {own}")) == next(elements(own)) is not None


def test_a_long_value_takes_no_long_time() -> None:
    for value in ('",' * 30000, "for=10.0.0.1," * 5000, 'a="' + "\\" * 60000, '"\\' * 30000, "a=b;" * 15000):
        assert len(list(elements(value))) <= 30001


# -- what is believed ------------------------------------------------------------------------------------------


def told(value: str, trusted: str = TRUSTED) -> ForwardedInfo:
    proxies = TrustedProxies(trusted, frozenset((FORWARDED,)))
    assert proxies.forwarded(value.encode("latin-1")) is proxies.forwarded(value.encode("latin-1"))
    return proxies.forwarded(value.encode("latin-1"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=203.0.113.7;proto=https;host=shop.example", (CLIENT, b"https", b"shop.example")),
        ('for="203.0.113.7:5"', (("203.0.113.7", 5), b"", b"")),
        ('for="[2001:db8::1]:5"', (("2001:db8::1", 5), b"", b"")),
        ('for="203.0.113.7:_port"', (CLIENT, b"", b"")),
        # The right-most that is not trusted, and what was said of it.
        ("for=6.6.6.6;proto=gopher, for=203.0.113.7;proto=https, for=10.0.0.1;proto=http", (CLIENT, b"https", b"")),
        ("for=203.0.113.7, for=10.0.0.1;proto=https;host=a", (CLIENT, b"https", b"a")),
        ("for=6.6.6.6;proto=https;host=evil, for=203.0.113.7", (CLIENT, b"", b"")),
        ("for=10.0.0.3;proto=https, for=10.0.0.2", (("10.0.0.3", 0), b"https", b"")),
        ('for=203.0.113.7, for="unix:"', (CLIENT, b"", b"")),
        # One that hides its address was still seen by a trusted proxy; nobody vouches for more.
        ("for=6.6.6.6, for=unknown;proto=https, for=10.0.0.1", (("10.0.0.1", 0), b"https", b"")),
        ("for=6.6.6.6;host=evil, for=_hidden;host=a", (None, b"", b"a")),
        ("for=6.6.6.6, proto=https", (None, b"https", b"")),
        # What cannot be read ends it.
        ("nonsense", (None, b"", b"")),
        ('for="6.6.6.6, for=203.0.113.7', (CLIENT, b"", b"")),
        ("for=6.6.6.6, nonsense, for=10.0.0.1;proto=https", (("10.0.0.1", 0), b"https", b"")),
    ],
)
def test_the_field_forwarded(value: str, expected: tuple[tuple[str, int] | None, bytes, bytes]) -> None:
    assert told(value) == expected


def test_who_trusts_everybody_trusts_the_whole_chain() -> None:
    value = "for=198.51.100.1;proto=https, for=unknown;proto=http, for=203.0.113.7;host=a"
    assert told(value, "*") == (("198.51.100.1", 0), b"https", b"a")


def test_the_cache_is_bounded() -> None:
    proxies = TrustedProxies("10.0.0.0/8")
    for number in range(5000):
        proxies.forwarded(b"for=10.0.%d.%d" % (number // 256, number % 256))
    proxies.forwarded(b"for=10.0.0.1," * 5000)
    assert len(proxies._forwarded) <= 1024 and max(map(len, proxies._forwarded)) <= 256


def scope(*headers: tuple[bytes, bytes], kind: str = "http", names: str = "*", **details: object) -> Scope:
    fields = frozenset(FIELDS) - {FORWARDED} if names == "*" else frozenset(names.encode().split())
    made: Scope = {
        "type": kind,
        "scheme": "http" if kind == "http" else "ws",
        "client": ("10.0.0.1", 5),
        "path": "/x y",
        "raw_path": b"/x%20y",
        "root_path": "",
        "headers": [(b"host", b"inner:8000"), (b"accept", b"*/*"), *headers],
        **details,
    }
    apply_headers(TrustedProxies(TRUSTED, fields), made)
    return made


def host_of(made: Scope) -> bytes:
    [host] = [value for name, value in made["headers"] if name == b"host"]
    return bytes(host)


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ([(b"x-forwarded-host", b"shop.example")], b"shop.example"),
        ([(b"x-forwarded-host", b"shop.example:8443")], b"shop.example:8443"),
        ([(b"x-forwarded-host", b"evil, shop.example")], b"shop.example"),
        ([(b"x-forwarded-host", b"evil"), (b"x-forwarded-host", b"shop.example")], b"shop.example"),
        ([(b"x-forwarded-host", b"a b")], b"inner:8000"),
        ([(b"x-forwarded-host", b"a/b")], b"inner:8000"),
        ([(b"x-forwarded-host", b"")], b"inner:8000"),
        ([(b"x-forwarded-port", b"8443")], b"inner:8443"),
        ([(b"x-forwarded-port", b"80")], b"inner"),
        ([(b"x-forwarded-port", b"443")], b"inner:443"),
        ([(b"x-forwarded-port", b"443"), (b"x-forwarded-proto", b"https")], b"inner"),
        ([(b"x-forwarded-port", b"70000")], b"inner:8000"),
        ([(b"x-forwarded-port", b"x")], b"inner:8000"),
        ([(b"x-forwarded-port", b"0")], b"inner:8000"),
        ([(b"x-forwarded-port", b"1, 8443"), (b"x-forwarded-host", b"a:1")], b"a:8443"),
        ([(b"x-forwarded-port", b"8443"), (b"x-forwarded-host", b"[::1]")], b"[::1]:8443"),
        ([(b"x-forwarded-port", b"8443"), (b"x-forwarded-host", b"[::1]:1")], b"[::1]:8443"),
    ],
)
def test_host_and_port(headers: list[tuple[bytes, bytes]], host: bytes) -> None:
    made = scope(*headers)
    assert host_of(made) == host
    assert made["headers"][0] == (b"host", host) and (b"accept", b"*/*") in made["headers"]


@pytest.mark.parametrize(
    ("value", "root", "path", "raw"),
    [
        (b"/shop", "/shop", "/shop/x y", b"/shop/x%20y"),
        (b"/shop/", "/shop", "/shop/x y", b"/shop/x%20y"),
        (b"/evil, /shop", "/shop", "/shop/x y", b"/shop/x%20y"),
        (b"/sh%20op", "/sh op", "/sh op/x y", b"/sh%20op/x%20y"),
        (b"/", "", "/x y", b"/x%20y"),
        (b"//evil.example", "", "/x y", b"/x%20y"),
        (b"https://evil.example", "", "/x y", b"/x%20y"),
        (b"/a?b", "", "/x y", b"/x%20y"),
        (b"/a\\b", "", "/x y", b"/x%20y"),
        (b"", "", "/x y", b"/x%20y"),
    ],
)
def test_the_prefix(value: bytes, root: str, path: str, raw: bytes) -> None:
    made = scope((b"x-forwarded-prefix", value))
    assert (made["root_path"], made["path"], made["raw_path"]) == (root, path, raw)


def test_the_prefix_stands_before_the_root_path() -> None:
    made = scope((b"x-forwarded-prefix", b"/shop"), root_path="/v1", path="/v1/x", raw_path=None)
    assert (made["root_path"], made["path"], made["raw_path"]) == ("/shop/v1", "/shop/v1/x", None)


def test_only_what_is_named_is_believed() -> None:
    every = [(name, b"/203.0.113.7"[1:] if name != b"x-forwarded-prefix" else b"/p") for name in FIELDS]
    every.append((b"forwarded", b"for=198.51.100.1;proto=https;host=evil"))
    usual = scope(*every, names="x-forwarded-for x-forwarded-proto")
    assert (usual["client"], usual["scheme"], host_of(usual), usual["root_path"]) == (CLIENT, "http", b"inner:8000", "")
    other = scope(*every[:-2], every[-1], names="forwarded")
    assert (other["client"], other["scheme"], host_of(other)) == (("198.51.100.1", 0), "https", b"evil")
    assert scope(*every, names="")["client"] == ("10.0.0.1", 5)


def test_a_websocket_has_its_own_schemes() -> None:
    made = scope((b"forwarded", b"for=203.0.113.7;proto=https"), kind="websocket", names="forwarded")
    assert (made["client"], made["scheme"]) == (CLIENT, "wss")


# -- the setting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("forwarded", {b"forwarded"}),
        (" X-Forwarded-For , x-forwarded-HOST,", {b"x-forwarded-for", b"x-forwarded-host"}),
        (["x-forwarded-port", "x-forwarded-prefix"], {b"x-forwarded-port", b"x-forwarded-prefix"}),
        ("", set()),
    ],
)
def test_the_setting(value: str | list[str], fields: set[bytes]) -> None:
    config = Config("app:app", log_config=None, forwarded_headers=value)
    config.load_components()
    assert config._proxies is not None and config._proxies.fields == fields


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x-real-ip", "'x-real-ip' is none of x-forwarded-for,"),
        ("forwarded,x-forwarded-for", "cannot be used together"),
        (["x-forwarded-for", "\u20ac"], "is none of"),
    ],
)
def test_a_wrong_setting_is_told(value: str | list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=f"--forwarded-headers: .*{re.escape(words)}"):
        Config("app:app", forwarded_headers=value)
