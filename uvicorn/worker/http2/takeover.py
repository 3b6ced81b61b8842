"""Replaces an HTTP/1.1 connection whose peer speaks HTTP/2 by an HTTP/2 connection.

Owns: handing the transport over, and the terms from the settings. Must not: decide when: the HTTP/1.1 connection does,
from ALPN or from the first bytes. Fails by: nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.worker.access.log import shown
from uvicorn.worker.http1.request_line import METHODS
from uvicorn.worker.http2.connection import Http2Connection
from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.streams import Terms
from uvicorn.worker.websockets.protocol import SessionProtocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.worker.http1.connection import Connection

_log = logging.getLogger("uvicorn.error")


def take_over(connection: Connection) -> None:
    """Serve the connection's peer from now on (`ServerState.http2`)."""
    state, config = connection._state, connection.config
    served = connection.ws_protocol_class
    codec_class = served.codec_class if served is not None and issubclass(served, SessionProtocol) else None
    limits = state.limits
    terms = Terms(
        streams=config.http2_max_concurrent_streams,
        window=config.http2_stream_window,
        line=limits.line,
        fields=limits.fields,
        size=limits.head,
        methods=METHODS,
        tunnels=codec_class is not None,
    )
    made = Http2Connection(config, state, connection._ends, connection.loop, connection._app, terms, codec_class)
    early = connection.hand_over()
    if state.traces:
        _log.log(TRACE_LOG_LEVEL, "%s - Speaking HTTP/2", shown(connection._ends.client))
    connection.transport.set_protocol(made)
    connection.handed_over()
    made.begin(connection.transport, early)
    if connection._ends.tls is not None and weak(connection.transport):
        made.machine.fail(Code.INADEQUATE_SECURITY, "cipher suite not allowed for HTTP/2")


def weak(transport: asyncio.Transport) -> bool:
    """Whether the cipher suite of TLS 1.2 lacks forward secrecy or an AEAD cipher (RFC 9113, 9.2.2)."""
    name, version, _ = transport.get_extra_info("ssl_object").cipher() or ("", "", 0)
    return version == "TLSv1.2" and not (
        name.startswith(("ECDHE-", "DHE-")) and any(part in name for part in ("GCM", "CHACHA20", "CCM"))
    )
