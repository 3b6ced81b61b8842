"""What RFC 9113 says that a server must do about a peer's frames, each with bytes that break the rule, or keep it.

One table for the pure machine (test_rules.py) and for real sockets. A rule is one line of it: the section, what the
peer does after its preface, and what has to come of it:

    goes(code)      the connection ends by GOAWAY with this code
    resets(code)    the stream ends by RST_STREAM with this code, and the connection goes on
    answers(status) the request is answered with this status, and the connection goes on
    serves()        nothing happens but what the frames ask for, and the connection goes on
"""

from __future__ import annotations

from typing import NamedTuple

import http2 as h2
from http2 import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    Field,
    data,
    frame,
    get,
    headers,
    post,
    request_fields,
    window_update,
)


class Outcome(NamedTuple):
    what: str
    number: int = 0


def goes(code: int) -> Outcome:
    return Outcome("goaway", code)


def resets(code: int) -> Outcome:
    return Outcome("reset", code)


def answers(status: int) -> Outcome:
    return Outcome("status", status)


def serves() -> Outcome:
    return Outcome("serves")


class Rule(NamedTuple):
    section: str
    name: str
    sent: bytes
    outcome: Outcome
    stream: int = 1
    preface: bytes = h2.hello()
    held: bool = False
    """No request is answered before all this has come."""


LARGEST = 16384
WINDOW = 2**31 - 1


def without(name: bytes) -> list[Field]:
    return [field for field in request_fields() if field[0] != name]


def with_(name: bytes, value: bytes) -> list[Field]:
    """The usual request with another value of a field that it has."""
    return [(one, value if one == name else old) for one, old in request_fields()]


def asks(fields: list[Field]) -> bytes:
    return headers(1, fields)


def more(name: bytes, value: bytes) -> bytes:
    """The usual request with one more field."""
    return asks(request_fields((name, value)))


_CONTINUED = h2.block(request_fields())

