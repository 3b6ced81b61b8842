"""From an HTTP/1.1 connection to a WebSocket: who takes the transport over.

Sessions of ours, and subclasses of them, get the request as it was parsed. A class of somebody else's (`ws=`) is an
asyncio protocol that expects to read the handshake itself: its bytes are made again for it here, and nowhere else.

Owns: that choice. Must not: know a frame. Fails by: `Refused`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.worker.http.scope import Endpoints
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.websockets.handshake import offer_of
from uvicorn.worker.websockets.protocol import SessionProtocol

if TYPE_CHECKING:
    from uvicorn.config import Config


def take_over(
    made: type[Any],
    transport: asyncio.Transport,
    request: RequestHead,
    early: bytes,
    config: Config,
    state: ServerState,
    ends: Endpoints,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Give `transport` to a new `made`; `early` is what came behind the request. Raises Refused before that."""
    offer = offer_of(request) if issubclass(made, SessionProtocol) else None
    protocol: Any = made(config=config, server_state=state, app_state=ends.state, _loop=loop)
    if offer is not None:
        protocol.take_ends(ends)
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    if offer is not None:
        protocol.begin(request, offer, early)
    else:
        protocol.data_received(_bytes_of(request) + early)


def _bytes_of(request: RequestHead) -> bytes:
    line = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.target)
    return line + b"".join(b"%b: %b\r\n" % field for field in request.fields) + b"\r\n"
