"""From an HTTP connection to a WebSocket: who takes the transport over.

Our own sessions, and subclasses of them, get the request as it was parsed. A foreign class (`ws=`) is an asyncio
protocol that expects to read the handshake itself: its bytes are made again for it here, and nowhere else. The other
way round, a session of ours that a foreign connection hands its transport to has the request read here.

Owns: that choice. Must not: know a frame. Fails by: `Refused`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.worker.http.scope import Endpoints
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.reader import RequestReader, Shared
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.websockets.handshake import Offer, Refused, offer_of, wants_websocket
from uvicorn.worker.websockets.session import Session

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
    """Give `transport` to `made`; `early` came behind the request. Raises Refused before that."""
    offer = offer_of(request) if issubclass(made, Session) else None
    protocol: Any = made(config=config, server_state=state, app_state=ends.state, _loop=loop)
    if offer is not None:
        protocol.met(ends)
    protocol.connection_made(transport)
    transport.set_protocol(protocol)
    if offer is not None:
        protocol.begin(request, offer, early)
    else:
        protocol.data_received(_bytes_of(request) + early)


def opening(data: bytes, state: ServerState) -> tuple[RequestHead, Offer, bytes] | None:
    """The request that `data` begins with, what it offers, and what came behind it; None while it is not whole.

    Raises BadRequest for what is no request, Refused for one that asks for something else.
    """
    from uvicorn.worker.http1.auto import AutoConnection

    reader = RequestReader(Shared(AutoConnection.codec_class(), state.limits))
    reader.pending = data
    request = reader.head()
    if request is None:
        return None
    if not wants_websocket(request):
        raise Refused(426, "A WebSocket is served here", [(b"upgrade", b"websocket"), (b"connection", b"upgrade")])
    return request, offer_of(request), reader.pending


def _bytes_of(request: RequestHead) -> bytes:
    line = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.target)
    return line + b"".join(b"%b: %b\r\n" % field for field in request.fields) + b"\r\n"