CONNECTION: list[Rule] = [
    Rule("3.4", "no preface", b"", goes(PROTOCOL_ERROR), preface=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Rule("3.4", "half a preface and something else", b"", goes(PROTOCOL_ERROR), preface=h2.PREFACE[:20] + b"xxxx"),
    Rule("3.4", "a first frame that is not SETTINGS", get(1), goes(PROTOCOL_ERROR), preface=h2.PREFACE),
    Rule("3.4", "an acknowledgement as first SETTINGS", b"", goes(PROTOCOL_ERROR), preface=h2.PREFACE + frame(4, 1)),
    Rule("4.1", "a frame of an unknown type", frame(0xFE, 0xFF, 0, b"anything") + get(1), serves()),
    Rule("4.1", "an unknown type on an idle stream", frame(0xFE, 0, 9, b"") + get(1), serves()),
    Rule("4.1", "flags that mean nothing", frame(6, 0xFE, 0, b"12345678") + get(1), serves()),
    Rule("4.1", "the reserved bit of a stream", frame(1, 5, 1 | 1 << 31, _CONTINUED), serves()),
    Rule("4.2", "a frame above the size we take", post(1) + data(1, b"x" * (LARGEST + 1)), goes(FRAME_SIZE_ERROR)),
    Rule("4.2", "a frame of exactly that size", post(1) + data(1, b"x" * LARGEST, 1), serves()),
    Rule("4.2", "HEADERS above the size we take", frame(1, 5, 1, b"x" * (LARGEST + 1)), goes(FRAME_SIZE_ERROR)),
    Rule(
        "4.3",
        "a header block that cannot be decoded",
        frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"),
        goes(COMPRESSION_ERROR),
    ),
    Rule("4.3", "an index that names nothing", frame(1, 5, 1, b"\xbe"), goes(COMPRESSION_ERROR)),
    Rule("4.3", "index 0", frame(1, 5, 1, b"\x80"), goes(COMPRESSION_ERROR)),
    Rule(
        "4.3", "a table size above what we allow", frame(1, 5, 1, b"\x3f\xe2\x1f" + _CONTINUED), goes(COMPRESSION_ERROR)
    ),
    Rule("4.3", "a table size behind a field", frame(1, 5, 1, _CONTINUED + b"\x20"), goes(COMPRESSION_ERROR)),
    Rule("4.3", "a table size in front", frame(1, 5, 1, b"\x20" + _CONTINUED), serves()),
    Rule("4.3", "a string that is cut", frame(1, 5, 1, b"\x82\x86\x84\x41\x0aabc"), goes(COMPRESSION_ERROR)),
    Rule(
        "4.3",
        "EOS in a Huffman string",
        frame(1, 5, 1, b"\x82\x86\x84\x41\x84\xff\xff\xff\xff"),
        goes(COMPRESSION_ERROR),
    ),
    Rule("4.3", "padding of eight ones", frame(1, 5, 1, b"\x82\x86\x84\x41\x82\x1f\xff"), goes(COMPRESSION_ERROR)),
    Rule("4.3", "a frame inside a header block", frame(1, 1, 1, _CONTINUED[:9]) + data(1, b"x"), goes(PROTOCOL_ERROR)),
    Rule(
        "4.3",
        "an unknown frame inside a header block",
        frame(1, 1, 1, _CONTINUED[:9]) + frame(0xFE),
        goes(PROTOCOL_ERROR),
    ),
    Rule(
        "4.3",
        "a block decoded also for a closed stream",
        post(1)
        + h2.rst_stream(1)
        + frame(1, 5, 1, h2.literal(b"x-kept", b"1", 0x40))
        + frame(1, 5, 3, _CONTINUED + b"\xbe"),
        serves(),
        stream=3,
    ),
]

STREAMS: list[Rule] = [
    Rule("5.1", "idle: DATA", data(1, b"x"), goes(PROTOCOL_ERROR)),
    Rule("5.1", "idle: RST_STREAM", h2.rst_stream(1), goes(PROTOCOL_ERROR)),
    Rule("5.1", "idle: WINDOW_UPDATE", window_update(1, 1), goes(PROTOCOL_ERROR)),
    Rule("5.1", "idle: CONTINUATION", frame(9, 4, 1, _CONTINUED), goes(PROTOCOL_ERROR)),
    Rule("5.1", "idle: PRIORITY", frame(2, 0, 1, b"\x00\x00\x00\x03\x10") + get(1), serves()),
    Rule("5.1", "half-closed (remote): DATA", get(1) + data(1, b"x"), resets(STREAM_CLOSED), held=True),
    Rule(
        "5.1", "half-closed (remote): HEADERS", get(1) + headers(1, [(b"x-a", b"1")]), resets(STREAM_CLOSED), held=True
    ),
    Rule("5.1", "half-closed (remote): WINDOW_UPDATE", get(1) + window_update(1, 1), serves()),
    Rule("5.1", "half-closed (remote): PRIORITY", get(1) + frame(2, 0, 1, b"\x00\x00\x00\x03\x10"), serves()),
    Rule("5.1", "closed by the peer: DATA", post(1) + h2.rst_stream(1) + data(1, b"x"), resets(STREAM_CLOSED)),
    Rule(
        "5.1",
        "closed by the peer: HEADERS",
        post(1) + h2.rst_stream(1) + headers(1, [(b"x-a", b"1")]),
        resets(STREAM_CLOSED),
    ),
    Rule(
        "5.1",
        "closed by the peer: PRIORITY",
        post(1) + h2.rst_stream(1) + frame(2, 0, 1, b"\x00\x00\x00\x03\x10"),
        serves(),
    ),
    Rule("5.1.1", "a stream with an even number", get(2), goes(PROTOCOL_ERROR)),
    Rule("5.1.1", "stream 0", get(0), goes(PROTOCOL_ERROR)),
    Rule("5.1.1", "a stream that is older than the last one", get(5) + get(3), goes(PROTOCOL_ERROR)),
    Rule(
        "5.1.2",
        "one stream too many hurts no other",
        b"".join(post(1 + 2 * n) for n in range(129)),
        resets(7),
        stream=257,
    ),
    Rule(
        "5.3.2",
        "a stream that depends on itself",
        post(1) + frame(2, 0, 1, b"\x00\x00\x00\x01\x10"),
        resets(PROTOCOL_ERROR),
    ),
    Rule(
        "5.3.2",
        "HEADERS whose stream depends on itself",
        frame(1, 5 | 32, 1, b"\x00\x00\x00\x01\x10" + _CONTINUED),
        resets(PROTOCOL_ERROR),
    ),
    Rule(
        "5.4.1",
        "a fault of the connection names the last stream",
        get(1) + get(3) + frame(6, 0, 0, b"x"),
        goes(FRAME_SIZE_ERROR),
    ),
]

FRAMES: list[Rule] = [
    Rule("6.1", "DATA on stream 0", data(0, b"x"), goes(PROTOCOL_ERROR)),
    Rule("6.1", "more padding than frame", post(1) + data(1, b"\x05abc", 8), goes(PROTOCOL_ERROR)),
    Rule("6.1", "padded without a length", post(1) + data(1, b"", 8), goes(PROTOCOL_ERROR)),
    Rule("6.1", "nothing but padding", post(1) + data(1, b"\x03\x00\x00\x00", 8 | 1), serves()),
    Rule("6.2", "HEADERS with more padding than frame", frame(1, 5 | 8, 1, b"\xff" + _CONTINUED), goes(PROTOCOL_ERROR)),
    Rule(
        "6.2",
        "HEADERS with padding and priority",
        frame(1, 5 | 8 | 32, 1, b"\x02\x00\x00\x00\x00\x10" + _CONTINUED + b"\x00\x00"),
        serves(),
    ),
    Rule("6.2", "HEADERS without the priority it says", frame(1, 5 | 32, 1, b"\x00"), goes(FRAME_SIZE_ERROR)),
    Rule("6.3", "PRIORITY on stream 0", frame(2, 0, 0, b"\x00\x00\x00\x01\x10"), goes(PROTOCOL_ERROR)),
    Rule(
        "6.3", "PRIORITY of the wrong size for no stream of a client's", get(3) + frame(2, 0, 2), goes(FRAME_SIZE_ERROR)
    ),
    Rule("6.3", "PRIORITY of the wrong size", post(1) + frame(2, 0, 1, b"\x00" * 4), resets(FRAME_SIZE_ERROR)),
    Rule("6.4", "RST_STREAM on stream 0", h2.rst_stream(0), goes(PROTOCOL_ERROR)),
    Rule("6.4", "RST_STREAM of the wrong size", post(1) + frame(3, 0, 1, b"\x00" * 3), goes(FRAME_SIZE_ERROR)),
    Rule("6.5", "SETTINGS on a stream", frame(4, 0, 1), goes(PROTOCOL_ERROR)),
    Rule("6.5", "SETTINGS of the wrong size", frame(4, 0, 0, b"\x00" * 5), goes(FRAME_SIZE_ERROR)),
    Rule("6.5", "an acknowledgement with settings", frame(4, 1, 0, b"\x00" * 6), goes(FRAME_SIZE_ERROR)),
    Rule("6.5", "an acknowledgement of nothing", frame(4, 1) + get(1), serves()),
    Rule("6.5.2", "ENABLE_PUSH of 2", h2.settings((h2.ENABLE_PUSH, 2)), goes(PROTOCOL_ERROR)),
    Rule(
        "6.5.2",
        "a window above the largest",
        h2.settings((h2.INITIAL_WINDOW_SIZE, WINDOW + 1)),
        goes(FLOW_CONTROL_ERROR),
    ),
    Rule("6.5.2", "MAX_FRAME_SIZE too small", h2.settings((h2.MAX_FRAME_SIZE, LARGEST - 1)), goes(PROTOCOL_ERROR)),
    Rule("6.5.2", "MAX_FRAME_SIZE too large", h2.settings((h2.MAX_FRAME_SIZE, 1 << 24)), goes(PROTOCOL_ERROR)),
    Rule("6.5.2", "a setting that nobody knows", h2.settings((0xFF, 1)) + get(1), serves()),
    Rule("6.5.3", "the same setting twice", h2.settings((4, 100), (4, 200)) + get(1), serves()),
    Rule("6.6", "PUSH_PROMISE", frame(5, 4, 1, b"\x00\x00\x00\x02" + _CONTINUED), goes(PROTOCOL_ERROR)),
    Rule("6.7", "PING on a stream", frame(6, 0, 1, b"\x00" * 8), goes(PROTOCOL_ERROR)),
    Rule("6.7", "PING of the wrong size", frame(6, 0, 0, b"\x00" * 7), goes(FRAME_SIZE_ERROR)),
    Rule("6.7", "an answer to a PING that nobody sent", frame(6, 1, 0, b"\x00" * 8) + get(1), serves()),
    Rule("6.8", "GOAWAY on a stream", frame(7, 0, 1, b"\x00" * 8), goes(PROTOCOL_ERROR)),
    Rule("6.8", "GOAWAY of the wrong size", frame(7, 0, 0, b"\x00" * 7), goes(FRAME_SIZE_ERROR)),
    Rule(
        "6.8",
        "what was begun before a GOAWAY is answered",
        post(1) + frame(7, 0, 0, b"\x00" * 8) + data(1, b"x", 1),
        serves(),
    ),
    Rule("6.9", "WINDOW_UPDATE of nothing on the connection", window_update(0, 0), goes(PROTOCOL_ERROR)),
    Rule("6.9", "WINDOW_UPDATE of nothing on a stream", post(1) + window_update(1, 0), resets(PROTOCOL_ERROR)),
    Rule("6.9", "WINDOW_UPDATE of the wrong size", frame(8, 0, 0, b"\x00" * 3), goes(FRAME_SIZE_ERROR)),
    Rule("6.9.1", "a connection's window above the largest", window_update(0, WINDOW), goes(FLOW_CONTROL_ERROR)),
    Rule(
        "6.9.1", "a stream's window above the largest", post(1) + window_update(1, WINDOW), resets(FLOW_CONTROL_ERROR)
    ),
    Rule(
        "6.9.2",
        "a stream's window made too large by SETTINGS",
        post(1) + window_update(1, WINDOW - 65535) + h2.settings((4, 65536)),
        goes(FLOW_CONTROL_ERROR),
    ),
    Rule("6.10", "CONTINUATION without HEADERS", get(1) + frame(9, 4, 1, b""), goes(PROTOCOL_ERROR)),
    Rule(
        "6.10",
        "CONTINUATION on another stream",
        frame(1, 1, 1, _CONTINUED[:9]) + frame(9, 4, 3, _CONTINUED[9:]),
        goes(PROTOCOL_ERROR),
    ),
    Rule(
        "6.10",
        "CONTINUATION on stream 0",
        frame(1, 1, 1, _CONTINUED[:9]) + frame(9, 4, 0, _CONTINUED[9:]),
        goes(PROTOCOL_ERROR),
    ),
    Rule(
        "6.10",
        "a block in several frames",
        frame(1, 1, 1, _CONTINUED[:9]) + frame(9, 0, 1, _CONTINUED[9:20]) + frame(9, 4, 1, _CONTINUED[20:]),
        serves(),
    ),
    Rule("10.5", "a block in too many frames", frame(1, 1, 1, b"") + frame(9, 0, 1) * 64, goes(ENHANCE_YOUR_CALM)),
    Rule(
        "10.5",
        "a block that is too large",
        frame(1, 1, 1, b"") + frame(9, 0, 1, b"\x00" * LARGEST) * 5,
        goes(ENHANCE_YOUR_CALM),
    ),
]

REQUESTS: list[Rule] = [
    Rule("8.1", "a body in two parts", post(1) + data(1, b"ab") + data(1, b"c", 1), serves()),
    Rule("8.1", "trailers", post(1) + data(1, b"ab") + headers(1, [(b"x-sum", b"1")]), serves()),
    Rule(
        "8.1",
        "trailers that do not end the stream",
        post(1) + data(1, b"ab") + headers(1, [(b"x", b"1")], 4),
        resets(PROTOCOL_ERROR),
    ),
    Rule("8.1", "a pseudo-field in trailers", post(1) + headers(1, [(b":path", b"/")]), resets(PROTOCOL_ERROR)),
    Rule(
        "8.1", "Content-Length in trailers", post(1) + headers(1, [(b"content-length", b"0")]), resets(PROTOCOL_ERROR)
    ),
    Rule(
        "8.1.1",
        "a body shorter than its Content-Length",
        post(1, (b"content-length", b"3")) + data(1, b"ab", 1),
        resets(PROTOCOL_ERROR),
    ),
    Rule(
        "8.1.1",
        "a body longer than its Content-Length",
        post(1, (b"content-length", b"1")) + data(1, b"ab"),
        resets(PROTOCOL_ERROR),
    ),
    Rule(
        "8.1.1",
        "no body, but a Content-Length",
        headers(1, request_fields((b"content-length", b"1"))),
        resets(PROTOCOL_ERROR),
    ),
    Rule(
        "8.1.1",
        "trailers before the end of a Content-Length",
        post(1, (b"content-length", b"3")) + data(1, b"a") + headers(1, [(b"x", b"1")]),
        resets(PROTOCOL_ERROR),
    ),
    Rule(
        "8.1.1",
        "a body as long as its Content-Length",
        post(1, (b"content-length", b"2")) + data(1, b"ab", 1),
        serves(),
    ),
    Rule("8.2.1", "a name in upper case", more(b"X-Test", b"1"), resets(PROTOCOL_ERROR)),
    Rule("8.2.1", "a name with a space", more(b"x test", b"1"), resets(PROTOCOL_ERROR)),
    Rule("8.2.1", "an empty name", more(b"", b"1"), resets(PROTOCOL_ERROR)),
    Rule("8.2.1", "a name with a colon", more(b"x:y", b"1"), resets(PROTOCOL_ERROR)),
    Rule("8.2.1", "a name above ASCII", more(b"x\xe9", b"1"), resets(PROTOCOL_ERROR)),
    *(
        Rule("8.2.1", f"a value with {value!r}", more(b"x-a", value), resets(PROTOCOL_ERROR))
        for value in (b"a\x00b", b"a\rb", b"a\nb", b" a", b"a ", b"\ta", b"a\x7f", b"a\x01")
    ),
    Rule("8.2.1", "a value with a tab and bytes above ASCII", more(b"x-a", b"a\tb\xe9"), serves()),
    *(
        Rule("8.2.2", f"{name.decode()}", more(name, value), resets(PROTOCOL_ERROR))
        for name, value in (
            (b"connection", b"close"),
            (b"proxy-connection", b"x"),
            (b"keep-alive", b"1"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"h2c"),
            (b"te", b"gzip"),
            (b"te", b"trailers, gzip"),
        )
    ),
    Rule("8.2.2", "TE: trailers", more(b"te", b"trailers"), serves()),
    Rule("8.3", "an unknown pseudo-field", more(b":color", b"red"), resets(PROTOCOL_ERROR)),
    Rule("8.3", "a pseudo-field of responses", asks([*request_fields(), (b":status", b"200")]), resets(PROTOCOL_ERROR)),
    Rule(
        "8.3",
        "a pseudo-field behind a field",
        asks([(b":method", b"GET"), (b":scheme", b"http"), (b"x", b"1"), (b":path", b"/"), (b":authority", b"a")]),
        resets(PROTOCOL_ERROR),
    ),
    *(
        Rule("8.3", f"{name.decode()} twice", asks([*request_fields()[:4], (name, value)]), resets(PROTOCOL_ERROR))
        for name, value in request_fields()
    ),
    *(
        Rule("8.3.1", f"no {name.decode()}", asks(without(name)), resets(PROTOCOL_ERROR))
        for name in (b":method", b":scheme", b":path")
    ),
    Rule("8.3.1", "an empty :path", asks(with_(b":path", b"")), resets(PROTOCOL_ERROR)),
    Rule("8.3.1", "an invalid :scheme", asks(with_(b":scheme", b"1:")), resets(PROTOCOL_ERROR)),
    Rule("8.3.1", "an invalid :method", asks(with_(b":method", b"G T")), resets(PROTOCOL_ERROR)),
    Rule("8.3.1", "userinfo in :authority", asks(with_(b":authority", b"me@a.test")), answers(400)),
    Rule("8.3.1", "an invalid :authority", asks(with_(b":authority", b"a b")), answers(400)),
    Rule("8.3.1", "neither :authority nor Host", asks(without(b":authority")), answers(400)),
    Rule("8.3.1", "Host in the place of :authority", asks([*without(b":authority"), (b"host", b"a.test")]), serves()),
    Rule("8.3.1", "Host and :authority the same", more(b"host", b"a.test"), serves()),
    Rule("8.3.1", "Host and :authority different", more(b"host", b"b.test"), answers(400)),
    Rule("8.3.1", "two Host", asks(request_fields((b"host", b"a.test"), (b"host", b"a.test"))), answers(400)),
    Rule("8.3.1", "a fragment in :path", asks(with_(b":path", b"/a#b")), answers(400)),
    Rule("8.3.1", "a space in :path", asks(with_(b":path", b"/a b")), answers(400)),
    Rule("8.3.1", "* without OPTIONS", asks(with_(b":path", b"*")), answers(400)),
    Rule("8.3.1", "a :path without a slash", asks(with_(b":path", b"a")), answers(400)),
    Rule("8.3.1", "OPTIONS *", asks(request_fields(method=b"OPTIONS", path=b"*")), serves()),
    Rule("8.3.1", "an unknown method", asks(with_(b":method", b"BREW")), answers(501)),
    Rule("8.5", "CONNECT", asks([(b":method", b"CONNECT"), (b":authority", b"a:1")]), answers(405)),
    Rule("8.5", "CONNECT with :path", asks(with_(b":method", b"CONNECT")), resets(PROTOCOL_ERROR)),
    Rule("8.5", "CONNECT without :authority", asks([(b":method", b"CONNECT")]), resets(PROTOCOL_ERROR)),
    Rule(
        "RFC 8441, 4",
        ":protocol that nobody has announced",
        asks([*with_(b":method", b"CONNECT"), (b":protocol", b"websocket")]),
        resets(PROTOCOL_ERROR),
    ),
    Rule(
        "RFC 9110, 8.6",
        "two Content-Length",
        post(1, (b"content-length", b"2"), (b"content-length", b"2")),
        answers(400),
    ),
    Rule("RFC 9110, 8.6", "a Content-Length that is no number", post(1, (b"content-length", b"+2")), answers(400)),
    Rule("RFC 9218, 7.1", "PRIORITY_UPDATE on a stream", frame(16, 0, 1, b"\x00\x00\x00\x01u=1"), goes(PROTOCOL_ERROR)),
    Rule("RFC 9218, 7.1", "PRIORITY_UPDATE of the wrong size", frame(16, 0, 0, b"\x00"), goes(FRAME_SIZE_ERROR)),
    Rule(
        "RFC 9218, 7.1",
        "PRIORITY_UPDATE",
        post(1) + frame(16, 0, 0, b"\x00\x00\x00\x01u=1") + data(1, b"", 1),
        serves(),
    ),
    Rule("10.5.1", "too many fields", asks(request_fields(*[(b"x-%d" % n, b"1") for n in range(130)])), answers(431)),
    Rule(
        "10.5.1",
        "fields that are too large",
        frame(1, 1, 1, h2.block(request_fields((b"x-a", b"a" * 12000))))
        + frame(9, 0, 1, h2.literal(b"x-b", b"b" * 16000))
        + frame(9, 0, 1, h2.literal(b"x-b", b"b" * 16000))
        + frame(9, 4, 1, h2.literal(b"x-c", b"c" * 16000)),
        serves(),
    ),
]

RULES = CONNECTION + STREAMS + FRAMES + REQUESTS
