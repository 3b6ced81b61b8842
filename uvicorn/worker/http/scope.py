"""What the application is told about a request: ASGI's HTTP connection scope (ASGI specification, HTTP 2.4).

Owns: how a checked request and the facts of its connection become a scope. Every object in it is new for each request,
because applications change them. Must not: know a codec or a transport.
"""

from __future__ import annotations

from typing import Any

from uvicorn.net import proxies
from uvicorn.worker.http.request import Request

SPEC_VERSION = "2.4"
"""Since 2.4, `send` raises OSError once the client has disconnected."""

EARLY_HINT = "http.response.early_hint"
TRAILERS = "http.response.trailers"


class Endpoints:
    """The facts of a connection that go into every scope: addresses, scheme, mount point, lifespan state.

    `tls`: the ASGI extension, None without TLS. `proxies`: the trusted proxies, None if there are none. `trusted`:
    whether the peer is one of them; looked up when it first sends a field of a proxy.
    """

    __slots__ = (
        "asgi_version",
        "client",
        "proxies",
        "root_path",
        "root_path_bytes",
        "scheme",
        "server",
        "state",
        "tls",
        "trusted",
    )

    def __init__(
        self,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        scheme: str,
        root_path: str,
        asgi_version: str,
        state: dict[str, Any],
    ) -> None:
        self.client = client
        self.server = server
        self.scheme = scheme
        self.root_path = root_path
        self.root_path_bytes = root_path.encode()
        self.asgi_version = asgi_version
        self.state = state
        self.tls: dict[str, Any] | None = None
        self.proxies: proxies.TrustedProxies | None = None
        self.trusted: bool | None = None

    def replace(self, client: tuple[str, Any] | None, server: tuple[str, Any] | None, tls: bool) -> None:
        """Take the ends of the connection from a trusted proxy. A client without an address is not trusted itself, even
        if the proxy's address is.
        """
        if client is None or client[1] is None:
            self.trusted = self.proxies is not None and self.proxies.everybody
        if client is not None or server is not None:
            self.client, self.server = client, server
        if tls:
            self.scheme = "https"

    def believed(self) -> bool:
        """Whether the peer is a trusted proxy."""
        if self.trusted is None:
            self.trusted = self.proxies is not None and self.proxies.trusts(self.client, self.server)
        return self.trusted


def http_scope(request: Request, ends: Endpoints) -> dict[str, Any]:
    """The scope of one request. `root_path` is part of `path` and `raw_path` (ASGI specification, HTTP scope)."""
    path, raw_path = request.path, request.raw_path
    if ends.root_path:
        path = ends.root_path + path
        raw_path = ends.root_path_bytes + raw_path
    extensions: dict[str, Any] = {EARLY_HINT: {}} if request.http_version != "1.0" else {}
    if request.takes_trailers:
        extensions[TRAILERS] = {}
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": ends.asgi_version, "spec_version": SPEC_VERSION},
        "http_version": request.http_version,
        "server": ends.server,
        "client": ends.client,
        "scheme": ends.scheme,
        "method": request.method,
        "root_path": ends.root_path,
        "path": path,
        "raw_path": raw_path,
        "query_string": request.query_string,
        "headers": request.fields[:],
        "extensions": extensions,
        "state": ends.state.copy(),
    }
    if ends.tls is not None:
        extensions["tls"] = ends.tls.copy()
    if request.forwarded and ends.believed():  # for each request: a proxy's connection carries many clients
        assert ends.proxies is not None
        proxies.apply_headers(ends.proxies, scope)
    return scope
