"""The opening handshake, from a request that was parsed before (RFC 6455, 4.2).

Owns: whether a request may become a WebSocket, what it offers, and the fields that accept it. Must not: know asyncio,
ASGI or a frame. Fails by: `Refused`, which has the status and the fields of the answer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from uvicorn.net.grammar import is_token

if TYPE_CHECKING:
    from uvicorn.worker.http.request import Request
    from uvicorn.worker.http1.request_head import RequestHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

SERVER_FIELDS = frozenset(
    (b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions")
)
"""Fields of the answer that are the server's to set, not the application's."""


class Refused(Exception):
    """The request asks for a WebSocket in a way that cannot be served."""

    def __init__(self, status: int, reason: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or []


class Offer(NamedTuple):
    """What the client offers. `extensions` is the joined value of Sec-WebSocket-Extensions, "" for none.

    `key` is part of the handshake over HTTP/1.1; over HTTP/2 it is b"" unless a proxy has passed one on.
    """

    key: bytes
    subprotocols: list[str]
    extensions: str


def wants_websocket(request: RequestHead) -> bool:
    """Whether the request asks for an upgrade to a WebSocket at all. HTTP/1.0 knows no Upgrade (RFC 9110, 7.8)."""
    if request.upgrade is None or request.http_version != "1.1":
        return False
    return b"websocket" in [word.strip().lower() for word in request.upgrade.split(b",")]


def offer_of(request: RequestHead) -> Offer:
    """Check the handshake request. Raises Refused."""
    if request.method != "GET":
        raise Refused(400, "A WebSocket handshake is a GET request")
    if request.content_length != 0:
        raise Refused(400, "A WebSocket handshake has no body")
    offer = tunnel_offer(request)
    if not offer.key:
        raise Refused(400, "Invalid Sec-WebSocket-Key")
    return offer


def tunnel_offer(request: Request) -> Offer:
    """Check a request that asks for a WebSocket on a stream of HTTP/2, where it needs no key (RFC 8441, 5). Raises
    Refused.
    """
    versions, protocols, extensions, keys = [], [], [], []
    for name, value in request.fields:
        if name.startswith(b"sec-websocket-"):
            if name == b"sec-websocket-version":
                versions.append(value)
            elif name == b"sec-websocket-protocol":
                protocols.append(value)
            elif name == b"sec-websocket-extensions":
                extensions.append(value)
            elif name == b"sec-websocket-key":
                keys.append(value)
    if versions != [b"13"]:
        raise Refused(426, "Only version 13 of the WebSocket protocol is served", [(b"sec-websocket-version", b"13")])
    key = keys[0] if len(keys) == 1 and _is_key(keys[0]) else b""
    return Offer(key, _subprotocols(protocols), b", ".join(extensions).decode("latin-1"))


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _subprotocols(values: list[bytes]) -> list[str]:
    words = [word.strip(b" \t") for value in values for word in value.split(b",")]
    if not all(is_token(word) for word in words):
        raise Refused(400, "Invalid Sec-WebSocket-Protocol")
    return [word.decode("ascii") for word in words]


def accept_fields(offer: Offer, subprotocol: str | None, extension: str | None) -> list[tuple[bytes, bytes]]:
    """The server's fields of a 101. Raises ValueError for a subprotocol that is not a token."""
    return [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        _answer_to(offer.key),
        *chosen_fields(subprotocol, extension),
    ]


def tunnel_fields(offer: Offer, subprotocol: str | None, extension: str | None) -> list[tuple[bytes, bytes]]:
    """The server's fields of a 200 that opens a tunnel. Raises ValueError for a subprotocol that is not a token.

    A proxy whose client speaks HTTP/1.1 may pass its key on and leave the answer to us: Envoy does.
    """
    fields = chosen_fields(subprotocol, extension)
    return [_answer_to(offer.key), *fields] if offer.key else fields


def _answer_to(key: bytes) -> tuple[bytes, bytes]:
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return b"sec-websocket-accept", base64.b64encode(digest)


def chosen_fields(subprotocol: str | None, extension: str | None) -> list[tuple[bytes, bytes]]:
    """What was chosen of an offer, on every wire. Raises ValueError for a subprotocol that is not a token."""
    fields = []
    if subprotocol is not None:
        name = subprotocol.encode("latin-1", "replace")
        if not is_token(name):
            raise ValueError(f"Invalid subprotocol: {subprotocol!r}")
        fields.append((b"sec-websocket-protocol", name))
    if extension is not None:
        fields.append((b"sec-websocket-extensions", extension.encode("latin-1")))
    return fields


def choose_subprotocol(fields: Sequence[tuple[bytes, ...]], chosen: str | None, offer: Offer) -> str | None:
    """The subprotocol of an acceptance: `chosen` by its message, or named among its header fields.

    Raises ValueError if a field contradicts the message, or names what the client did not offer (RFC 6455, 4.2.2).
    """
    for name, value in fields:
        if name.lower() != b"sec-websocket-protocol":
            continue
        named = value.decode("latin-1").strip()
        if chosen is None and named in offer.subprotocols:
            chosen = named
        elif named != chosen:
            why = "the client did not offer" if chosen is None else f"is not the subprotocol {chosen!r} of the message"
            raise ValueError(f"The header sec-websocket-protocol of 'websocket.accept' says {named!r}, which {why}.")
    return chosen
