"""Which proxies are believed, and what they say of the client: forwarded fields, and what they change in a scope. Pure.

Two families of fields, one of them at a time: X-Forwarded-For, -Proto, -Host, -Port, -Prefix, each when it is named, or
`Forwarded` (RFC 7239). A proxy passes the fields that it does not write on as its client sent them, so whoever is
believed has to write all that are named.

The client is the right-most address that is not a trusted proxy's: whatever stands left of it was written by somebody
nobody vouches for. An entry that is no address (`unknown`, an obfuscated name, garbage) ends the walk for the same
reason, and the last known hop stands for the client. Who trusts everybody (`*`) trusts the whole chain: the left-most
address is the client. Of the other X-Forwarded fields the last entry counts, the nearest proxy's; in `Forwarded` each
proxy says for itself how it was asked, so the element nearest to the client that can be trusted does. Used by the
connection and by `middleware.proxy_headers`, so that both believe the same.

Owns: the trust list, the fields' grammar, and what they change in a scope. Must not: know a socket or a configuration.
Fails by: nothing; what cannot be read is not believed.
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
"""In a list: every peer of a Unix socket. (nginx calls such a peer so in X-Forwarded-For, too.)"""

DEFAULT = "127.0.0.1,::1"

_BOUND = 1024
"""Entries of a cache that a peer's bytes can fill; it is emptied when full."""
_LONGEST = 256
"""Bytes of a field that are worth a place in the cache."""

FOR = b"x-forwarded-for"
PROTO = b"x-forwarded-proto"
HOST = b"x-forwarded-host"
PORT = b"x-forwarded-port"
PREFIX = b"x-forwarded-prefix"
FORWARDED = b"forwarded"

FIELDS = (FOR, PROTO, HOST, PORT, PREFIX, FORWARDED)
"""All that can be believed."""
USUAL = frozenset((FOR, PROTO))

_PREFIX_FORM = re.compile(rb"/(?!/)(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_USUAL_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

_LIKE_AN_ADDRESS = re.compile(
    r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:\.[0-9]{1,3}){0,3}(?:%.+)?"
).fullmatch
"""With a zone, perhaps (`fe80::1%eth0`). Whatever `ip_address` takes is like this."""
_NUMERIC = re.compile(r"[0-9]*\.[0-9.]*|[0-9.]+/[0-9]*|[0-9a-fA-F]*:[0-9a-fA-F.:]*(?:/[0-9]*)?")

_HTTP = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_WEBSOCKET = {b"http": "ws", b"https": "wss", b"ws": "ws", b"wss": "wss"}


class Said(NamedTuple):
    """What a `Forwarded` field says that can be believed; None and b"" for nothing."""

    client: Client | None
    proto: bytes
    host: bytes


class TrustedProxies:
    """A parsed trust list: addresses, networks, `unix:` or the path of a Unix socket, `*`; a string or several.

    `fields`: those of theirs that are believed, in lower case.
    """

    def __init__(self, hosts: str | Iterable[str], fields: frozenset[bytes] = USUAL) -> None:
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
        self._said: dict[bytes, Said] = {}

    def _add(self, text: str) -> None:
        try:
            if text == "*":
                self.everybody = True
            elif "/" in text:
                self.networks.append(_plain_network(ip_network(text, strict=False)))
            elif text:
                self.addresses.add(plain(ip_address(text)))
        except ValueError:
            self.literals.add(text.removeprefix(UNIX) or UNIX)  # the log says unix:/run/app.sock

    def misspelt(self) -> list[str]:
        """What is meant as an address or a network and is none; a name is left alone, though no peer has one."""
        return sorted(text for text in self.literals if _NUMERIC.fullmatch(text))

    def __contains__(self, host: str | None) -> bool:
        """Whether a peer of this address, or an entry of X-Forwarded-For, is a trusted proxy."""
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
        address = plain(found)
        return address in self.addresses or any(address in network for network in self.networks)

    def trusts(self, client: Any, server: Any) -> bool:
        """Whether the peer of a connection is believed; both ends as ASGI has them.

        A peer of a Unix socket has no address: it is known by the path of the socket it came in by.
        """
        if client is not None and client[0] in self:
            return True
        if server is None or server[1] is not None:
            return self.everybody
        return self.everybody or UNIX in self.literals or server[0] in self.literals

    def client(self, forwarded_for: bytes) -> Client | None:
        """The client that X-Forwarded-For names, port 0 where it names none; None when it names nobody."""
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

    def said(self, value: bytes) -> Said:
        """What `Forwarded` says of the client."""
        try:
            return self._said[value]
        except KeyError:
            said = self._walk_elements(value.decode("latin-1"))
        if len(value) <= _LONGEST:
            if len(self._said) >= _BOUND:
                self._said.clear()
            self._said[value] = said
        return said

    def _walk_elements(self, value: str) -> Said:
        """Each element was written by the proxy that the one right of it names; the last, by our peer."""
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
        return Said(client, proto.encode("latin-1"), host.encode("latin-1"))


