"""What costs a server more than its client, until it ends the connection: frames by the thousand."""

from __future__ import annotations

import http2 as h2

NUMBERS = range(1, 8001, 2)
FLOODS = {
    "rapid reset": [h2.get(n) + h2.rst_stream(n) for n in NUMBERS],
    "resets that we are made to send": [h2.post(n) + h2.window_update(n, 0) for n in NUMBERS],
    "windows that are too large": [h2.post(n) + h2.window_update(n, 2**31 - 1) for n in NUMBERS],
    "priorities of the wrong size": [h2.post(n) + h2.frame(h2.PRIORITY, 0, n, b"x") for n in NUMBERS],
    "streams that depend on themselves": [
        h2.post(n) + h2.frame(h2.PRIORITY, 0, n, n.to_bytes(4, "big") + b"\x00") for n in NUMBERS
    ],
    "bodies longer than they say": [h2.post(n, (b"content-length", b"1")) + h2.data(n, b"xx") for n in NUMBERS],
    "HEADERS after the end": [h2.headers(n, h2.request_fields()) + h2.headers(n, [(b"x", b"y")]) for n in NUMBERS],
    "malformed requests": [h2.headers(n, [(b":method", b"GET")]) for n in NUMBERS],
    "streams that are refused": [h2.post(n) for n in NUMBERS],
    "PING": [h2.frame(h2.PING, 0, 0, b"12345678")] * 4000,
    "answers to PING": [h2.frame(h2.PING, h2.ACK, 0, b"12345678")] * 4000,
    "SETTINGS": [h2.settings((h2.INITIAL_WINDOW_SIZE, 1))] * 4000,
    "settings in one frame": [h2.settings(*[(h2.INITIAL_WINDOW_SIZE, 1)] * 33)],
    "acknowledgements": [h2.frame(h2.SETTINGS, h2.ACK)] * 4000,
    "PRIORITY": [h2.frame(h2.PRIORITY, 0, 1, b"\x00\x00\x00\x03\x10")] * 4000,
    "PRIORITY_UPDATE": [h2.frame(h2.PRIORITY_UPDATE, 0, 0, b"\x00\x00\x00\x01u=1")] * 4000,
    "empty DATA": [h2.post(1)] + [h2.data(1)] * 4000,
    "padded DATA": [h2.post(1)] + [h2.data(1, b"\x00", h2.PADDED)] * 4000,
    "DATA for a closed stream": [h2.post(1), h2.rst_stream(1)] + [h2.data(1, b"x")] * 4000,
    "RST_STREAM for a closed stream": [h2.post(1)] + [h2.rst_stream(1)] * 4000,
    "small WINDOW_UPDATE": [h2.window_update(0, 1)] * 4000,
    "WINDOW_UPDATE for a closed stream": [h2.post(1), h2.rst_stream(1)] + [h2.window_update(1, 1000)] * 4000,
    "unknown frames": [h2.frame(0xFE)] * 4000,
    "GOAWAY": [h2.frame(h2.GOAWAY, 0, 0, b"\x00" * 8)] * 4000,
    "empty CONTINUATION": [h2.frame(h2.HEADERS, 0, 1)] + [h2.frame(h2.CONTINUATION, 0, 1)] * 4000,
    "a header block without an end": [h2.frame(h2.HEADERS, 0, 1)]
    + [h2.frame(h2.CONTINUATION, 0, 1, b"\x82" * 9000)] * 60,
}  # fmt: skip
"""By name: what is sent after the preface, in pieces. Each of them is answered by ENHANCE_YOUR_CALM."""
