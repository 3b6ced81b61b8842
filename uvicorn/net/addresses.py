"""Who is at the two ends of a connection, as a transport and as a scope say it.

Owns: the forms: (host, port); (path, None) for a Unix socket; None for what has no name. Must not: know a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn._types import Scope

if TYPE_CHECKING:
    import asyncio


_MAPPED = "::ffff:"


def address(name: Any) -> tuple[str, Any] | None:
    """A socket's name as ASGI has it: (host, port), (path, None) for a Unix socket, None for an unnamed one.

    A socket for both families names an IPv4 address `::ffff:192.0.2.1` (RFC 4291, 2.5.5.2): here it is `192.0.2.1`.
    """
    if type(name) is tuple and len(name) == 2:
        return name  # IPv4, as the socket module has it
    if isinstance(name, (tuple, list)):
        host = str(name[0])
        return (host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host, int(name[1]))
    return (str(name), None) if name else None


def get_remote_addr(transport: asyncio.Transport) -> tuple[str, int] | None:
    """The peer, where it has a host and a port."""
    return _named(transport, "peername")


def get_local_addr(transport: asyncio.Transport) -> tuple[str, int | None] | None:
    """Our end of the connection."""
    return _named(transport, "sockname")


def _named(transport: asyncio.Transport, what: str) -> tuple[str, Any] | None:
    name = transport.get_extra_info(what)
    if name is None:
        sock = transport.get_extra_info("socket")
        try:
            name = None if sock is None else sock.getpeername() if what == "peername" else sock.getsockname()
        except OSError:
            return None  # the peer has left already
    return address(name)


def is_ssl(transport: asyncio.Transport) -> bool:
    """Whether the connection is encrypted."""
    return bool(transport.get_extra_info("sslcontext"))


def get_client_addr(scope: Scope) -> str:
    """`host:port` of a scope's client, "" where there is none."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def get_path_with_query_string(scope: Scope) -> str:
    """The path as it is quoted in a request line, and the query string."""
    from urllib.parse import quote  # not for those who only name us

    path = quote(scope["path"])
    query = scope.get("query_string")
    return f"{path}?{query.decode('ascii')}" if query else path