def misnamed(fields: Iterable[str]) -> str:
    """Why these cannot be the believed fields, in a sentence; "" when they can."""
    named = {name.lower().encode("latin-1", "replace") for name in fields}
    unknown = sorted(named.difference(FIELDS))
    if unknown:
        return f"{unknown[0].decode('latin-1')!r} is none of {', '.join(name.decode() for name in FIELDS)}."
    if FORWARDED in named and len(named) > 1:
        return (
            "forwarded and x-forwarded-… cannot be believed together: a proxy passes on the one that it does not write."
        )
    return ""


def scheme(forwarded_proto: bytes, websocket: bool = False) -> str | None:
    """The scheme that X-Forwarded-Proto names, as a scope of this kind has it; None for anything else.

    Of several the last one counts: the nearest proxy, the one that is trusted, wrote it.
    """
    names = _WEBSOCKET if websocket else _HTTP
    return names.get(forwarded_proto) or names.get(_last(forwarded_proto).lower())


def believe(trusted: TrustedProxies, scope: MutableMapping[str, Any]) -> None:
    """Put what a trusted peer says of its client into the scope of an HTTP request or a WebSocket."""
    fields = trusted.fields
    lines = [field for field in scope["headers"] if field[0] in fields]
    if not lines:
        return
    values: dict[bytes, bytes] = dict(lines)
    if len(values) != len(lines):  # several lines of one field are one list (RFC 9110, 5.3)
        values = {name: b",".join([value for one, value in lines if one == name]) for name in values}
    if FORWARDED in values:
        client, proto, host = trusted.said(values[FORWARDED])
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
    """The Host field as the client wrote it to the proxy; `port` replaces the one in it."""
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
    """Put back what the proxy cut off the path. `root_path` is part of `path` (ASGI specification, HTTP scope)."""
    if not _PREFIX_FORM.fullmatch(prefix):
        return
    from urllib.parse import unquote  # not for those who only name us

    text = unquote(prefix.decode("ascii"))
    scope["root_path"] = text + scope.get("root_path", "")
    scope["path"] = text + scope["path"]
    if scope.get("raw_path") is not None:
        scope["raw_path"] = prefix + scope["raw_path"]


def _entry(text: str) -> Client | None:
    """`address`, `address:port` or `[address]:port`, perhaps quoted; None for what has no address."""
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
    return (str(plain(address)), number if number < 65536 else 0)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """What `ip_address` makes of it; that takes 30 µs to refuse what is none, and a field has room for thousands."""
    if not _LIKE_AN_ADDRESS(text):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """A socket for both families shows an IPv4 peer as ::ffff:192.0.2.1: they are the same."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _plain_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """The same for a network whose addresses are all of that form."""
    first = plain(network.network_address)
    if isinstance(network, IPv4Network) or isinstance(first, IPv6Address) or network.prefixlen < 96:
        return network
    return IPv4Network((int(first), network.prefixlen - 96))
