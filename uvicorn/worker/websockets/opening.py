"""The request of a WebSocket that no HTTP connection has read: a session of ours that a program has made itself.

Owns: reading that one request. Must not: know a transport. Fails by: `BadRequest` for bytes that are not an acceptable
request, `Refused` for one that does not ask for a WebSocket as it should.
"""

from __future__ import annotations

from uvicorn.worker.http.limits import PeerLimits
from uvicorn.worker.http1.reader import RequestReader, SharedParser
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.websockets.handshake import Offer, Refused, offer_of, wants_websocket


def read_opening(data: bytes, limits: PeerLimits) -> tuple[RequestHead, Offer, bytes] | None:
    """The request that `data` begins with, what it offers, and what came behind it; None while it is not complete."""
    from uvicorn.worker.http1.auto import AutoConnection  # only here: it imports a parser

    reader = RequestReader(SharedParser(AutoConnection.codec_class(), limits))
    reader.pending = data
    request = reader.head()
    if request is None:
        return None
    if not wants_websocket(request):
        raise Refused(426, "A WebSocket is served here", [(b"upgrade", b"websocket"), (b"connection", b"upgrade")])
    return request, offer_of(request), reader.pending
