"""From an HTTP connection to a WebSocket: who takes the transport over.

Our own sessions get the request as it was parsed. A foreign class (`ws=`) is an asyncio protocol that expects to read
the handshake itself: its bytes are made again for it here, and nowhere else.

Owns: that choice. Must not: parse, or know a frame. Fails by: `Refused`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.worker.http.fields import Request
from uvicorn.worker.http.scope import Endpoints
from uvicorn.worker.state import ServerState
from uvicorn.worker.websockets.handshake import offer_of
from uvicorn.worker.websockets.session import Session

if TYPE_CHECKING:
    from uvicorn.config import Config


def take_over(
    transport: asyncio.Transport,
    request: Request,
    early: bytes,
    config: Config,
    state: ServerState,
    ends: Endpoints,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Give `transport` to the configured class; `early` came behind the request. Raises Refused before that."""
    made: type[Any] | None = config.ws_protocol_class
    assert made is not None
    if issubclass(made, Session):
        made(config, state, request, offer_of(request), ends, loop).take_over(transport, early)
        return
    protocol = made(config=config, server_state=state, app_state=ends.state, _loop=loop)
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    protocol.data_received(_bytes_of(request) + early)


def _bytes_of(request: Request) -> bytes:
    line = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.line.target)
    return line + b"".join(b"%b: %b\r\n" % field for field in request.fields) + b"\r\n"
