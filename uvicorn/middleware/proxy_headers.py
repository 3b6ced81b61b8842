"""X-Forwarded-For and X-Forwarded-Proto, for programs that wrap an application themselves.

The server does the same by itself (`--proxy-headers`), without a coroutine around every request; this is for a proxy
that the server does not know of, or for another server. It trusts only `trusted_hosts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.net import proxies
from uvicorn.surface.replaceable import replaceable


class ProxyHeadersMiddleware:
    """Puts the client's address and scheme into the scope when the peer is a trusted proxy.

    `trusted_hosts`: addresses, networks, `unix:` or a Unix socket's path, or `*`; comma-separated, or several.
    """

    def __init__(self, app: ASGI3Application, trusted_hosts: str | Iterable[str] = "127.0.0.1") -> None:
        self.app = app
        self.trusted_hosts = _TrustedHosts(trusted_hosts)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        trusted = self.trusted_hosts
        if scope["type"] in ("http", "websocket") and trusted.trusts(scope.get("client"), scope.get("server")):
            proxies.apply_headers(trusted, scope)
        await self.app(scope, receive, send)


class _TrustedHosts(proxies.TrustedProxies):
    """The list under the name that other projects' tests import, and with the names that it has there."""

    @replaceable
    def always_trust(self) -> bool:
        return self.everybody

    @replaceable
    def trusted_literals(self) -> set[str]:
        return self.literals

    @replaceable
    def trusted_hosts(self) -> set[IPv4Address | IPv6Address]:
        return self.addresses

    @replaceable
    def trusted_networks(self) -> set[IPv4Network | IPv6Network]:
        return set(self.networks)

    def get_trusted_client_address(self, x_forwarded_for: str) -> tuple[str, int]:
        """The client's address and port, 0 without a port; the right-most entry unchanged if that is no address."""
        client = self.client(x_forwarded_for.encode("latin-1", "replace"))
        return client if client is not None else (x_forwarded_for.rpartition(",")[2].strip(), 0)

    def get_trusted_client_host(self, x_forwarded_for: str) -> str:
        """The same without the port, as in older versions."""
        return self.get_trusted_client_address(x_forwarded_for)[0]
