"""Which proxies are trusted, and what their headers change in a scope: X-Forwarded-… and Forwarded. Pure.

Two families of headers, one of them at a time: X-Forwarded-For, -Proto, -Host, -Port and -Prefix, each if it is named,
or `Forwarded` (RFC 7239). A proxy passes on the headers that it does not write as its client has sent them, so a
trusted proxy must write all that are named.

The client is the right-most address that does not belong to a trusted proxy: everything to the left of it comes from an
untrusted peer. An entry that is not an address (`unknown`, an obfuscated name, garbage) ends the search for the same
reason, and the last known hop is taken for the client. With `*` the whole chain is trusted, so the left-most address is
the client. Of the other X-Forwarded headers the last entry counts, which the nearest proxy has written. In `Forwarded`
each proxy describes the request that it has received, so the element counts that is nearest to the client and still
trusted. The server and `middleware.proxy_headers` both use this module, so both give the same results.

Owns: the trust list, the grammar of the headers, and what they change in a scope. Must not: know a socket or a
configuration. Fails by: nothing; a header that cannot be parsed is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from uvicorn.net import forwarded
from uvicorn.net.grammar import is_host

Client = tuple[str, int]

UNIX = "unix:"
"""In a trust list: every peer of a Unix socket. (nginx writes it in X-Forwarded-For for such a peer.)"""

DEFAULT = "127.0.0.1,::1"

_BOUND = 1024
"""Maximum entries of a cache that clients can fill; a full one is emptied."""
_LONGEST = 256
"""Maximum bytes of a header that is cached."""

FOR = b"x-forwarded-for"
PROTO = b"x-forwarded-proto"
HOST = b"x-forwarded-host"
PORT = b"x-forwarded-port"
PREFIX = b"x-forwarded-prefix"
FORWARDED = b"forwarded"

FIELDS = (FOR, PROTO, HOST, PORT, PREFIX, FORWARDED)
"""All headers that can be used."""
DEFAULT_FIELDS = frozenset((FOR, PROTO))

_PREFIX_FORM = re.compile(rb"/(?!/)(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_USUAL_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

_LIKE_AN_ADDRESS = re.compile(
    r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:\.[0-9]{1,3}){0,3}(?:%.+)?"
).fullmatch
"""Matches all that `ip_address` accepts, zones (`fe80::1%eth0`) included."""
_NUMERIC = re.compile(r"[0-9]*\.[0-9.]*|[0-9.]+/[0-9]*|[0-9a-fA-F]*:[0-9a-fA-F.:]*(?:/[0-9]*)?")

_HTTP = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_WEBSOCKET = {b"http": "ws", b"https": "wss", b"ws": "ws", b"wss": "wss"}


class ForwardedInfo(NamedTuple):
    """The trusted part of a `Forwarded` header; None and b"" for what it does not contain."""

    client: Client | None
    proto: bytes
    host: bytes


class TrustedProxies:
    """A parsed trust list: addresses, networks, `unix:` or the path of a Unix socket, `*`; comma-separated or several.

    `fields` are the headers to use, in lower case.
    """

    def __init__(self, hosts: str | Iterable[str], fields: frozenset[bytes] = DEFAULT_FIELDS) -> None:
        self.fields = fields
        texts = hosts.split(",") if isinstance(hosts, str) else hosts
        self.everybody = False
        self.literals: set[str] = set()
        self.addresses: set[IPv4Address | IPv6Address] = set()
        self.networks: list[IPv4Network | IPv6Network] = []
        for text in texts:
            self._add(text.strip())
        self._known: dict[str, bool] = {}
        self._clients: dict[bytes, Client | None] = {}
        self._forwarded: dict[bytes, ForwardedInfo] = {}

    def _add(self, text: str) -> None:
        try:
            if text == "*":
                self.everybody = True
            elif "/" in text:
                self.networks.append(_unmapped_network(ip_network(text, strict=False)))
            elif text:
                self.addresses.add(unmapped(ip_address(text)))
        except ValueError:
            self.literals.add(text.removeprefix(UNIX) or UNIX)  # the log says unix:/run/app.sock

    def misspelt(self) -> list[str]:
        """Entries that look like an address or a network and are not; names are allowed, although no peer has one."""
        return sorted(text for text in self.literals if _NUMERIC.fullmatch(text))

    def __contains__(self, host: str | None) -> bool:
        """Whether an address, or an entry of X-Forwarded-For, is that of a trusted proxy."""
        if self.everybody:
            return True
        if not host:
            return False
        known = self._known.get(host)
        if known is None:
            known = self._look_up(host)
            if len(self._known) >= _BOUND:
                self._known.clear()
            self._known[host] = known
        return known

    def _look_up(self, host: str) -> bool:
        found = _address(host)
        if found is None:
            return host in self.literals
        address = unmapped(found)
        return address in self.addresses or any(address in network for network in self.networks)

    def trusts(self, client: Any, server: Any) -> bool:
        """Whether the peer of a connection is trusted. `client` and `server` are those of an ASGI scope.

        A peer of a Unix socket has no address: the path of the socket is looked up instead.
        """
        if client is not None and client[0] in self:
            return True
        if server is None or server[1] is not None:
            return self.everybody
        return self.everybody or UNIX in self.literals or server[0] in self.literals

    def client(self, forwarded_for: bytes) -> Client | None:
        """The client in X-Forwarded-For, with port 0 if it has none; None if there is no client in it."""
        try:
            return self._clients[forwarded_for]
        except KeyError:
            found = self._walk(forwarded_for.decode("latin-1"))
        if len(forwarded_for) <= _LONGEST:
            if len(self._clients) >= _BOUND:
                self._clients.clear()
            self._clients[forwarded_for] = found
        return found

    def _walk(self, forwarded_for: str) -> Client | None:
        entries = forwarded_for.split(",")
        if self.everybody:
            return next((client for client in map(_entry, entries) if client is not None), None)
        found: Client | None = None
        for text in reversed(entries):
            client = _entry(text)
            if client is None and text.strip() in self.literals:
                client = (text.strip(), 0)
            if client is None:
                break
            found = client
            if client[0] not in self:
                break
        return found

    def forwarded(self, value: bytes) -> ForwardedInfo:
        """The trusted part of a `Forwarded` header."""
        try:
            return self._forwarded[value]
        except KeyError:
            found = self._walk_elements(value.decode("latin-1"))
        if len(value) <= _LONGEST:
            if len(self._forwarded) >= _BOUND:
                self._forwarded.clear()
            self._forwarded[value] = found
        return found

    def _walk_elements(self, value: str) -> ForwardedInfo:
        """Each element is written by the proxy that the next element names; the last one, by our peer."""
        client, proto, host = None, "", ""
        for element in forwarded.elements(value):
            if element is None:
                break
            proto, host = element.get("proto", proto), element.get("host", host)
            node = element.get("for", "")
            found = _entry(node)
            if found is None and node in self.literals:
                found = (node, 0)
            client = found or client
            if not self.everybody and (found is None or found[0] not in self):
                break
        return ForwardedInfo(client, proto.encode("latin-1"), host.encode("latin-1"))


def misnamed(fields: Iterable[str]) -> str:
    """Why these headers cannot be used, in a sentence; "" if they can."""
    named = {name.lower().encode("latin-1", "replace") for name in fields}
    unknown = sorted(named.difference(FIELDS))
    if unknown:
        return f"{unknown[0].decode('latin-1')!r} is none of {', '.join(name.decode() for name in FIELDS)}."
    if FORWARDED in named and len(named) > 1:
        return "forwarded and x-forwarded-… cannot be used together: a proxy passes on the one that it does not write."
    return ""


def scheme(forwarded_proto: bytes, websocket: bool = False) -> str | None:
    """The scheme in X-Forwarded-Proto, for a scope of this kind; None for anything else.

    Of several the last one counts: the nearest proxy, which is trusted, has written it.
    """
    names = _WEBSOCKET if websocket else _HTTP
    return names.get(forwarded_proto) or names.get(_last(forwarded_proto).lower())


def apply_headers(trusted: TrustedProxies, scope: MutableMapping[str, Any]) -> None:
    """Change the scope of an HTTP request or a WebSocket as the headers of a trusted peer say."""
    fields = trusted.fields
    lines = [field for field in scope["headers"] if field[0] in fields]
    if not lines:
        return
    values: dict[bytes, bytes] = dict(lines)
    if len(values) != len(lines):  # repeated headers are one list (RFC 9110, 5.3)
        values = {name: b",".join([value for one, value in lines if one == name]) for name in values}
    if FORWARDED in values:
        client, proto, host = trusted.forwarded(values[FORWARDED])
    else:
        client, proto = trusted.client(values.get(FOR, b"")), values.get(PROTO, b"")
        host = _last(values.get(HOST, b""))
    if client is not None:
        scope["client"] = client
    found = scheme(proto, scope["type"] == "websocket") if proto else None
    if found is not None:
        scope["scheme"] = found
    if host or PORT in values:
        _set_host(scope, host, _last(values.get(PORT, b"")))
    if PREFIX in values:
        _mount(scope, _last(values[PREFIX]).rstrip(b"/"))


def _last(value: bytes) -> bytes:
    return value.rpartition(b",")[2].strip(b" \t")


def _set_host(scope: MutableMapping[str, Any], host: bytes, port: bytes) -> None:
    """Restore the Host header that the client has sent to the proxy; `port` replaces the port in it."""
    headers = list(scope["headers"])
    if not (host and is_host(host)):
        host = next((value for name, value in headers if name == b"host"), b"")
    if host and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536:
        name, colon, rest = host.rpartition(b":")
        host = name if colon and b"]" not in rest else host
        if int(port) != _USUAL_PORTS.get(scope["scheme"]):
            host = b"%b:%d" % (host, int(port))
    if host:
        scope["headers"] = [(b"host", host), *(field for field in headers if field[0] != b"host")]


def _mount(scope: MutableMapping[str, Any], prefix: bytes) -> None:
    """Put back the prefix that the proxy has removed; `root_path` is part of `path` (ASGI spec, HTTP scope)."""
    if not _PREFIX_FORM.fullmatch(prefix):
        return
    from urllib.parse import unquote  # imported when it is first needed

    text = unquote(prefix.decode("ascii"))
    scope["root_path"] = text + scope.get("root_path", "")
    scope["path"] = text + scope["path"]
    if scope.get("raw_path") is not None:
        scope["raw_path"] = prefix + scope["raw_path"]


def _entry(text: str) -> Client | None:
    """Parse `address`, `address:port` or `[address]:port`, quoted or not; None if there is no address."""
    host, port = text.strip(' \t"'), ""
    if host[:1] == "[":
        host, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            return None
        port = rest[1:]
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    address = _address(host)
    if address is None:
        return None
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return (str(unmapped(address)), number if number < 65536 else 0)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address; None if it is not one. `ip_address` alone takes 30 µs to refuse text, and a header can hold
    thousands of entries.
    """
    if not _LIKE_AN_ADDRESS(text):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address instead of its IPv6 form (::ffff:192.0.2.1), which dual-stack sockets have for IPv4 peers."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _unmapped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """The same for a network that contains only such addresses."""
    first = unmapped(network.network_address)
    if isinstance(network, IPv4Network) or isinstance(first, IPv6Address) or network.prefixlen < 96:
        return network
    return IPv4Network((int(first), network.prefixlen - 96))
