"""The opening handshake: what is one, what it offers, what refuses it, and the head that accepts it."""

from __future__ import annotations

import pytest

import websocket_wire as wire
from uvicorn.worker.http1.request_head import RequestHead
from uvicorn.worker.http1.request_line import request_line
from uvicorn.worker.websockets.handshake import Refused, accept_fields, offer_of, wants_websocket


def request_of(*lines: str, first: str | None = None) -> RequestHead:
    head = wire.handshake("/chat?a=b", *lines).split(b"\r\n\r\n")[0].split(b"\r\n")
    line = head[0] if first is None else first.encode()
    fields = [(n.lower(), v) for n, v in (field.split(b": ", 1) for field in head[1:])]
    return RequestHead(request_line(line), fields)


@pytest.mark.parametrize(
    ("lines", "first", "wanted"),
    [
        ((), None, True),
        (("Upgrade: WebSocket",), None, True),
        (("Upgrade: h2c, websocket",), None, True),
        (("Connection: keep-alive, Upgrade",), None, True),
        (("Upgrade: h2c",), None, False),
        (("Upgrade:",), None, False),
        (("Connection: keep-alive",), None, False),
        ((), "GET / HTTP/1.0", False),
    ],
)
def test_what_asks_for_a_websocket(lines: tuple[str, ...], first: str | None, wanted: bool) -> None:
    assert wants_websocket(request_of(*lines, first=first)) is wanted


@pytest.mark.parametrize(
    ("lines", "first", "status"),
    [
        ((), "POST / HTTP/1.1", 400),
        (("Content-Length: 3",), None, 400),
        (("Transfer-Encoding: chunked",), None, 400),
        (("Sec-WebSocket-Version:",), None, 426),
        (("Sec-WebSocket-Version: 8",), None, 426),
        (("Sec-WebSocket-Version: 13, 8",), None, 426),
        (("Sec-WebSocket-Key:",), None, 400),
        (("Sec-WebSocket-Key: abc",), None, 400),
        (("Sec-WebSocket-Key: AAAA",), None, 400),
        (("Sec-WebSocket-Key: " + "A" * 22 + "==", "sec-websocket-key: " + "B" * 22 + "=="), None, 400),
        (("Sec-WebSocket-Protocol: a b",), None, 400),
        (("Sec-WebSocket-Protocol: a,,b",), None, 400),
    ],
)
def test_what_is_refused(lines: tuple[str, ...], first: str | None, status: int) -> None:
    with pytest.raises(Refused) as refused:
        offer_of(request_of(*lines, first=first))
    assert refused.value.status == status
    assert (status != 426) or (b"sec-websocket-version", b"13") in refused.value.headers


def test_what_is_offered() -> None:
    offer = offer_of(
        request_of(
            "Sec-WebSocket-Protocol: a, b",
            "sec-websocket-protocol: c",
            "Sec-WebSocket-Extensions: x",
            "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
        )
    )
    assert offer.subprotocols == ["a", "b", "c"]
    assert offer.extensions == "x, permessage-deflate; client_max_window_bits"


def test_the_answer_of_the_rfc() -> None:
    """RFC 6455, 1.3."""
    offer = offer_of(request_of("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
    fields = dict(accept_fields(offer, "chat", "permessage-deflate"))
    assert fields[b"sec-websocket-accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert fields[b"sec-websocket-protocol"] == b"chat"
    assert fields[b"sec-websocket-extensions"] == b"permessage-deflate"
    assert b"sec-websocket-protocol" not in dict(accept_fields(offer, None, None))


@pytest.mark.parametrize("name", ["a b", "", "a\r\nx: y", "é"])
def test_a_subprotocol_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="subprotocol"):
        accept_fields(offer_of(request_of()), name, None)
