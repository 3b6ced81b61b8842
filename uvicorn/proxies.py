"""Which proxies are believed, and what their X-Forwarded-For and X-Forwarded-Proto say. Pure.

The client is the right-most address that is not a trusted proxy's: whatever stands left of it was written by somebody
nobody vouches for. An entry that is no address (`unknown`, an obfuscated name, garbage) ends the walk for the same
reason, and the last known hop stands for the client. Who trusts everybody (`*`) trusts the whole chain: the left-most
address is the client. Used by the connection and by `middleware.proxy_headers`, so that both believe the same.

Owns: the trust list, the two fields' grammar, and what they change in a scope. Must not: know a socket or a
configuration. Fails by: nothing; what cannot be read is not believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

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

_NUMERIC = re.compile(r"[0-9]*\.[0-9.]*|[0-9.]+/[0-9]*|[0-9a-fA-F]*:[0-9a-fA-F.:]*(?:/[0-9]*)?")

_HTTP = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_WEBSOCKET = {b"http": "ws", b"https": "wss", b"ws": "ws", b"wss": "wss"}


class TrustedProxies:
    """A parsed trust list: addresses, networks, `unix:` or the path of a Unix socket, `*`; a string or several."""

    def __init__(self, hosts: str | Iterable[str]) -> None:
        texts = hosts.split(",") if isinstance(hosts, str) else hosts
        self.everybody = False
        self.literals: set[str] = set()
        self._addresses: set[IPv4Address | IPv6Address] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in texts:
            self._add(text.strip())
        self._known: dict[str, bool] = {}
        self._clients: dict[bytes, Client | None] = {}

    def _add(self, text: str) -> None:
        try:
            if text == "*":
                self.everybody = True
            elif "/" in text:
                self._networks.append(ip_network(text, strict=False))
            elif text:
                self._addresses.add(_plain(ip_address(text)))
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
        try:
            address = _plain(ip_address(host))
        except ValueError:
            return host in self.literals
        return address in self._addresses or any(address in network for network in self._networks)

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


def scheme(forwarded_proto: bytes, websocket: bool = False) -> str | None:
    """The scheme that X-Forwarded-Proto names, as a scope of this kind has it; None for anything else.

    Of several the last one counts: the nearest proxy, the one that is trusted, wrote it.
    """
    names = _WEBSOCKET if websocket else _HTTP
    return names.get(forwarded_proto) or names.get(forwarded_proto.rpartition(b",")[2].strip().lower())


def believe(trusted: TrustedProxies, scope: MutableMapping[str, Any]) -> None:
    """Put what a trusted peer says of its client into the scope of an HTTP request or a WebSocket."""
    forwarded_for = forwarded_proto = None
    for name, value in scope["headers"]:
        if name == FOR:  # several lines of one field are one list (RFC 9110, 5.3)
            forwarded_for = value if forwarded_for is None else forwarded_for + b"," + value
        elif name == PROTO:
            forwarded_proto = value
    if forwarded_for:
        scope["client"] = trusted.client(forwarded_for) or scope.get("client")
    if forwarded_proto:
        found = scheme(forwarded_proto, scope["type"] == "websocket")
        if found is not None:
            scope["scheme"] = found


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
    try:
        address = ip_address(host)
    except ValueError:
        return None
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return (str(_plain(address)), number if number < 65536 else 0)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """A socket for both families shows an IPv4 peer as ::ffff:192.0.2.1: they are the same."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
