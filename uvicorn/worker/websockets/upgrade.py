"""From an HTTP/1.1 connection to a WebSocket: which protocol gets the transport.

Our own protocols, and subclasses of them, get the request as it was parsed. Any other class (`ws=`) is an asyncio
protocol that reads the handshake itself, so the request is encoded again for it.

HTTP/1.1 connections know nothing of WebSockets: `upgrade` is put into the server's state when that is prepared.

Owns: that choice. Must not: know a frame. Fails by: having the connection answer with the status of `Refused`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.access.log import shown
from uvicorn.worker.http.scope import Endpoints, http_scope
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.http1.framing import text_response
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.websockets.handshake import Refused, offer_of, wants_websocket
from uvicorn.worker.websockets.protocol import SessionProtocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.worker.http1.connection import Connection


NO_WEBSOCKETS = "No supported WebSocket library detected. Run: pip install websockets"

_log = logging.getLogger("uvicorn.error")


def upgrade(connection: Connection, request: RequestHead) -> bool:
    """Give the transport of `connection` to a WebSocket protocol (`ServerState.upgrade`).

    False if the request asks for another protocol, or WebSockets are not served: then it is served as plain HTTP.
    """
    state, made = connection._state, connection.ws_protocol_class
    if made is None or not wants_websocket(request):
        if not state.told_no_upgrade and connection.config.interface != "wsgi":
            state.told_no_upgrade = True
            _log.warning("Unsupported upgrade request.")
            if made is None:
                _log.warning(NO_WEBSOCKETS)
        return False
    ends, behind = connection._ends, connection.hand_over()
    try:
        if state.admission is not None and not state.admission.has_room(state.in_flight):
            _log.warning("Exceeded concurrency limit.")
            raise Refused(503, "Service Unavailable", [(b"retry-after", b"1")])
        if state.traces:
            _log.log(TRACE_LOG_LEVEL, "%s - Upgrading to WebSocket", shown(ends.client))
        take_over(made, connection.transport, request, behind, connection.config, state, ends, connection.loop)
    except Refused as exc:
        _log.info("connection rejected (%d %s)", exc.status, exc.reason)
        entry = state.access.follow(request, http_scope(request, ends), ends.believed())
        if entry is not None:
            entry.answered(exc.status, len(exc.reason))
        connection.write(text_response(request, exc.status, exc.reason, state.default, exc.headers))
        connection.linger()
    else:
        connection.handed_over()
    return True


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
