"""The addresses of the two ends of a connection, in the forms of a transport and of an ASGI scope.

Owns: these forms: (host, port); (path, None) for a Unix socket; None for an unnamed end. Must not: know a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn._types import Scope

if TYPE_CHECKING:
    import asyncio


_MAPPED = "::ffff:"


def address(name: Any) -> tuple[str, Any] | None:
    """A socket's address in ASGI's form: (host, port), (path, None) for a Unix socket, None for an unnamed one.

    The IPv4 address of a dual-stack socket, `::ffff:192.0.2.1` (RFC 4291, 2.5.5.2), becomes `192.0.2.1`.
    """
    if type(name) is tuple and len(name) == 2:
        return name  # IPv4
    if isinstance(name, (tuple, list)):
        host = str(name[0])
        return (host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host, int(name[1]))
    return (str(name), None) if name else None


def get_remote_addr(transport: asyncio.Transport) -> tuple[str, int] | None:
    """The peer's address, if it has a host and a port."""
    return _named(transport, "peername")


def get_local_addr(transport: asyncio.Transport) -> tuple[str, int | None] | None:
    """The address of our end of the connection."""
    return _named(transport, "sockname")


def _named(transport: asyncio.Transport, what: str) -> tuple[str, Any] | None:
    name = transport.get_extra_info(what)
    if name is None:
        sock = transport.get_extra_info("socket")
        try:
            name = None if sock is None else sock.getpeername() if what == "peername" else sock.getsockname()
        except OSError:
            return None  # already disconnected
    return address(name)


def is_ssl(transport: asyncio.Transport) -> bool:
    """Whether the connection is encrypted."""
    return bool(transport.get_extra_info("sslcontext"))


def get_client_addr(scope: Scope) -> str:
    """`host:port` of a scope's client; "" if there is none."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def get_path_with_query_string(scope: Scope) -> str:
    """The path, quoted as in a request line, and the query string."""
    from urllib.parse import quote  # imported when it is first needed

    path = quote(scope["path"])
    query = scope.get("query_string")
    return f"{path}?{query.decode('ascii')}" if query else path
